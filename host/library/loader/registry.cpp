// SPDX-License-Identifier: Apache-2.0
#include "host/library/loader/registry.hpp"

#include <filesystem>

#include "core/error/error.hpp"
#include "core/schema/text.hpp"
#include "host/library/loader/lock.hpp"
#include "host/library/loader/registry_file.hpp"
#include "host/library/loader/scan.hpp"
#include "host/library/loader/sha256.hpp"
#include "host/library/loader/verdict_cache.hpp"

namespace attn::loader {

Registry::Registry(RegistryOptions options, EngineHooks hooks) : hooks_(std::move(hooks)) {
  configure(std::move(options));
}

Registry::~Registry() = default;

void Registry::configure(RegistryOptions options) {
  const std::lock_guard scan(scan_mutex_);
  if (scanned_) {
    throw InvalidArgument(
        "plugins were already looked for; expected the plugin options before the first use; set "
        "them at the start of the program",
        {.where = "plugin options", .hint = "set them at the start of the program"});
  }
  (void)search_places(options.search);  // throws for a path that is not there
  options_ = std::move(options);
  const std::string library = options_.search.library_plugins.empty()
                                  ? library_plugin_directory()
                                  : options_.search.library_plugins;
  manifest_path_ = options_.manifest.value_or(library + "/manifest.txt");
  cache_path_ = options_.cache ? *options_.cache : VerdictCache::default_path();
  lock_path_ = options_.lock ? *options_.lock : environment("ATTN_PLUGIN_LOCK");
  if (!options_.use_locks) lock_path_.clear();
  probe_program_ = options_.probe.program.empty() ? probe_program() : options_.probe.program;
}

void Registry::ensure_scanned() {
  {
    const std::shared_lock lock(data_mutex_);
    if (scanned_) return;
  }
  scan(false);
}

void Registry::rescan() { scan(true); }

void Registry::scan(bool again) {
  std::vector<std::pair<LogLevel, std::string>> lines;
  {
    const std::lock_guard scan_lock(scan_mutex_);
    if (scanned_ && !again) return;
    Scan scan(*this);
    scan.run();
    lines = scan.log_lines();
    const std::unique_lock lock(data_mutex_);
    scanned_ = true;
  }
  for (const auto& [level, text] : lines) log(level, text);
}

void Registry::add_file(const std::string& path) {
  const std::string absolute = absolute_path(path);
  FileIdentity id;
  if (!identify(absolute, &id)) {
    throw InvalidArgument(
        "plugin file '" + path +
            "' does not exist; expected a plugin file; correct "
            "the path",
        {.where = path, .value = path, .expected = "a plugin file", .hint = "correct the path"});
  }
  {
    const std::lock_guard scan_lock(scan_mutex_);
    added_.push_back(absolute);
  }
  rescan();
  const std::shared_lock lock(data_mutex_);
  for (const File& file : files_) {
    if (file.path != absolute || !file.refusal) continue;
    throw InvalidArgument("plugin '" + path + "' was refused: " + file.refusal->text(),
                          {.where = path,
                           .value = file.refusal->problem,
                           .expected = file.refusal->expected,
                           .hint = file.refusal->hint});
  }
}

std::optional<RegisteredType> Registry::find_type(std::string_view id) {
  ensure_scanned();
  const std::shared_lock lock(data_mutex_);
  const auto found = types_.find(id);
  if (found == types_.end()) return std::nullopt;
  return RegisteredType{found->second.what, found->second.library->hold(), found->second.path};
}

RegisteredType Registry::type(std::string_view id) {
  if (auto found = find_type(id)) return *std::move(found);
  throw_unknown(id);
}

std::vector<RegisteredType> Registry::types() {
  ensure_scanned();
  const std::shared_lock lock(data_mutex_);
  std::vector<RegisteredType> all;
  for (const auto& [id, served] : types_)
    all.push_back({served.what, served.library->hold(), served.path});
  return all;
}

const attn_op_ref* Registry::find_op(std::string_view name, uint32_t version) {
  ensure_scanned();
  return find_registered_op(name, version);
}

const attn_op_ref* Registry::find_registered_op(std::string_view name, uint32_t version) const {
  if (const attn_op_ref* core = hooks_.find_core_op(name, version)) return core;
  const std::shared_lock lock(data_mutex_);
  const auto found = ops_.find(OpKey(name, version));
  return found != ops_.end() ? found->second.what : nullptr;
}

void Registry::throw_unknown(std::string_view id) const {
  const std::shared_lock lock(data_mutex_);
  const std::string name(id);
  // The file that would have it: by its metadata, or, when that cannot be read, by its name.
  for (const File& file : files_) {
    if (!file.refusal) continue;
    bool has = file.note.types.empty() && std::filesystem::path(file.path).stem() == name;
    for (const std::string& type : file.note.types) has = has || type == name;
    if (!has) continue;
    throw InvalidArgument("Attention type '" + name + "' is not available: its plugin " +
                              file.path + " was refused: " + file.refusal->text(),
                          {.where = file.path,
                           .type = name,
                           .parameter = "type",
                           .value = name,
                           .expected = file.refusal->expected,
                           .hint = file.refusal->hint});
  }
  std::vector<std::string> ids;
  std::string listed, hint;
  for (const auto& [known, served] : types_) {
    ids.push_back(known);
    listed += (listed.empty() ? "" : ", ") + known;
    if (name == served.what->class_name) hint = "did you mean '" + known + "'?";
  }
  if (hint.empty()) hint = schema::did_you_mean(name, ids);
  std::string searched;
  for (const SearchPlace& place : places_) {
    searched += (searched.empty() ? "" : ", ") + place.path;
    if (!place.problem.empty()) {
      searched += " (not searched)";
    } else if (!place.exists) {
      searched += " (does not exist)";
    }
  }
  if (!hint.empty()) hint += ' ';
  hint += "Plugins were looked for in: ";
  hint += searched.empty() ? "nowhere" : searched;
  throw InvalidArgument(
      "Unknown attention type '" + name + "'",
      {.type = name,
       .parameter = "type",
       .value = name,
       .expected = ids.empty() ? "a type of a loaded plugin; there is none" : "one of: " + listed,
       .hint = hint});
}

std::string Registry::lock_text() {
  ensure_scanned();
  const std::shared_lock lock(data_mutex_);
  Json::List entries;
  for (const File& file : files_) {
    if (file.library == nullptr) continue;
    const auto sum = sha256_of_file(file.path);
    FileIdentity now;
    if (!sum || !identify(file.path, &now) || !(now == file.note.identity)) {
      throw Failure("plugin '" + file.path + "' changed since it was loaded; run attn lock again",
                    {.where = file.path, .hint = "run attn lock again"});
    }
    entries.push_back(PluginLock::entry(file.path, *sum, file.library->table()));
  }
  return PluginLock::text(std::move(entries));
}

PluginReport Registry::report() {
  ensure_scanned();
  const std::shared_lock lock(data_mutex_);
  PluginReport report;
  for (const SearchPlace& place : places_) {
    if (place.single_file) continue;
    report.directories.push_back({place.path, name(place.source), place.exists, place.problem});
  }
  for (const File& file : files_) {
    PluginFile out;
    out.path = file.path;
    out.source = name(file.source);
    out.state = file.library != nullptr ? PluginFile::State::loaded
                : file.refusal          ? PluginFile::State::refused
                                        : PluginFile::State::same_file;
    out.name = file.note.name;
    out.version = file.note.version;
    out.build_id = file.note.build_id;
    out.revision = file.note.revision;
    out.dirty = file.note.dirty;
    out.compiler = file.note.compiler;
    out.flags = file.note.flags;
    out.types = file.note.types;
    if (!file.note.name.empty()) {
      out.abi =
          std::to_string(file.note.abi_major) + "." + std::to_string(file.note.abi_minor_built);
    }
    if (file.library != nullptr) {
      const attn_plugin& table = file.library->table();
      out.license = table.license;
      for (uint32_t i = 0; i < table.n_ops; ++i) {
        out.operators.push_back(std::string(table.ops[i]->name) + "/" +
                                std::to_string(table.ops[i]->version));
      }
    }
    if (file.refusal) {
      out.code = name(file.refusal->kind);
      out.problem = file.refusal->problem;
      out.expected = file.refusal->expected;
      out.hint = file.refusal->hint;
    }
    if (!file.same_as.empty()) out.problem = "is the same file as " + file.same_as;
    report.files.push_back(std::move(out));
  }
  report.locks = locks_;
  report.manifest = manifest_path_;
  report.manifest_problem = manifest_problem_;
  report.probe_program = probe_program_;
  report.verdict_cache = cache_path_;
  return report;
}

}  // namespace attn::loader
