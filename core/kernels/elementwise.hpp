// SPDX-License-Identifier: Apache-2.0
//
// Lines of elements.
//
// binary        y[i] = f(a[i * a_step], b[i * b_step]) for n elements; steps are 0 or 1
// transpose     y[c * y_row + r] = x[r * x_row + c] for a rows x cols block of 4-byte elements
// y may not overlap the inputs. [any-thread]
#pragma once

#include <cstdint>

namespace attn::kernels {

enum class BinaryKind : int32_t { add, sub, mul, div, maximum };

}  // namespace attn::kernels
