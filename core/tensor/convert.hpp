// SPDX-License-Identifier: Apache-2.0
//
// Copies elements between views of equal shape, converting their kind and refusing what does not
// fit.
//
// To a floating kind: rounded once to nearest, ties to even (integers beyond 2^53 pass through
// double on their way to 16 bits); infinities and NaN stay; a finite value that would become
// infinite is refused. To an integer kind: the value must be an integer within its range. To bool:
// the value must be 0 or 1. A stored bool byte other than 0 and 1 is refused too. Source and target
// must not overlap. Errors: InvalidArgument that names `where` and the first element that does not
// fit; the target is then partly written. [any-thread]
#pragma once

#include <string>

#include "core/tensor/array.hpp"

namespace attn {

void convert(const ConstView& from, const View& to, const std::string& where);

// True when all bytes are 0 or 1.
[[nodiscard]] bool bools_are_sound(const void* data, size_t n) noexcept;

}  // namespace attn
