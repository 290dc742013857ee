// SPDX-License-Identifier: Apache-2.0
//
// "did you mean 'num_heads'?": the nearest of a list of names. [any-thread]
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace attn::schema {

// The hint, or an empty text when nothing is near: at most a third of the letters may differ (Levenshtein
// 1966, neighbouring letters exchanged count once).
[[nodiscard]] std::string did_you_mean(std::string_view name,
                                       const std::vector<std::string>& candidates);

}  // namespace attn::schema
