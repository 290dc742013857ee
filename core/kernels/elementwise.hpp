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

// Kinds of binary: KIND(name, f of p and q).
#define ATTN_BINARY_KINDS(KIND)           \
  KIND(add, p + q)                        \
  KIND(sub, p - q)                        \
  KIND(mul, (p * q))                      \
  KIND(div, p / q)                        \
  KIND(maximum, p >= q || p != p ? p : q) \
  KIND(minimum, p <= q || p != p ? p : q)

#define ATTN_KIND(name, formula) name,
enum class BinaryKind : int32_t { ATTN_BINARY_KINDS(ATTN_KIND) };
#undef ATTN_KIND

}  // namespace attn::kernels
