// SPDX-License-Identifier: Apache-2.0
#include "host/library/loader/lock.hpp"

#include <attn/claims.hpp>
#include <attn/config.hpp>
#include <filesystem>

#include "core/error/error.hpp"
#include "host/library/loader/trust.hpp"

namespace attn::loader {
namespace {

std::string file_name(const std::string& path) {
  return std::filesystem::path(path).filename().string();
}

}  // namespace

PluginLock PluginLock::read(const std::string& path) {
  PluginLock lock;
  lock.path_ = path;
  lock.remedy_ = "write it again with attn lock";
  if (path.front() != '/') {
    lock.problem_ = "is named by a relative path";
    lock.remedy_ = "give it as an absolute path";
  } else if (const auto open_to_all = writable_by_all(path, Reach::parents)) {
    lock.problem_ = open_to_all->problem;
    lock.remedy_ = open_to_all->hint;
  } else {
    try {
      lock.parse(load_config(path).value());
    } catch (const std::exception& e) {
      lock.problem_ = e.what();
      lock.entries_.clear();
    }
  }
  return lock;
}

void PluginLock::parse(const Json& lock) {
  for (const Json& entry : lock.at("plugins").as_list()) {
    entries_.emplace(entry.at("file").as_string(),
                     Entry{entry.at("sha256").as_string(),
                           entry.at("name").as_string() + " " + entry.at("version").as_string()});
  }
}

Json PluginLock::entry(const std::string& path, const std::string& sum, const attn_plugin& plugin) {
  Json types = Json::object();
  for (uint32_t i = 0; i < plugin.n_types; ++i) {
    Json claims = Json::list({});
    for (const ClaimInfo& claim : claims_of(*plugin.types[i])) claims.push_back(claim.text());
    types.set(plugin.types[i]->id, claims);
  }
  return {{"file", file_name(path)},
          {"sha256", sum},
          {"name", plugin.name},
          {"version", plugin.version},
          {"types", types}};
}

std::string PluginLock::text(Json::List entries) {
  Json list = Json::list({});
  for (Json& entry : entries) list.push_back(std::move(entry));
  return Json{{"plugins", list}}.dump(1) + "\n";
}

std::optional<Refusal> PluginLock::check(const std::string& path, const std::string& sum,
                                         const PluginNote& note) const {
  if (!problem_.empty()) {
    return Refusal{RefusalKind::locked, "the lock " + path_ + " lets nothing in: " + problem_,
                   "a lock that can be read", remedy_};
  }
  const auto [first, last] = entries_.equal_range(file_name(path));
  if (first == last) {
    return Refusal{RefusalKind::locked, "is not in the lock " + path_, "a file that is locked",
                   "remove it, or write the lock again with attn lock if it is wanted"};
  }
  for (auto entry = first; entry != last; ++entry) {
    if (entry->second.sum == sum) return std::nullopt;
  }
  const Entry& locked = first->second;
  const std::string is = note.name + " " + note.version;
  return Refusal{
      RefusalKind::locked,
      "is not the file of the lock " + path_ + ": its SHA-256 is " + sum +
          (locked.is == is ? " (both are " + is + ")"
                           : " (the locked one is " + locked.is + ", this one " + is + ")"),
      "SHA-256 " + locked.sum,
      "put that file back, or write the lock again with attn lock if this one is wanted"};
}

}  // namespace attn::loader
