// SPDX-License-Identifier: Apache-2.0
//
// Words in messages: lists, suggestions, names. [any-thread]
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace attn::schema {

using Names = std::vector<std::string>;

// ['a', 'b'] - in the order given.
[[nodiscard]] std::string name_list(const Names& names);

[[nodiscard]] Names sorted(Names names);

// "did you mean 'num_heads'?" for the candidate that is nearest to word; "" when none is near.
[[nodiscard]] std::string did_you_mean(std::string_view word, const Names& candidates);

[[nodiscard]] std::string lower_case(std::string_view text);

// Name of a class in snake case: an underscore goes before a capital that follows a small letter or stands
// before one. FNetFourierTransform -> f_net_fourier_transform, CBAM -> cbam, RPCAttention -> rpc_attention.
[[nodiscard]] std::string snake_case(std::string_view class_name);

}  // namespace attn::schema
