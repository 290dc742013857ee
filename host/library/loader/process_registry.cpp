// SPDX-License-Identifier: Apache-2.0
//
// The registry of the process and the public functions about plugins.
#include <attn/log.hpp>
#include <attn/plugins.hpp>

#include <algorithm>

#include "core/engine/context.hpp"
#include "core/engine/op_ref.hpp"
#include "host/library/loader/registry.hpp"

namespace attn {
namespace loader {

namespace {

static_assert(static_cast<int>(LogLevel::debug) == ATTN_LOG_DEBUG &&
              static_cast<int>(LogLevel::error) == ATTN_LOG_ERROR);

// Lines of plugins go where those of the library go; a level that does not exist counts as the nearest one.
void log_of_plugin(int32_t level, const char* text) {
  log(static_cast<LogLevel>(std::clamp<int32_t>(level, ATTN_LOG_DEBUG, ATTN_LOG_ERROR)), text);
}

Registry* make_registry() {
  engine::set_log(&log_of_plugin);
  return new Registry(RegistryOptions{}, EngineHooks{engine::engine_table(), &engine::find_core_op,
                                                     &engine::make_op_ref});
}

}  // namespace

Registry& process_registry() {
  static Registry* const registry = make_registry();
  return *registry;
}

}  // namespace loader

void set_plugin_options(const PluginOptions& options) {
  loader::RegistryOptions chosen;
  for (const std::string& path : options.paths) {
    chosen.search.explicit_paths.push_back(path.empty() ? path : loader::absolute_path(path));
  }
  if (!options.lock.empty()) chosen.lock = loader::absolute_path(options.lock);
  chosen.use_locks = options.use_locks;
  chosen.trust_all = options.trust_all;
  chosen.probe.deadline = options.deadline;
  loader::process_registry().configure(std::move(chosen));
}

PluginReport plugin_report() { return loader::process_registry().report(); }

void rescan_plugins() { loader::process_registry().rescan(); }

std::string plugin_lock() { return loader::process_registry().lock_text(); }

void load_plugin(const std::string& path) { loader::process_registry().add_file(path); }

}  // namespace attn
