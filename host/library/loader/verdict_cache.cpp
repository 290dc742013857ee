// SPDX-License-Identifier: Apache-2.0
#include "host/library/loader/verdict_cache.hpp"

#include <cstdlib>
#include <filesystem>
#include <utility>
#include <vector>

#include "host/library/loader/probe_record.hpp"
#include "host/library/loader/search_path.hpp"
#include "host/library/loader/user_file.hpp"

namespace attn::loader {
namespace {

// Seconds for which a bad verdict counts. A machine under heavy load makes good files look as if they hung.
int64_t lifetime(RefusalKind kind) { return kind == RefusalKind::hung ? 10 * 60 : 24 * 60 * 60; }

constexpr std::size_t kMaxFile = 1 << 22;

std::string first_line() { return std::string("attn plugin verdicts, ") + kProbeGreeting; }

std::string key_of(const PluginNote& note) {
  const FileIdentity& id = note.identity;
  return std::to_string(id.size) + " " + std::to_string(id.mtime_ns) + " " +
         std::to_string(id.ctime_ns) + " " + note.code();
}

// What the probe found in the file itself; neighbours in the enumeration.
bool lasting(RefusalKind kind) {
  return kind >= RefusalKind::crashed && kind <= RefusalKind::metadata_mismatch;
}

std::vector<std::string> split(const std::string& text, char by) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == by) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

}  // namespace

std::string VerdictCache::default_path() {
  const std::string base = xdg_directory("XDG_CACHE_HOME", ".cache");
  return base.empty() ? "" : base + "/attn/plugin-verdicts-1.txt";
}

VerdictCache::VerdictCache(std::string path, int64_t now) : path_(std::move(path)), now_(now) {
  if (path_.empty()) return;
  const std::string text = read_user_file(path_, kMaxFile).text;
  const std::string head = first_line();
  if (text.compare(0, head.size(), head) != 0) return;
  for (const std::string& line : split(text.substr(head.size()), '\n')) {
    const auto parts = split(line, '\t');
    if (parts.size() != 4) continue;
    Entry entry{parts[1], std::strtoll(parts[2].c_str(), nullptr, 10), std::nullopt};
    if (!read_record(kProbeGreeting + unescape_line(parts[3]), &entry.refusal)) continue;
    if (entry.refusal && (!lasting(entry.refusal->kind) || entry.time > now_ ||
                          now_ - entry.time > lifetime(entry.refusal->kind)))
      continue;
    entries_[unescape_line(parts[0])] = std::move(entry);
  }
}

std::optional<VerdictCache::Verdict> VerdictCache::find(const std::string& file,
                                                        const PluginNote& note) const {
  const auto found = entries_.find(file);
  if (found == entries_.end() || found->second.key != key_of(note)) return std::nullopt;
  Verdict verdict{found->second.refusal};
  if (verdict.refusal) {
    verdict.refusal->hint += " (remembered; remove " + path_ + " to have it tried again)";
  }
  return verdict;
}

void VerdictCache::put(const std::string& file, const PluginNote& note,
                       const std::optional<Refusal>& refusal) {
  changed_ = true;
  if (refusal && !lasting(refusal->kind)) {
    entries_.erase(file);
  } else {
    entries_[file] = Entry{key_of(note), now_, refusal};
  }
}

void VerdictCache::save() {
  if (!changed_ || path_.empty()) return;
  changed_ = false;
  std::error_code error;
  std::string text = first_line();
  for (const auto& [file, entry] : entries_) {
    if (!std::filesystem::exists(file, error)) continue;
    text += escape_line(file) + "\t" + entry.key + "\t" + std::to_string(entry.time) + "\t" +
            escape_line(write_record(entry.refusal)) + "\n";
  }
  static_cast<void>(replace_user_file(path_, text));
}

}  // namespace attn::loader
