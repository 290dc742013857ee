// SPDX-License-Identifier: Apache-2.0
#include "host/library/loader/elf_note.hpp"

#include <attn/sdk/abi.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <sstream>
#include <utility>

#include "host/library/loader/elf_file.hpp"
#include "host/library/loader/schema_check.hpp"

namespace attn::loader {
namespace {

// Text of a fixed field: up to its NUL or its end, with what cannot be shown replaced, and all that is not ASCII
// where it is no UTF-8: it goes into messages and JSON.
std::string field(const char* text, std::size_t size) {
  std::string out(text, ::strnlen(text, size));
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  if (!is_text(out.c_str())) {
    for (char& c : out) {
      if (static_cast<unsigned char>(c) >= 0x80) c = '?';
    }
  }
  return out;
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> words;
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    if (end > at) words.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return words;
}

// The section that attn_build_note.cmake adds; nothing depends on it, so what cannot be read is left out.
void read_build(const ElfFile& file, PluginNote& note) {
  constexpr std::size_t kLongest = 1u << 14;
  const auto found = file.section(".attn_build");
  const auto* bytes = std::get_if<std::optional<std::vector<std::byte>>>(&found);
  if (bytes == nullptr || !*bytes || (*bytes)->size() > kLongest) return;
  std::istringstream lines(
      std::string(reinterpret_cast<const char*>((*bytes)->data()), (*bytes)->size()));
  const std::pair<const char*, std::string*> keys[] = {{"revision ", &note.revision},
                                                       {"dirty ", &note.dirty},
                                                       {"compiler ", &note.compiler},
                                                       {"flags ", &note.flags}};
  for (std::string line; std::getline(lines, line);) {
    for (const auto& [key, value] : keys) {
      const std::size_t length = std::strlen(key);
      if (line.compare(0, length, key) == 0)
        *value = field(line.data() + length, line.size() - length);
    }
  }
}

}  // namespace

std::string PluginNote::code() const {
  return (build_id.empty() ? "-" : build_id) + " " + std::to_string(hash);
}

Checked<bool> check_abi(uint16_t major, uint16_t minor_built, uint16_t minor_needed) {
  const std::string host = std::to_string(ATTN_ABI_MAJOR) + "." + std::to_string(ATTN_ABI_MINOR);
  if (major != ATTN_ABI_MAJOR) {
    return Refusal{RefusalKind::abi_major,
                   "built for ABI " + std::to_string(major) + "." + std::to_string(minor_built),
                   "ABI " + std::to_string(ATTN_ABI_MAJOR) + " (this host speaks " + host + ")",
                   "build it with an SDK of major version " + std::to_string(ATTN_ABI_MAJOR) +
                       ", or install an attn whose `attn --version` shows ABI " +
                       std::to_string(major)};
  }
  if (minor_needed > ATTN_ABI_MINOR) {
    const std::string needed = std::to_string(major) + "." + std::to_string(minor_needed);
    return Refusal{RefusalKind::abi_minor, "needs a host with ABI " + needed + " or newer",
                   "at most ABI " + host + ", which is what this host speaks",
                   "install an attn whose `attn --version` shows ABI " + needed +
                       " or newer, or build the plugin for ABI " + host};
  }
  return true;
}

Checked<PluginNote> read_note(const std::string& path, bool with_hash, PluginNote* partial) {
  ElfFile file;
  if (auto refusal = file.open(path)) return *refusal;
  auto found = file.section(ATTN_NOTE_SECTION);
  if (const auto* refusal = std::get_if<Refusal>(&found)) return *refusal;
  const auto& bytes = std::get<0>(found);
  attn_note raw;
  const bool complete = bytes && bytes->size() >= sizeof raw;
  if (complete) std::memcpy(&raw, bytes->data(), sizeof raw);
  if (!complete || std::memcmp(raw.magic, ATTN_NOTE_MAGIC, sizeof raw.magic) != 0) {
    return Refusal{RefusalKind::not_a_plugin,
                   bytes ? "its section " ATTN_NOTE_SECTION " is not attn metadata"
                         : "not an attn plugin: it has no section " ATTN_NOTE_SECTION,
                   "a library built with attn_add_plugin() that exports attn_plugin_v1",
                   "remove it from the plugin directory, or build it with the attn SDK"};
  }
  PluginNote note;
  note.identity = file.identity();
  note.build_id = file.build_id();
  note.abi_major = raw.abi_major;
  note.abi_minor_built = raw.abi_minor_built;
  note.abi_minor_needed = raw.abi_minor_needed;
  note.name = field(raw.name, sizeof raw.name);
  note.version = field(raw.version, sizeof raw.version);
  note.types = split(field(raw.types, sizeof raw.types));
  note.uses_origin = file.uses_origin();
  read_build(file, note);
  if (partial != nullptr) *partial = note;
  auto abi = check_abi(note.abi_major, note.abi_minor_built, note.abi_minor_needed);
  if (const auto* refusal = std::get_if<Refusal>(&abi)) return *refusal;
  if (with_hash) {
    const auto hash = file.hash();
    if (!hash) {
      return Refusal{RefusalKind::changed, "became shorter while it was being read",
                     "a file that stays as it is", "try again"};
    }
    note.hash = *hash;
  }
  return note;
}

}  // namespace attn::loader
