// SPDX-License-Identifier: Apache-2.0
//
// Family members and weight fillings as they come over the plugin border: names and JSON texts. [any-thread]
#pragma once

#include "core/schema/families/family.hpp"

namespace attn::schema {

// Any of the families "norm", "probability", "activation", "regularizer". Throws InvalidArgument for what the
// factory would refuse as well, and for a member that does not fit the site.
[[nodiscard]] Component make_component(const attn_component_spec& spec);

// An attn_weight's initializer (STR or OBJECT, F64 or I64: that constant, NULL: zeros) and regularizer.
[[nodiscard]] InitializerSpec initializer_of(const attn_value& value);
[[nodiscard]] RegularizerSpec regularizer_of(const attn_value& value);

}  // namespace attn::schema
