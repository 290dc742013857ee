// SPDX-License-Identifier: Apache-2.0
//
// Python objects to Json and back: None, bool, int of any size, float, str, list or tuple, dict. Numbers of numpy count
// as what they hold. Throws nb::type_error for everything else. For a thread that holds the GIL.
#pragma once

#include <attn/json.hpp>

#include <string_view>

#include "host/python/src/hooks.hpp"

namespace attn::python {

// what: names the value in errors, "parameter 'dim'".
[[nodiscard]] Json to_json(nb::handle value, std::string_view what);
[[nodiscard]] nb::object from_json(const Json& value);

}  // namespace attn::python
