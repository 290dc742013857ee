// SPDX-License-Identifier: Apache-2.0
//
// The registry of the process and the public functions about plugins.
#include <attn/plugins.hpp>

#include "core/engine/context.hpp"
#include "core/engine/op_ref.hpp"
#include "host/library/loader/registry.hpp"
#include "host/library/loader/table_check.hpp"

namespace attn {
namespace loader {

static_assert(kMaxOpPorts == engine::kMaxPorts && kMaxOpAttributes == engine::kMaxAttributes);

Registry& process_registry() {
  static Registry* const registry = new Registry(
      RegistryOptions{},
      EngineHooks{engine::engine_table(), &engine::find_core_op, &engine::make_op_ref});
  return *registry;
}

}  // namespace loader

void set_plugin_options(const PluginOptions& options) {
  loader::RegistryOptions chosen;
  for (const std::string& path : options.paths) {
    chosen.search.explicit_paths.push_back(path.empty() ? path : loader::absolute_path(path));
  }
  chosen.trust_all = options.trust_all;
  chosen.probe.deadline = options.deadline;
  loader::process_registry().configure(std::move(chosen));
}

PluginReport plugin_report() { return loader::process_registry().report(); }

void rescan_plugins() { loader::process_registry().rescan(); }

void load_plugin(const std::string& path) { loader::process_registry().add_file(path); }

}  // namespace attn
