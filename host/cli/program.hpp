// SPDX-License-Identifier: Apache-2.0
//
// What the commands of the program share: options that stand before or after any command, exit codes, and the
// list of commands.
//
// A command declares its options on a CLI::App and gives back what to run. It writes results to standard
// output and nothing else there; errors leave it as exceptions (errors.hpp turns them into text and exit
// code). One thread.
#pragma once

#include <CLI/CLI.hpp>
#include <attn/attention.hpp>

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace attn::cli {

enum ExitCode {
  kDone = 0,
  kCheckFailed = 1,  // it ran, but a comparison, check or gate failed
  kRefused = 2,      // usage or input
  kFailed = 3        // inside the library or a plugin
};

struct Globals {
  std::vector<std::string> plugin_path;
  std::optional<int> threads;
  bool json = false;
  int verbose = 0;
  int quiet = 0;
};

struct Command {
  CLI::App* app = nullptr;
  std::function<int()> run;
  bool diagnostic = false;  // also runs where the environment (ATTN_ISA, --plugin-path) is unusable
};

// Options live as long as the returned function. `globals` is filled in before that runs.
Command list_command(CLI::App& program, const Globals& globals);
Command info_command(CLI::App& program, const Globals& globals);
Command schema_command(CLI::App& program, const Globals& globals);
Command validate_command(CLI::App& program, const Globals& globals);
Command run_command(CLI::App& program, const Globals& globals);
Command verify_command(CLI::App& program, const Globals& globals);
Command plugins_command(CLI::App& program, const Globals& globals);
Command lock_command(CLI::App& program, const Globals& globals);
Command doctor_command(CLI::App& program, const Globals& globals);
Command convert_command(CLI::App& program, const Globals& globals);
Command bench_command(CLI::App& program, const Globals& globals);
Command explain_command(CLI::App& program, const Globals& globals);
Command tune_command(CLI::App& program, const Globals& globals);
Command map_command(CLI::App& program, const Globals& globals);
Command choose_command(CLI::App& program, const Globals& globals);
Command check_command(CLI::App& program, const Globals& globals);
Command check_gradients_command(CLI::App& program, const Globals& globals);
Command new_command(CLI::App& program, const Globals& globals);
Command completion_command(CLI::App& program, const Globals& globals);
Command man_command(CLI::App& program, const Globals& globals);

// Help text below the options: one example a line.
void add_examples(CLI::App& app, const std::vector<std::string>& lines);

// A file or folder that comes with the program, PREFIX/share/attn/NAME. InvalidArgument with the hint when it is missing.
[[nodiscard]] std::string find_shared(const std::string& name, const std::string& hint);

// What an option takes, for its help, for completion and for the error: one of these words; a number of that range.
CLI::Option* take_words(CLI::Option* option, const std::vector<std::string>& words);
CLI::Option* take_number(CLI::Option* option, double least, double most, bool whole = false,
                         const std::string& unit = "N");

// --seed: all 64 bits, nothing else.
void add_seed(CLI::App& app, uint64_t& seed, const std::string& text);

// An option of kinds in which numbers are kept: float32, bfloat16, float16 or int8.
CLI::Option* add_storage(CLI::App& app, const std::string& option, StorageKind& kind,
                         const std::string& text);

// --matmul-precision.
void add_matmul_precision(CLI::App& app, MatmulPrecision& precision);

// --tuned.
void add_tuned(CLI::App& app, bool& tuned);

// "NAME=REST" cut at the first '='; InvalidArgument that names the option when there is no name.
struct NameAndText {
  std::string name, text;
};
[[nodiscard]] NameAndText split_assignment(const std::string& option, const std::string& given,
                                           const std::string& form);

}  // namespace attn::cli
