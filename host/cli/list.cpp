// SPDX-License-Identifier: Apache-2.0
//
// attn list: one line for each type.
#include <attn/factory.hpp>

#include "host/cli/print.hpp"
#include "host/cli/program.hpp"
#include "host/cli/types.hpp"

namespace attn::cli {

namespace {

int run_list(const Globals& globals) {
  Json all = Json::list({});
  Table table({"TYPE", "CLASS", "INPUT", "MASKS", "STATE", "LIBRARY"});
  for (const std::string& name : list_attention_types()) {
    const TypeEntry entry = find_attention_type(name);
    const KeepsState kept = keeps_state(*entry.type);
    if (globals.json) {
      all.push_back({{"type", name},
                     {"class", entry.type->class_name},
                     {"description", entry.type->description},
                     {"input_shape", entry.type->input_shape},
                     {"masks", mask_text(*entry.type)},
                     {"state", kept.keeps},
                     {"state_with", kept.with.empty() ? Json() : Json(kept.with)},
                     {"library", entry.library}});
    } else {
      table.add({name, entry.type->class_name, entry.type->input_shape, mask_text(*entry.type),
                 !kept.keeps         ? "-"
                 : kept.with.empty() ? "yes"
                                     : kept.with,
                 entry.library});
    }
  }
  if (globals.json)
    print_line(all.dump(1));
  else if (all.empty() && list_attention_types().empty())
    print_error_line("attn: no types found; attn doctor tells where plugins are looked for");
  else
    print(table.text());
  return kDone;
}

}  // namespace

Command list_command(CLI::App& program, const Globals& globals) {
  CLI::App* app = program.add_subcommand("list", "The attention types that are loaded");
  add_examples(*app, {"attn list", "attn list --json", "attn list --plugin-path ./my-plugins"});
  return {app, [&globals] { return run_list(globals); }};
}

}  // namespace attn::cli
