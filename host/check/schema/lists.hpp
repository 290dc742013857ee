// SPDX-License-Identifier: Apache-2.0
//
// The lists that the group is made of, and what its tests share.
#pragma once

#include <attn/json.hpp>

#include <functional>
#include <span>
#include <string>

#include "host/check/subject.hpp"
#include "host/check/test.hpp"

namespace attn::check {

[[nodiscard]] std::span<const Test> word_tests();
[[nodiscard]] std::span<const Test> value_tests();
[[nodiscard]] std::span<const Test> refusal_tests();

// The base config with another value of one parameter.
[[nodiscard]] inline Json with(Json config, const std::string& name, const Json& value) {
  config.set(name, value);
  return config;
}

// What is wrong with a refusal of `parameter`: nothing was refused, or its name is not said; empty: nothing.
[[nodiscard]] std::string bad_refusal(const std::string& parameter,
                                      const std::function<void()>& refuses);

}  // namespace attn::check
