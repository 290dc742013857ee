// SPDX-License-Identifier: Apache-2.0
//
// Suggestions in messages. [any-thread]
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace attn {

[[nodiscard]] std::string lower_case(std::string_view text);

// "did you mean 'num_heads'?" for the candidate that is nearest to word, or the only one that has a word of it in its
// name where none is a slip away; "" when there is none.
[[nodiscard]] std::string did_you_mean(std::string_view word,
                                       const std::vector<std::string>& candidates);

}  // namespace attn
