// SPDX-License-Identifier: Apache-2.0
//
// Which elements dropout keeps. Element i (its place in the row-major tensor) looks at word i % 4 of
// Philox block i / 4 of (seed, stream): dropped when word < rate * 2^32. So forward and backward, and
// any cutting into pieces or threads, agree. Kept elements are multiplied by 1 / (1 - rate). [any-thread]
#pragma once

#include <algorithm>
#include <cmath>

#include "core/kernels/philox.hpp"

namespace attn::kernels {

class Dropout {
 public:
  // rate in [0, 1]
  Dropout(double rate, uint64_t seed, uint64_t stream)
      : scale_(rate < 1 ? 1 / (1 - rate) : 0),
        threshold_(static_cast<uint64_t>(std::llround(rate * 4294967296.0))),
        seed_(seed),
        stream_(stream) {}

  // factors[k] = 0 or 1 / (1 - rate) for elements first .. first + n - 1.
  template <class T>
  void factors(int64_t first, int64_t n, T* out) const {
    constexpr int64_t kBlocks = 64;
    const T kept = static_cast<T>(scale_);
    uint32_t words[4 * kBlocks];
    for (int64_t i = first; i < first + n;) {
      const int64_t block = i / 4, blocks = std::min(kBlocks, (first + n - 1) / 4 - block + 1);
      philox_blocks(seed_, stream_, static_cast<uint64_t>(block), blocks, words);
      const int64_t stop = std::min(first + n, (block + blocks) * 4);
      for (; i < stop; ++i) *out++ = words[i - 4 * block] < threshold_ ? T(0) : kept;
    }
  }

 private:
  double scale_;
  uint64_t threshold_, seed_, stream_;
};

}  // namespace attn::kernels
