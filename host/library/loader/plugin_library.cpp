// SPDX-License-Identifier: Apache-2.0
#include "host/library/loader/plugin_library.hpp"

#ifndef BOOST_DLL_USE_STD_FS
#define BOOST_DLL_USE_STD_FS
#endif
#include <dlfcn.h>

#include <boost/dll/shared_library.hpp>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <map>
#include <set>
#include <utility>

#include "core/cpu/float_state.hpp"
#include "core/engine/op_ref.hpp"
#include "host/library/loader/table_check.hpp"

namespace attn::loader {
namespace {

// Every library this process has opened. Never destroyed.
struct Opened {
  threads::CallbackMutex opening;  // one at a time; constructors of the library run inside
  threads::Mutex mutex;
  std::map<std::string, Checked<PluginLibrary*>> by_code;  // what was refused stays mapped as well
  std::set<std::string> build_ids;
  std::set<const attn_plugin*> tables;
  std::set<std::string> in_place;  // paths
  std::vector<PluginLibrary*> to_deinit;
};
Opened& opened() {
  static Opened* const all = new Opened;
  return *all;
}

// What dlerror() said, out of the text that Boost.DLL wraps around it.
std::string linker_message(const std::string& what) {
  const std::string before = "dlerror system message: ";
  const std::size_t at = what.find(before);
  if (at == std::string::npos) return what;
  const std::string rest = what.substr(at + before.size());
  const std::size_t end = rest.rfind("): ");
  return end == std::string::npos ? rest : rest.substr(0, end);
}

Refusal threw(const std::string& where, const std::string& what) {
  return {RefusalKind::threw, where + " threw an exception: " + what,
          "functions that report errors by code", "report it to the author of the plugin"};
}

std::string exception_text() {
  try {
    throw;
  } catch (const std::exception& e) {
    return e.what();
  } catch (...) {
    return "of an unknown type";
  }
}

// A text of fixed size that the plugin filled in, perhaps without its end.
template <std::size_t N>
std::string fixed_text(const char (&text)[N]) {
  return std::string(text, ::strnlen(text, N));
}

// A name of that file that no library has: the dynamic linker keeps names, also of descriptors that were closed.
std::string unused_name(std::string path) {
  while (void* taken = ::dlopen(path.c_str(), RTLD_LAZY | RTLD_NOLOAD)) {
    ::dlclose(taken);
    path.insert(path.rfind('/'), "/.");
  }
  return path;
}

Refusal changed() {
  return {RefusalKind::changed, "was replaced while it was being loaded",
          "a file that stays as it is while it is loaded", "start the program again"};
}

}  // namespace

PluginLibrary::PluginLibrary(const attn_plugin* table, PluginNote note)
    : table_(table),
      note_(std::move(note)),
      uses_(table->uses, table->uses + table->n_uses),
      lease_(this, [](const PluginLibrary*) {}) {}

bool PluginLibrary::opened_in_place(const std::string& path) {
  Opened& all = opened();
  const std::lock_guard lock(all.mutex);
  return all.in_place.count(path) > 0;
}

// The table of the library that the dynamic linker finds by that name.
Checked<const attn_plugin*> PluginLibrary::open_table(const std::string& path,
                                                      const std::string& name,
                                                      const PluginNote& note) {
  namespace dll = boost::dll;
  const cpu::FloatGuard arithmetic;
  // Not in Boost.DLL's list of modes, but passed on. Its load() without an exception loses the message.
  constexpr auto kMode = static_cast<dll::load_mode::type>(RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  dll::shared_library library;
  try {
    library.load(name, kMode);
  } catch (const std::exception& e) {
    return Refusal{
        RefusalKind::cannot_open,
        "the dynamic linker refuses it: " + replaced(linker_message(e.what()), name, path),
        "a library whose symbols and dependencies are all there",
        "install what it needs, or build it again with attn_add_plugin()"};
  }
  if (!library.has("attn_plugin_v1")) {
    return Refusal{RefusalKind::not_a_plugin, "does not export attn_plugin_v1",
                   "a library built with attn_add_plugin() that exports attn_plugin_v1",
                   "end one of its sources with ATTN_PLUGIN(...) and build it again"};
  }
  const attn_plugin* table = nullptr;
  try {
    table = library.get<const attn_plugin*()>("attn_plugin_v1")();
  } catch (...) {
    return threw("attn_plugin_v1()", exception_text());
  }
  if (cpu::FloatGuard::changed()) return changes_arithmetic("while it is loaded");
  if (auto refusal = check_table(table, note)) return *refusal;
  return table;
}

Checked<PluginLibrary*> PluginLibrary::open(const std::string& path, const PluginNote& note,
                                            SealedCopy copy) {
  Opened& all = opened();
  const std::lock_guard opening(all.opening);
  {
    const std::lock_guard lock(all.mutex);
    const auto same = all.by_code.find(note.code());
    if (same != all.by_code.end()) return same->second;
    if (!note.build_id.empty() && all.build_ids.count(note.build_id) > 0) {
      return Refusal{RefusalKind::changed,
                     "has the build id of a library that this process has loaded, and other code",
                     "a build id of its own", "link it with -Wl,--build-id"};
    }
    if (!copy) all.in_place.insert(path);
  }
  FileIdentity now;
  const auto stays = [&] { return copy || (identify(path, &now) && now == note.identity); };
  if (!stays()) return changed();
  const auto found = open_table(path, copy ? unused_name(copy.path()) : path, note);
  const auto* refusal = std::get_if<Refusal>(&found);
  if (refusal != nullptr && refusal->kind == RefusalKind::cannot_open) return *refusal;
  if (!stays()) return changed();

  const std::lock_guard lock(all.mutex);
  if (refusal == nullptr && !all.tables.insert(std::get<0>(found)).second) {
    return Refusal{RefusalKind::changed, "was replaced after this process had loaded it",
                   "the file that was loaded, which stays in use", "start the program again"};
  }
  copy.keep();
  all.build_ids.insert(note.build_id);
  Checked<PluginLibrary*> result = nullptr;
  if (refusal != nullptr) {
    result = *refusal;
  } else {
    result = new PluginLibrary(std::get<0>(found), note);
  }
  return all.by_code.emplace(note.code(), std::move(result)).first->second;
}

const attn_op* PluginLibrary::own_op(std::string_view name, uint32_t version) const {
  for (uint32_t i = 0; i < table_->n_ops; ++i) {
    const attn_op* op = table_->ops[i];
    if (op->version == version && name == op->name) return op;
  }
  return nullptr;
}

std::vector<std::string> PluginLibrary::missing_operators(const FindOperator& find) const {
  std::vector<std::string> missing;
  for (const attn_op_use* used : uses_) {
    const attn_op_use& use = *used;
    const attn_op* op = own_op(use.name, use.version);
    if (op == nullptr) {
      const attn_op_ref* ref = find(use.name, use.version);
      op = ref != nullptr ? ref->op : nullptr;
    }
    const std::string text = std::string(use.name) + "/" + std::to_string(use.version);
    if (op == nullptr) {
      missing.push_back(text);
    } else if (op->n_attrs < use.min_attrs) {
      missing.push_back(text + " with " + std::to_string(use.min_attrs) +
                        " attributes (there are " + std::to_string(op->n_attrs) + ")");
    } else if (op->n_in < use.min_in) {
      missing.push_back(text + " with " + std::to_string(use.min_in) + " inputs (there are " +
                        std::to_string(op->n_in) + ")");
    }
  }
  return missing;
}

std::optional<Refusal> PluginLibrary::start(const EngineHooks& hooks, const FindOperator& find) {
  const std::lock_guard lock(start_mutex_);
  if (started_) return start_refusal_;
  op_refs_.clear();  // of a start that a fork() cut off
  for (uint32_t i = 0; i < table_->n_ops; ++i)
    op_refs_.push_back(hooks.make_op_ref(table_->ops[i]));
  for (const attn_op_use* used : uses_) {
    const attn_op_use& use = *used;
    const attn_op* own = own_op(use.name, use.version);
    const attn_op_ref* ref = own == nullptr ? find(use.name, use.version) : nullptr;
    for (uint32_t j = 0; own != nullptr && j < table_->n_ops; ++j) {
      if (table_->ops[j] == own) ref = op_refs_[j];
    }
    *use.slot = ref;
  }
  start_refusal_ = run_init(hooks.engine);
  if (!start_refusal_ && table_->deinit != nullptr) {
    // Handlers run in the reverse order of their registration, so this one runs before the destructors
    // that the library registered when it was opened.
    Opened& all = opened();
    const std::lock_guard all_lock(all.mutex);
    if (std::atexit(run_last_deinit) == 0) all.to_deinit.push_back(this);
  }
  started_ = true;
  return start_refusal_;
}

std::optional<Refusal> PluginLibrary::run_init(const attn_engine* engine) const {
  if (table_->init == nullptr) return std::nullopt;
  const cpu::FloatGuard arithmetic;
  attn_error error{};
  int32_t code = ATTN_OK;
  try {
    code = table_->init(engine, &error);
  } catch (...) {
    return threw("init()", exception_text());
  }
  if (cpu::FloatGuard::changed()) return changes_arithmetic("in its init()");
  if (code == ATTN_OK) return std::nullopt;
  const std::string where = fixed_text(error.where), message = fixed_text(error.message);
  return Refusal{RefusalKind::init_failed,
                 "its init() failed with code " + std::to_string(code) +
                     (where.empty() ? "" : " in " + where) +
                     (message.empty() ? "" : ": " + message),
                 "an init() that succeeds", "do what its message says"};
}

void PluginLibrary::run_last_deinit() {
  PluginLibrary* library = nullptr;
  {
    Opened& all = opened();
    const std::lock_guard lock(all.mutex);
    library = all.to_deinit.back();
    all.to_deinit.pop_back();
  }
  if (library->lease_.use_count() > 1) return;
  const cpu::FloatGuard arithmetic;
  try {
    library->table_->deinit();
  } catch (...) {
    // The process ends: no caller is left to report to.
  }
}

}  // namespace attn::loader
