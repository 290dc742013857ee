// SPDX-License-Identifier: Apache-2.0
//
// Powers of w_N = exp(-2 pi i / N), each from its exponent reduced modulo N, in double: exact where a cosine or
// sine is 0 or +-1, and equal or opposite where symmetry says so.
#pragma once

#include <cstdint>

namespace attn::fnet {

// table[2 k], table[2 k + 1] = real and imaginary part of w_n^k for k = 0..n-1. [any-thread]
void fill_roots(int64_t n, double* table);

}  // namespace attn::fnet
