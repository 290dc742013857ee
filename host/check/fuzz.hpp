// SPDX-License-Identifier: Apache-2.0
//
// Random configs, shapes and calls of a plugin's types for as long as one likes: nothing may crash, hang, throw what
// is no refusal, or give other bits when it is repeated.
//
// A case is a function of (seed, number) and the file. Cases run in child processes, many in each. One thread.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "host/check/test.hpp"

namespace attn::check {

struct FuzzOptions {
  double seconds = 10;
  uint64_t seed = 1;
  std::optional<uint64_t> only{};  // this case alone, once
  std::vector<std::string> plugin_path{};
  std::function<void(uint64_t cases)> progress{};
};

struct FuzzFailure {
  uint64_t number = 0;
  Outcome outcome{};
  std::string command{};  // runs this case alone
};

struct FuzzReport {
  std::string file{};
  uint64_t seed = 1, cases = 0;
  double seconds = 0;
  std::vector<FuzzFailure> failures{};  // it ends at the fifth
};

// Throws InvalidArgument for a file that is not there or has no types.
[[nodiscard]] FuzzReport run_fuzz(const std::string& file, const FuzzOptions& options);

}  // namespace attn::check
