// SPDX-License-Identifier: Apache-2.0
//
// attn schema: what configurations have to look like, for editors.
#include <attn/factory.hpp>

#include <memory>

#include "host/cli/print.hpp"
#include "host/cli/program.hpp"

namespace attn::cli {

Command schema_command(CLI::App& program, const Globals&) {
  CLI::App* app = program.add_subcommand(
      "schema", "JSON Schema of configurations: completion and checks in editors");
  auto type = std::make_shared<std::string>();
  app->add_option("TYPE", *type, "One type alone; without it all that are loaded");
  add_examples(*app, {"attn schema > attn.schema.json", "attn schema TYPE"});
  return {app, [type] {
            print_line(config_schema(*type).dump(1));
            return kDone;
          }};
}

}  // namespace attn::cli
