// SPDX-License-Identifier: Apache-2.0
#include "host/library/loader/scan.hpp"

#include <algorithm>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <map>
#include <set>

#include "core/engine/op_ref.hpp"
#include "host/library/loader/verdict_cache.hpp"

namespace attn::loader {
namespace {

std::string quoted_list(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

std::string op_text(const attn_op& op) {
  return std::string(op.name) + "/" + std::to_string(op.version);
}

}  // namespace

Registry::Scan::Scan(Registry& registry)
    : registry_(registry), manifest_(Manifest::read(registry.manifest_path_)) {}

void Registry::Scan::run() {
  collect();
  read_notes();
  try_unknown();
  register_all();
  const std::unique_lock lock(registry_.data_mutex_);
  registry_.places_ = std::move(places_);
  registry_.files_ = std::move(files_);
  registry_.manifest_problem_ = manifest_.problem();
}

// The files in search order, those that are loaded already among them.
void Registry::Scan::collect() {
  places_ = search_places(registry_.options_.search);
  for (const std::string& path : registry_.added_) {
    places_.push_back({path, PathSource::explicit_path, true, true, ""});
  }
  std::map<std::string, const File*> loaded;
  for (const File& file : registry_.files_) {
    if (file.library != nullptr) loaded[file.path] = &file;
  }
  std::map<std::pair<uint64_t, uint64_t>, std::string> seen;
  std::set<std::string> paths;
  for (SearchPlace& place : places_) {
    for (const std::string& path : plugin_files(place)) {
      if (!paths.insert(path).second) continue;
      const auto known = loaded.find(path);
      if (known != loaded.end()) {
        files_.push_back(*known->second);
        seen.emplace(
            std::pair(known->second->note.identity.device, known->second->note.identity.inode),
            path);
        loaded.erase(known);
        continue;
      }
      File file;
      file.path = path;
      file.source = place.source;
      FileIdentity id;
      if (identify(path, &id)) {
        const auto [entry, added] = seen.emplace(std::pair(id.device, id.inode), path);
        if (!added) file.same_as = entry->second;
      }
      files_.push_back(std::move(file));
    }
    if (!place.problem.empty()) {
      log_.emplace_back(LogLevel::warning,
                        "plugin directory not searched: " + place.path + ": " + place.problem);
    }
  }
  // Loaded from a file that is gone: the types are still there.
  for (const auto& [path, file] : loaded) files_.push_back(*file);
}

void Registry::Scan::read_notes() {
  for (File& file : files_) {
    if (file.library != nullptr || !file.same_as.empty()) continue;
    auto note = read_note(file.path, false, &file.note);
    if (std::holds_alternative<PluginNote>(note) &&
        manifest_.comes_with_library(std::get<PluginNote>(note))) {
      note = read_note(file.path, true, &file.note);
    }
    if (auto* refusal = std::get_if<Refusal>(&note)) {
      refuse(file, std::move(*refusal));
      continue;
    }
    file.note = std::move(std::get<PluginNote>(note));
    if (auto refusal = reserved(file, nullptr)) refuse(file, std::move(*refusal));
  }
}

void Registry::Scan::try_unknown() {
  VerdictCache cache(registry_.cache_path_, static_cast<int64_t>(std::time(nullptr)));
  std::vector<File*> unknown;
  std::vector<std::string> paths;
  for (File& file : files_) {
    if (file.library != nullptr || file.refusal || !file.same_as.empty()) continue;
    if (manifest_.same_bytes(file.note)) continue;
    if (const auto verdict = cache.find(file.path, file.note)) {
      if (verdict->refusal) refuse(file, *verdict->refusal);
      continue;
    }
    unknown.push_back(&file);
    paths.push_back(file.path);
  }
  ProbeOptions probe = registry_.options_.probe;
  probe.program = registry_.probe_program_;
  const auto verdicts = probe_files(paths, probe);
  for (std::size_t i = 0; i < unknown.size(); ++i) {
    const auto& refusal = verdicts[i];
    const bool untried = refusal && refusal->kind == RefusalKind::not_probed;
    if (untried && registry_.options_.trust_all) {
      log_.emplace_back(LogLevel::warning,
                        "plugin loaded untried (trust_all): " + paths[i] + ": " + refusal->problem);
      continue;
    }
    cache.put(paths[i], unknown[i]->note, refusal);
    if (refusal) refuse(*unknown[i], *refusal);
  }
  cache.save();
}

void Registry::Scan::register_all() {
  for (std::size_t i = 0; i < files_.size(); ++i) {
    const File& file = files_[i];
    if (file.library == nullptr && !file.refusal && file.same_as.empty()) {
      candidates_.push_back({i});
    }
  }
  // Each round registers what can be registered; a round without progress refuses the first that waits,
  // which may let a later one with the same names in.
  while (!candidates_.empty()) {
    bool progress = false;
    for (std::size_t i = 0; i < candidates_.size();) {
      if (attempt(candidates_[i], i) == Attempt::done) {
        candidates_.erase(candidates_.begin() + static_cast<std::ptrdiff_t>(i));
        progress = true;
      } else {
        ++i;
      }
    }
    if (progress || candidates_.empty()) continue;
    const Candidate& first = candidates_.front();
    refuse(files_[first.file],
           {RefusalKind::missing_operators,
            "uses operators that this host does not have: " + quoted_list(first.missing),
            "operators of this library or of another plugin that is loaded",
            "install the plugin that has them, or a newer attn"});
    candidates_.erase(candidates_.begin());
  }
}

Registry::Scan::Attempt Registry::Scan::attempt(Candidate& candidate, std::size_t position) {
  File& file = files_[candidate.file];
  const auto refused = [&](std::optional<Refusal> refusal) {
    if (refusal) refuse(file, std::move(*refusal));
    return refusal.has_value();
  };
  if (refused(duplicate(file, candidate.library))) return Attempt::done;
  if (contested(candidate, position)) return Attempt::waits;
  if (candidate.library == nullptr) {
    auto opened = PluginLibrary::open(file.path, file.note);
    if (auto* refusal = std::get_if<Refusal>(&opened)) {
      refuse(file, std::move(*refusal));
      return Attempt::done;
    }
    candidate.library = std::get<PluginLibrary*>(opened);
    // Now the names of its operators are known too.
    if (refused(reserved(file, candidate.library))) return Attempt::done;
    if (refused(duplicate(file, candidate.library))) return Attempt::done;
    if (contested(candidate, position)) return Attempt::waits;
  }
  const FindOperator find = [this](std::string_view name, uint32_t version) {
    return registry_.find_registered_op(name, version);
  };
  candidate.missing = candidate.library->missing_operators(find);
  if (!candidate.missing.empty()) return Attempt::waits;
  if (!refused(candidate.library->start(registry_.hooks_, find))) enter(file, candidate.library);
  return Attempt::done;
}

void Registry::Scan::enter(File& file, PluginLibrary* library) {
  const attn_plugin& table = library->table();
  {
    const std::unique_lock lock(registry_.data_mutex_);
    for (uint32_t i = 0; i < table.n_types; ++i) {
      registry_.types_.emplace(table.types[i]->id, std::pair(table.types[i], library));
    }
    for (uint32_t i = 0; i < table.n_ops; ++i) {
      registry_.ops_.emplace(OpKey(table.ops[i]->name, table.ops[i]->version),
                             std::pair(library->op_refs()[i], library));
    }
  }
  file.library = library;
  log_.emplace_back(LogLevel::debug, "plugin loaded: " + file.path + " (" + file.note.name + " " +
                                         file.note.version + "): " + quoted_list(file.note.types));
}

void Registry::Scan::refuse(File& file, Refusal refusal) {
  log_.emplace_back(LogLevel::warning, "plugin refused: " + file.path + ": " + refusal.text());
  file.refusal = std::move(refusal);
}

std::optional<Refusal> Registry::Scan::reserved(const File& file,
                                                const PluginLibrary* library) const {
  if (manifest_.comes_with_library(file.note)) return std::nullopt;
  std::vector<std::string> plain;
  for (const std::string& id : file.note.types) {
    if (id.find('.') == std::string::npos) plain.push_back("'" + id + "'");
  }
  for (uint32_t i = 0; library != nullptr && i < library->table().n_ops; ++i) {
    const attn_op& op = *library->table().ops[i];
    if (std::strchr(op.name, '.') == nullptr) plain.push_back("operator " + op_text(op));
  }
  if (plain.empty()) return std::nullopt;
  std::string why =
      "takes a name without a dot, which is reserved for what comes with the library: " +
      quoted_list(plain);
  if (!manifest_.problem().empty()) why += " (" + manifest_.problem() + ")";
  return Refusal{RefusalKind::reserved_name, why, "a name such as 'example.my_type'",
                 manifest_.problem().empty() ? "give it a dotted name and build it again"
                                             : "reinstall attn if the file came with it"};
}

std::optional<Refusal> Registry::Scan::duplicate(const File& file,
                                                 const PluginLibrary* library) const {
  std::string name, owner;
  for (const std::string& id : file.note.types) {
    const auto found = registry_.types_.find(id);
    // A scan that a fork() cut off may have entered this very file.
    if (found == registry_.types_.end() || found->second.second->path() == file.path) continue;
    name = "type '" + id + "'";
    owner = found->second.second->path();
  }
  for (uint32_t i = 0; library != nullptr && i < library->table().n_ops; ++i) {
    const attn_op& op = *library->table().ops[i];
    const auto found = registry_.ops_.find(OpKey(op.name, op.version));
    if (found != registry_.ops_.end()) {
      if (found->second.second->path() == file.path) continue;
      name = "operator " + op_text(op);
      owner = found->second.second->path();
    } else if (registry_.hooks_.find_core_op(op.name, op.version) != nullptr) {
      name = "operator " + op_text(op);
      owner = "the library itself";
    }
  }
  if (name.empty()) return std::nullopt;
  return Refusal{RefusalKind::duplicate, "has the " + name + " that " + owner + " already provides",
                 "one file for each name", "remove one of the two files"};
}

bool Registry::Scan::contested(const Candidate& candidate, std::size_t position) const {
  const auto operators = [](const PluginLibrary* library) {
    std::set<std::string> names;
    for (uint32_t i = 0; library != nullptr && i < library->table().n_ops; ++i) {
      names.insert(op_text(*library->table().ops[i]));
    }
    return names;
  };
  const auto mine = operators(candidate.library);
  const auto& types = files_[candidate.file].note.types;
  for (std::size_t i = 0; i < position; ++i) {
    const auto& others = files_[candidates_[i].file].note.types;
    for (const std::string& id : types) {
      if (std::find(others.begin(), others.end(), id) != others.end()) return true;
    }
    for (const std::string& op : operators(candidates_[i].library)) {
      if (mine.count(op) > 0) return true;
    }
  }
  return false;
}

}  // namespace attn::loader
