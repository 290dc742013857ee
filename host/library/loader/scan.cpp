// SPDX-License-Identifier: Apache-2.0
#include "host/library/loader/scan.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <ctime>
#include <map>
#include <set>
#include <utility>

#include "core/engine/op_ref.hpp"
#include "host/library/loader/sha256.hpp"
#include "host/library/loader/trust.hpp"
#include "host/library/loader/verdict_cache.hpp"

namespace attn::loader {
namespace {

std::string quoted_list(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

// A file system may give the same times to two writes that follow each other within this time.
constexpr int64_t kSettled = 1'000'000'000;

int64_t now_ns() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
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
  keep_former();
  const std::unique_lock lock(registry_.data_mutex_);
  for (const File& file : files_) {
    if (file.library != nullptr) registry_.accepted_.insert(file.note.code());
  }
  registry_.places_ = std::move(places_);
  registry_.files_ = std::move(files_);
  registry_.types_ = std::move(types_);
  registry_.ops_ = std::move(ops_);
  registry_.manifest_problem_ = manifest_.problem();
  registry_.locks_.clear();
  for (const auto& [path, file] : locks_) {
    if (file) registry_.locks_.push_back({path, file->problem()});
  }
}

const Registry::File* Registry::Scan::former(const std::string& path) const {
  const auto& files = registry_.files_;
  const auto found =
      std::find_if(files.begin(), files.end(), [&](const File& f) { return f.path == path; });
  return found != files.end() ? &*found : nullptr;
}

// The files in search order; what did not change is not looked at again.
void Registry::Scan::collect() {
  places_ = search_places(registry_.options_.search);
  for (const std::string& path : registry_.added_) {
    places_.push_back({path, PathSource::explicit_path, true, true, ""});
  }
  std::map<std::pair<uint64_t, uint64_t>, std::string> seen;
  std::set<std::string> paths;
  for (SearchPlace& place : places_) {
    for (const std::string& path : plugin_files(place)) {
      FileIdentity id;
      const bool there = identify(path, &id);
      if (!paths.insert(path).second || (!there && place.single_file)) continue;
      File file;
      file.path = path;
      file.source = place.source;
      if (there) {
        const auto [entry, added] = seen.emplace(std::pair(id.device, id.inode), path);
        if (!added) file.same_as = entry->second;
      }
      const File* before = former(path);
      if (file.same_as.empty() && before != nullptr && before->library != nullptr &&
          before->settled && before->note.identity == id) {
        file = *before;
      }
      files_.push_back(std::move(file));
    }
    if (!place.problem.empty()) {
      log_.emplace_back(LogLevel::warning,
                        "plugin directory not searched: " + place.path + ": " + place.problem);
    }
  }
}

void Registry::Scan::read_notes() {
  for (std::size_t i = 0; i < files_.size(); ++i) {
    File& file = files_[i];
    if (!file.same_as.empty()) continue;
    std::optional<Refusal> refusal;
    if (file.library == nullptr) refusal = look(i);
    if (!refusal) refusal = locked(i);
    if (!refusal) continue;
    file.library = nullptr;
    refuse(file, std::move(*refusal));
  }
}

// Everything about a file that can be known without running code of it.
std::optional<Refusal> Registry::Scan::look(std::size_t index) {
  File& file = files_[index];
  const Reach reach = file.source == PathSource::library ? Reach::itself : Reach::parents;
  if (auto open_to_all = writable_by_all(file.path, reach)) return open_to_all;
  auto note = read_note(file.path, false, &file.note);
  if (auto* refusal = std::get_if<Refusal>(&note)) return std::move(*refusal);
  file.note = std::move(std::get<PluginNote>(note));
  if (auto refusal = take_copy(index)) return refusal;
  return reserved(file, nullptr);
}

std::vector<const PluginLock*> Registry::Scan::locks(const std::string& path) {
  std::vector<const PluginLock*> found;
  if (!registry_.options_.use_locks) return found;
  const std::string beside = path.substr(0, path.rfind('/')) + "/plugins.lock";
  for (const std::string& lock : {registry_.lock_path_, beside}) {
    if (lock.empty()) continue;
    const auto [entry, added] = locks_.try_emplace(lock);
    FileIdentity id;
    // One that was asked for and is not there lets nothing in.
    const bool counts = lock == registry_.lock_path_ || identify(lock, &id);
    if (added && counts) entry->second = PluginLock::read(lock);
    if (entry->second) found.push_back(&*entry->second);
  }
  return found;
}

std::optional<Refusal> Registry::Scan::locked(std::size_t index) {
  File& file = files_[index];
  for (const PluginLock* lock : locks(file.path)) {
    if (file.sha256.empty()) {
      const auto copy = copies_.find(index);
      const bool copied = copy != copies_.end() && copy->second;
      file.sha256 = sha256_of_file(copied ? copy->second.path() : file.path).value_or("unknown");
    }
    if (auto refusal = lock->check(file.path, file.sha256, file.note)) return refusal;
  }
  return std::nullopt;
}

std::optional<Refusal> Registry::Scan::take_copy(std::size_t index) {
  File& file = files_[index];
  const FileIdentity identity = file.note.identity;
  file.settled = identity.ctime_ns < now_ns() - kSettled;
  const bool known = manifest_.comes_with_library(file.note) && locks(file.path).empty() &&
                     !PluginLibrary::opened_in_place(file.path);
  SealedCopy copy;
  if (!known && !file.note.uses_origin) {
    auto made = SealedCopy::make(file.path, identity);
    if (auto* refusal = std::get_if<Refusal>(&made)) return *refusal;
    copy = std::move(std::get<SealedCopy>(made));
  }
  auto note = read_note(copy ? copy.path() : file.path, true);
  if (auto* refusal = std::get_if<Refusal>(&note)) return *refusal;
  file.note = std::move(std::get<PluginNote>(note));
  if (known && !manifest_.same_bytes(file.note)) {
    // Not what came with the library: like any other file.
    auto made = SealedCopy::make(file.path, identity);
    if (auto* refusal = std::get_if<Refusal>(&made)) return *refusal;
    copy = std::move(std::get<SealedCopy>(made));
  }
  if (copy) file.note.identity = identity;
  copies_[index] = std::move(copy);
  return std::nullopt;
}

void Registry::Scan::try_unknown() {
  std::optional<VerdictCache> cache;
  std::vector<File*> unknown;
  std::vector<ProbeFile> probes;
  for (std::size_t i = 0; i < files_.size(); ++i) {
    File& file = files_[i];
    if (file.library != nullptr || file.refusal || !file.same_as.empty()) continue;
    if (manifest_.same_bytes(file.note) || registry_.accepted_.count(file.note.code()) > 0) {
      continue;
    }
    if (!cache) cache.emplace(registry_.cache_path_, static_cast<int64_t>(std::time(nullptr)));
    if (const auto verdict = cache->find(file.path, file.note)) {
      if (verdict->refusal) refuse(file, *verdict->refusal);
      continue;
    }
    unknown.push_back(&file);
    probes.push_back({file.path, copies_[i].descriptor()});
  }
  if (unknown.empty()) return;
  ProbeOptions probe = registry_.options_.probe;
  probe.program = registry_.probe_program_;
  const auto verdicts = probe_files(probes, probe);
  for (std::size_t i = 0; i < unknown.size(); ++i) {
    const auto& refusal = verdicts[i];
    const bool untried = refusal && refusal->kind == RefusalKind::not_probed;
    if (untried && registry_.options_.trust_all) {
      log_.emplace_back(LogLevel::warning, "plugin loaded untried (trust_all): " + probes[i].path +
                                               ": " + refusal->problem);
      continue;
    }
    cache->put(probes[i].path, unknown[i]->note, refusal);
    if (refusal) refuse(*unknown[i], *refusal);
  }
  cache->save();
}

void Registry::Scan::register_all() {
  for (std::size_t i = 0; i < files_.size(); ++i) {
    const File& file = files_[i];
    if (!file.refusal && file.same_as.empty()) candidates_.push_back({i, file.library});
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
    if (!std::exchange(former_operators_, true)) continue;
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
    auto opened = PluginLibrary::open(file.path, file.note, std::move(copies_[candidate.file]));
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
    const auto found = ops_.find(OpKey(name, version));
    if (found != ops_.end()) return found->second.what;
    return former_operators_ ? registry_.find_registered_op(name, version)
                             : registry_.hooks_.find_core_op(name, version);
  };
  candidate.missing = candidate.library->missing_operators(find);
  if (!candidate.missing.empty()) return Attempt::waits;
  if (!refused(candidate.library->start(registry_.hooks_, find))) enter(file, candidate.library);
  return Attempt::done;
}

void Registry::Scan::enter(File& file, PluginLibrary* library) {
  const attn_plugin& table = library->table();
  for (uint32_t i = 0; i < table.n_types; ++i) {
    types_.insert_or_assign(table.types[i]->id,
                            Served<const attn_type*>{table.types[i], library, file.path});
  }
  for (uint32_t i = 0; i < table.n_ops; ++i) {
    ops_.insert_or_assign(OpKey(table.ops[i]->name, table.ops[i]->version),
                          Served<const attn_op_ref*>{library->op_refs()[i], library, file.path});
  }
  file.library = library;
  const File* before = former(file.path);
  const PluginLibrary* replaced = before != nullptr ? before->library : nullptr;
  if (replaced == library) return;
  const std::string what = file.note.name + " " + file.note.version;
  log_.emplace_back(replaced ? LogLevel::info : LogLevel::debug,
                    (replaced ? "plugin replaced: " : "plugin loaded: ") + file.path + " (" + what +
                        "): " + quoted_list(file.note.types));
}

// What no file of now has stays with the code that had it.
void Registry::Scan::keep_former() {
  std::set<const PluginLibrary*> serving;
  for (const auto& [id, served] : registry_.types_) {
    if (types_.emplace(id, served).second) serving.insert(served.library);
  }
  for (const auto& [key, served] : registry_.ops_) {
    if (ops_.emplace(key, served).second) serving.insert(served.library);
  }
  std::set<std::string> paths;
  for (const File& file : files_) paths.insert(file.path);
  for (const File& file : registry_.files_) {
    if (serving.count(file.library) > 0 && paths.count(file.path) == 0) files_.push_back(file);
  }
}

void Registry::Scan::refuse(File& file, Refusal refusal) {
  const auto from_it = [&](const auto& entry) { return entry.second.path == file.path; };
  if (std::any_of(registry_.types_.begin(), registry_.types_.end(), from_it) ||
      std::any_of(registry_.ops_.begin(), registry_.ops_.end(), from_it)) {
    refusal.hint += "; what was loaded from it before stays in use";
  }
  const File* before = former(file.path);
  const bool known =
      before != nullptr && before->refusal && before->refusal->text() == refusal.text();
  if (!known) {
    log_.emplace_back(LogLevel::warning, "plugin refused: " + file.path + ": " + refusal.text());
  }
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
    const auto found = types_.find(id);
    if (found == types_.end()) continue;
    name = "type '" + id + "'";
    owner = found->second.path;
  }
  for (uint32_t i = 0; library != nullptr && i < library->table().n_ops; ++i) {
    const attn_op& op = *library->table().ops[i];
    const auto found = ops_.find(OpKey(op.name, op.version));
    if (found != ops_.end()) {
      name = "operator " + op_text(op);
      owner = found->second.path;
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
