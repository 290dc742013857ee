// SPDX-License-Identifier: Apache-2.0
//
// Names of layers: the class name in snake case, made unique in this process, or what the user gave.
#pragma once

#include <string>
#include <string_view>

#include "core/schema/json.hpp"

namespace attn::schema {

// Null and "" become an automatic name: "cbam", then "cbam_1", "cbam_2". Anything but a text without '/'
// throws InvalidArgument. [any-thread]
[[nodiscard]] std::string layer_name(const Json& name, std::string_view class_name);

// The check alone; uses up no automatic name.
void check_layer_name(const Json& name);

}  // namespace attn::schema
