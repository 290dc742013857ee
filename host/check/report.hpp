// SPDX-License-Identifier: Apache-2.0
//
// What a run of tests found, for people and for programs.
//
// Text of the plugin is shown as text: control characters escaped, markup quoted. [any-thread]
#pragma once

#include <attn/json.hpp>

#include <functional>
#include <string>

#include "host/check/runner.hpp"

namespace attn::check {

// How a verdict is shown; the default as it is.
using Paint = std::function<std::string(Verdict, const std::string&)>;

// One page: what the file is, each test with what was found, the counts.
[[nodiscard]] std::string to_text(const Report& report, const Paint& paint = {});
[[nodiscard]] Json to_json(const Report& report);
// As continuous integration servers read it: a suite for each group.
[[nodiscard]] std::string to_junit(const Report& report);
// One page without references to anything else.
[[nodiscard]] std::string to_html(const Report& report);

// "62 tests: 58 passed, 1 failed, 1 warning, 2 skipped".
[[nodiscard]] std::string counts(const Report& report);

}  // namespace attn::check
