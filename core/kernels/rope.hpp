// SPDX-License-Identifier: Apache-2.0
//
// How pairs of rotary positions lie in a row; rotary.hpp has the angles. [any-thread]
#pragma once

#include <cstdint>

namespace attn::kernels {

// A head of n components, of which r turn, the first of them at `first`.
struct RopeRow {
  int64_t n, first, r;
  bool interleaved;  // (2i, 2i + 1); else half-split: (i, i + r/2)
};

}  // namespace attn::kernels
