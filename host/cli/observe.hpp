// SPDX-License-Identifier: Apache-2.0
//
// --observe and its options: what a call is asked for beside its outputs, and the file that it goes to.
#pragma once

#include <CLI/CLI.hpp>
#include <attn/attention.hpp>

#include <string>
#include <vector>

namespace attn::cli {

struct ObserveOptions {
  std::vector<std::string> names, parts;  // as given
  std::string file;
  int64_t top = 8;
};
void add_observe_options(CLI::App& app, ObserveOptions& options);

// "N", or "BEGIN:END", either of which may be left out. InvalidArgument that names the option.
struct Range {
  int64_t first = 0, count = 0;  // 0: all that follow
};
[[nodiscard]] Range parse_range(const std::string& option, const std::string& of,
                                const std::string& given);

// InvalidArgument that names the option.
[[nodiscard]] Observe parse_observe(const ObserveOptions& options);
// What the last call gave, as label.name or name. InvalidArgument: it has not all that was asked for.
[[nodiscard]] std::vector<NamedOutput> observed_tensors(Context& ctx);

}  // namespace attn::cli
