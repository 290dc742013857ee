// SPDX-License-Identifier: Apache-2.0
//
// attn validate: checks configurations without making anything.
#include <attn/config.hpp>
#include <attn/factory.hpp>

#include <memory>

#include "host/cli/config_file.hpp"
#include "host/cli/errors.hpp"
#include "host/cli/print.hpp"
#include "host/cli/program.hpp"

namespace attn::cli {

namespace {

struct ValidateOptions {
  std::vector<std::string> files;
  std::string section;
};

int run_validate(const Globals& globals, const ValidateOptions& options) {
  std::vector<std::string> lines;
  Json results = Json::list({});
  bool refused = false;
  for (const std::string& file : options.files) {
    try {
      const ConfigFile config(file, options.section);
      config.validate();
      lines.push_back(file + ": ok (" + config.type() + ")");
      results.push_back({{"file", file}, {"ok", true}, {"type", config.type()}});
    } catch (const InvalidArgument& e) {
      // Several files: every error is reported, not only the first.
      refused = true;
      const ErrorReport report = describe(e);
      if (options.files.size() == 1) throw;
      print_error_line(printed(report, globals.json));
    }
  }
  if (refused) return kRefused;
  if (globals.json)
    print_line(results.dump(1));
  else
    for (const std::string& line : lines) print_line(line);
  return kDone;
}

}  // namespace

Command validate_command(CLI::App& program, const Globals& globals) {
  CLI::App* app = program.add_subcommand(
      "validate", "Checks configurations; errors come with file:line:column");
  auto options = std::make_shared<ValidateOptions>();
  app->add_option("CONFIG", options->files, "JSON files")->required();
  app->add_option("--section", options->section, "Where the layer stands in the file: a.b.c");
  add_examples(
      *app, {"attn validate layer.json", "attn validate --section encoder.attention model.json"});
  return {app, [&globals, options] { return run_validate(globals, *options); }};
}

}  // namespace attn::cli
