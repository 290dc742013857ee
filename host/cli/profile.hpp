// SPDX-License-Identifier: Apache-2.0
//
// The profile of a call as a table or as JSON.
#pragma once

#include <attn/attention.hpp>

#include <string>
#include <vector>

namespace attn::cli {

struct Cost {
  double flops = 0, bytes = 0, seconds = 0;
};
[[nodiscard]] Cost total(const std::vector<OperatorTime>& profile);

[[nodiscard]] Json profile_json(const std::vector<OperatorTime>& profile);
// seconds: of the whole call; peak_bytes: working memory.
[[nodiscard]] std::string profile_text(const std::vector<OperatorTime>& profile, double seconds,
                                       size_t peak_bytes);

}  // namespace attn::cli
