// SPDX-License-Identifier: Apache-2.0
//
// Words in messages: lists, suggestions, names. [any-thread]
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/error/nearest.hpp"

namespace attn::schema {

using Names = std::vector<std::string>;

// ['a', 'b'] - in the order given.
[[nodiscard]] std::string name_list(const Names& names);

[[nodiscard]] Names sorted(Names names);

using attn::did_you_mean;
using attn::lower_case;

// Name of a class in snake case: an underscore goes before a capital that follows a small letter or stands
// before one. FNetFourierTransform -> f_net_fourier_transform, CBAM -> cbam, RPCAttention -> rpc_attention.
[[nodiscard]] std::string snake_case(std::string_view class_name);

}  // namespace attn::schema
