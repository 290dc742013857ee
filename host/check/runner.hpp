// SPDX-License-Identifier: Apache-2.0
//
// Runs tests over one plugin file, each in a child process, and collects what they say.
//
// The calling process never opens the file, and must not have looked for plugins itself. One thread.
#pragma once

#include <attn/json.hpp>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "host/check/test.hpp"

namespace attn::check {

struct RunOptions {
  std::vector<std::string> only{};         // names of tests and groups; empty: all
  std::vector<std::string> plugin_path{};  // of plugins whose operators the file uses
  bool quick = false;                      // fewer samples: for a check after each build
  uint64_t seed = 1;
  std::optional<Json> config{};  // of layers, in place of those that tests draw
  double most_seconds = 0;       // for each test; 0: what the test says
  std::function<void(const std::string& test, size_t done, size_t all)> progress{};
};

struct Result {
  const Test* test = nullptr;
  std::string type{};  // empty: of the file
  Outcome outcome{};
  double seconds = 0;
  std::string output{};  // what was printed meanwhile, in one line
};

struct Report {
  std::string file{};                    // absolute
  std::string name{}, version{}, abi{};  // as the file says; empty: it cannot be read
  std::string build_id{};
  std::vector<std::string> types{};
  uint64_t seed = 1;
  std::optional<Json> config{};
  bool quick = false;
  double seconds = 0;
  std::vector<Result> results{};

  [[nodiscard]] size_t count(Verdict verdict) const;
  // The command that runs this test alone.
  [[nodiscard]] std::string command(const Result& result) const;
};

// Throws InvalidArgument for a file that is not there, or a name in `only` that is no test.
[[nodiscard]] Report run_tests(const std::string& file, const RunOptions& options);

}  // namespace attn::check
