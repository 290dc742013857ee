// SPDX-License-Identifier: Apache-2.0
//
// InvalidArgument (what the caller gave is wrong) and Failure (everything else).
//
//   try { ... } catch (const std::exception& e) { std::cerr << attn::message_of(e) << '\n'; }
#pragma once

#include <exception>
#include <string>

#include "core/error/error.hpp"

namespace attn {

// "where: what; expected ...; hint" for people: what() and the parts of details() that it leaves out, as what() of the
// factory is the text of the rule alone. Of other exceptions what(). [any-thread]
[[nodiscard]] std::string message_of(const std::exception& error);

}  // namespace attn
