// SPDX-License-Identifier: Apache-2.0
//
// The program `attn`: reads the command line, runs one command, turns its outcome into an exit code.
#include <attn/error.hpp>
#include <attn/plugins.hpp>
#include <attn/threads.hpp>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "core/cpu/level.hpp"
#include "host/cli/errors.hpp"
#include "host/cli/log_sink.hpp"
#include "host/cli/print.hpp"
#include "host/cli/program.hpp"
#include "host/cli/usage.hpp"
#include "host/cli/version.hpp"

namespace attn::cli {

namespace {

void add_globals(CLI::App& app, Globals& g) {
  app.add_option("--plugin-path", g.plugin_path,
                 "Directory (or file) to take plugins from; repeatable; then only these are used")
      ->type_name("DIR")
      ->allow_extra_args(false);
  take_number(app.add_option("--threads", g.threads,
                             "Threads to use (default: ATTN_THREADS, else all CPUs)"),
              1, std::numeric_limits<int>::max(), true);
  app.add_flag("--json", g.json, "Results, errors and log lines as JSON");
  app.add_flag("-v", g.verbose, "More log lines (-vv: debug)");
  app.add_flag("-q", g.quiet, "Fewer log lines (-qq: none)");
}

// Before there are parsed options: whether errors are wanted as JSON.
bool wants_json(int argc, char** argv) {
  for (int i = 1; i < argc; ++i)
    if (std::strcmp(argv[i], "--json") == 0) return true;
  return false;
}

int report(const ErrorReport& error, bool json) {
  print_error_line(printed(error, json));
  return error.exit_code;
}

// An empty value is what a script gives whose variable is not set; nothing means it.
void refuse_empty_values(CLI::App& app) {
  for (CLI::Option* option : app.get_options())
    option->check([](const std::string& value) {
      return value.empty()
                 ? std::string("the value is empty; expected one; leave the option out, or give it")
                 : std::string();
    });
}

void apply(const Globals& g, bool diagnostic) {
  // What is diagnosed may be this.
  if (!diagnostic || log_level_problem(g).empty()) install_log_sink(g);
  if (g.threads) set_threads(*g.threads);
  if (!g.plugin_path.empty()) set_plugin_options({.paths = g.plugin_path});
  if (diagnostic) return;
  // Unusable values of ATTN_ISA and ATTN_THREADS are reported before any work.
  static_cast<void>(cpu::level());
  static_cast<void>(thread_count());
}

int run(int argc, char** argv) {
  Globals globals;
  CLI::App app("Attention layers on the CPU: look at them, run them, check them, time them.",
               "attn");
  app.fallthrough();  // options of the program may stand behind the command, too
  app.require_subcommand(0, 1);
  app.failure_message(CLI::FailureMessage::simple);
  app.get_formatter()->column_width(34);
  add_globals(app, globals);
  bool show_version = false;
  app.add_flag("--version", show_version, "Version, commit, ABI, compiler and CPU level");
  add_examples(app, {"attn list", "attn info TYPE",
                     "attn run layer.json --input inputs=x.npy --output y.npy"});

  std::vector<Command> commands;
  for (const auto add :
       {list_command,    info_command,    schema_command,     validate_command,
        run_command,     verify_command,  check_command,      check_gradients_command,
        plugins_command, lock_command,    doctor_command,     convert_command,
        bench_command,   explain_command, tune_command,       map_command,
        choose_command,  new_command,     completion_command, man_command})
    commands.push_back(add(app, globals));
  for (const Command& c : commands) {
    c.app->fallthrough();
    refuse_empty_values(*c.app);
  }
  refuse_empty_values(app);

  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& e) {
    return app.exit(e) == 0 ? kDone : kFailed;
  } catch (const CLI::ParseError& e) {
    return report(explain(e, app), wants_json(argc, argv));
  }
  try {
    if (show_version) {
      print_version(globals.json);
      return kDone;
    }
    for (const Command& c : commands) {
      if (!c.app->parsed()) continue;
      apply(globals, c.diagnostic);
      return c.run();
    }
    return report(usage_error("", "no command given", "attn --help lists the commands"),
                  globals.json);
  } catch (const std::exception& e) {
    return report(describe(e), globals.json);
  } catch (...) {
    return report({"internal", "", "an exception of an unknown kind", "", "", kFailed},
                  globals.json);
  }
}

}  // namespace

}  // namespace attn::cli

int main(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // a limit of file sizes is an error like a full disk
  int code = attn::cli::run(argc, argv);
  // Results that cannot be written are no results.
  if (std::fflush(stdout) != 0 || std::ferror(stdout)) {
    attn::cli::print_error_line(
        "attn: standard output cannot be written; what is there may be cut off; free some space or "
        "write elsewhere");
    if (code == attn::cli::kDone) code = attn::cli::kFailed;
  }
  return code;
}
