// SPDX-License-Identifier: Apache-2.0
//
// attn plugins: the files that were found, loaded or refused.
#include "host/cli/log_sink.hpp"
#include "host/cli/plugin_json.hpp"
#include "host/cli/print.hpp"
#include "host/cli/program.hpp"

namespace attn::cli {

namespace {

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& w : words) text += (text.empty() ? "" : ", ") + w;
  return text.empty() ? "-" : text;
}

std::string or_dash(const std::string& text) { return text.empty() ? "-" : text; }

void print_builds(const PluginReport& report) {
  Table table({"PATH", "BUILD ID", "COMPILER", "FLAGS"});
  for (const PluginFile& f : report.files)
    table.add({f.path, or_dash(f.build_id), or_dash(f.compiler), or_dash(f.flags)});
  print("\n" + table.text());
}

int run_plugins(const Globals& globals) {
  const QuietLog quiet;  // the report has the refusals
  const PluginReport report = plugin_report();
  if (globals.json) {
    Json files = Json::list({});
    for (const PluginFile& f : report.files) files.push_back(to_json(f));
    print_line(files.dump(1));
    return kDone;
  }
  Table table({"STATE", "NAME", "VERSION", "REVISION", "ABI", "TYPES", "PATH"});
  for (const PluginFile& f : report.files)
    table.add({state_name(f.state), or_dash(f.name), or_dash(f.version),
               or_dash(f.revision) + (f.dirty == "yes" ? "-dirty" : ""), or_dash(f.abi),
               joined(f.types), f.path});
  print(table.text());
  if (globals.verbose > 0) print_builds(report);
  for (const PluginFile& f : report.files)
    if (f.state == PluginFile::State::refused)
      print_line("\n" + paint(Colour::red, "refused") + " " + visible(f.path) + "\n  " +
                 wrapped(visible(refusal_text(f)), 2));
  return kDone;
}

}  // namespace

Command plugins_command(CLI::App& program, const Globals& globals) {
  CLI::App* app =
      program.add_subcommand("plugins", "The plugin files found: loaded, or refused and why");
  add_examples(*app,
               {"attn plugins", "attn plugins -v", "attn plugins --plugin-path ./build --json"});
  return {app, [&globals] { return run_plugins(globals); }};
}

}  // namespace attn::cli
