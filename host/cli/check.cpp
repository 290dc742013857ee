// SPDX-License-Identifier: Apache-2.0
//
// attn check: tests of one plugin file.
#include <fmt/format.h>
#include <attn/config.hpp>
#include <attn/error.hpp>

#include <memory>
#include <optional>

#include "core/weights/atomic_file.hpp"
#include "host/check/fuzz.hpp"
#include "host/check/report.hpp"
#include "host/check/runner.hpp"
#include "host/cli/print.hpp"
#include "host/cli/program.hpp"

namespace attn::cli {

namespace {

struct CheckOptions {
  std::string file, junit, config;
  std::vector<std::string> reports;
  check::RunOptions run;
  bool list = false;
  std::optional<double> fuzz;
  std::optional<uint64_t> number;
};

int list_tests(const Globals& globals) {
  if (globals.json) {
    Json all = Json::list({});
    for (const check::Test& test : check::tests())
      all.push_back(
          {{"name", test.name}, {"group", check::name(test.group)}, {"promise", test.promise}});
    print_line(all.dump(1));
    return kDone;
  }
  Table table({"GROUP", "TEST", "PROMISE"});
  for (const check::Test& test : check::tests())
    table.add({check::name(test.group), test.name, test.promise});
  print(table.text());
  print_line(fmt::format("{} tests", check::tests().size()));
  return kDone;
}

std::string painted(check::Verdict verdict, const std::string& text) {
  switch (verdict) {
    case check::Verdict::passed:
      return paint(Colour::green, text);
    case check::Verdict::failed:
      return paint(Colour::red, text);
    case check::Verdict::warned:
      return paint(Colour::yellow, text);
    case check::Verdict::skipped:
      return paint(Colour::dim, text);
  }
  return text;
}

void write_text(const std::string& path, const std::string& text) {
  weights::AtomicFile file(path);
  file.write(text.data(), text.size());
  file.commit();
}

int run_fuzz(const Globals& globals, const CheckOptions& o) {
  check::FuzzReport report;
  {
    Progress progress(!globals.json && globals.quiet == 0);
    report = check::run_fuzz(o.file, {.seconds = o.fuzz.value_or(0),
                                      .seed = o.run.seed,
                                      .only = o.number,
                                      .plugin_path = globals.plugin_path,
                                      .progress = [&](uint64_t cases) {
                                        progress.say(fmt::format("{} cases", cases));
                                      }});
  }
  Json failures = Json::list({});
  for (const check::FuzzFailure& f : report.failures) {
    if (globals.json) {
      failures.push_back({{"case", f.number},
                          {"message", visible(f.outcome.message)},
                          {"witness", visible(f.outcome.witness)},
                          {"command", f.command}});
      continue;
    }
    print_line(paint(Colour::red, "FAILED") + fmt::format(" case {}: ", f.number) +
               wrapped(visible(f.outcome.message), 2));
    print_line("  " + wrapped(visible(f.outcome.witness), 2));
    for (const std::string& line : f.outcome.lines) print_line("  " + visible(line));
    print_line("  again: " + f.command);
  }
  if (globals.json)
    print_line(Json{
        {"file", visible(report.file)},
        {"seed", report.seed},
        {"cases", report.cases},
        {"seconds", report.seconds},
        {"failures",
         failures}}.dump(1));
  else
    print_line(fmt::format("{} cases of seed {}, {} failed, in {:.1f} s", report.cases, report.seed,
                           report.failures.size(), report.seconds));
  return report.failures.empty() ? kDone : kCheckFailed;
}

int run_check(const Globals& globals, const CheckOptions& o) {
  if (o.list) return list_tests(globals);
  if (o.file.empty())
    throw InvalidArgument("no plugin file is given",
                          {.where = "attn check",
                           .expected = "the path of a shared library, or --list",
                           .hint = "for example attn check build/my_plugin.so"});
  if (o.fuzz || o.number) return run_fuzz(globals, o);
  check::RunOptions options = o.run;
  options.plugin_path = globals.plugin_path;
  if (!o.config.empty()) options.config = parse_config(o.config, "--config");
  check::Report report;
  {
    Progress progress(!globals.json && globals.quiet == 0);
    options.progress = [&](const std::string& test, size_t done, size_t all) {
      progress.say(test, done, all);
    };
    report = check::run_tests(o.file, options);
  }
  for (const std::string& path : o.reports)
    write_text(path, path.ends_with(".html") ? check::to_html(report) : check::to_text(report));
  if (!o.junit.empty()) write_text(o.junit, check::to_junit(report));
  if (globals.json)
    print_line(check::to_json(report).dump(1));
  else
    print(check::to_text(report, painted));
  return report.count(check::Verdict::failed) ? kCheckFailed : kDone;
}

}  // namespace

Command check_command(CLI::App& program, const Globals& globals) {
  CLI::App* app = program.add_subcommand(
      "check", "Tests a plugin file: library, schema, tensors, mathematics, claims, resources");
  auto o = std::make_shared<CheckOptions>();
  app->add_option("FILE", o->file, "The plugin, a shared library");
  app->add_option("--only", o->run.only, "These tests or groups alone, separated by commas")
      ->type_name("NAMES")
      ->delimiter(',')
      ->allow_extra_args(false);
  app->add_flag("--list", o->list, "The tests and what each promises; needs no FILE");
  app->add_flag("--quick", o->run.quick, "Fewer samples: for a check after each build");
  app->add_option("--junit", o->junit, "Also write the results as JUnit XML")->type_name("FILE");
  app->add_option("--report", o->reports,
                  "Also write the report as one page, of HTML or of text; repeatable")
      ->type_name("FILE.html|.txt")
      ->allow_extra_args(false)
      ->check([](const std::string& path) {
        return path.ends_with(".html") || path.ends_with(".txt")
                   ? std::string()
                   : "'" + path + "' ends in neither .html nor .txt";
      });
  app->add_option("--config", o->config,
                  "Parameters of the layers, in place of those that tests draw: to repeat one")
      ->type_name("JSON");
  take_number(app->add_option(
                  "--fuzz", o->fuzz,
                  "Instead of the tests, for so many seconds: random configs, shapes and calls"),
              0.001, 1e9, false, "SECONDS");
  app->add_option("--case", o->number, "The case of --fuzz with this number alone")->type_name("N");
  take_number(app->add_option(
                  "--deadline", o->run.most_seconds,
                  "Seconds that a test may take at most (default: each its own, about a minute)"),
              0.001, 1e9, false, "SECONDS");
  add_seed(*app, o->run.seed, "Of all random numbers (default 1)");
  add_examples(*app, {"attn check build/my_plugin.so", "attn check my_plugin.so --only schema",
                      "attn check my_plugin.so --report check.html --junit check.xml",
                      "attn check my_plugin.so --fuzz 60 --seed 7", "attn check --list"});
  return {app, [&globals, o] { return run_check(globals, *o); }};
}

}  // namespace attn::cli
