// SPDX-License-Identifier: Apache-2.0
//
// Suggestions in messages. [any-thread]
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace attn {

[[nodiscard]] std::string lower_case(std::string_view text);

// "did you mean 'num_heads'?" for the candidate that is nearest to word; "" when none is near.
[[nodiscard]] std::string did_you_mean(std::string_view word,
                                       const std::vector<std::string>& candidates);

}  // namespace attn
