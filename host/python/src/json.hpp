// SPDX-License-Identifier: Apache-2.0
//
// Python objects to Json and back: None, bool, int of any size, float, str, list or tuple, dict. Numbers of numpy count
// as what they hold. Throws nb::type_error for everything else. For a thread that holds the GIL.
#pragma once

#include <attn/json.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "host/python/src/hooks.hpp"

namespace attn::python {

// Text in UTF-8. Throws what Python does for lone surrogates (a ValueError), and nb::value_error for a NUL, which
// messages could not show.
[[nodiscard]] std::string utf8(nb::handle text);

// True, False or None, which is false. what: as below. Throws InvalidArgument.
[[nodiscard]] bool to_bool(nb::handle value, const std::string& what);

// 0 to 2^64 - 1; absent for None. Throws InvalidArgument.
[[nodiscard]] std::optional<std::uint64_t> to_seed(nb::handle value);

// what: names the value in errors, "parameter 'dim'".
[[nodiscard]] Json to_json(nb::handle value, std::string_view what);
[[nodiscard]] nb::object from_json(const Json& value);

}  // namespace attn::python
