// SPDX-License-Identifier: Apache-2.0
//
// Words of philox4x32 for blocks first .. first + blocks - 1, four each: by the kernel of cpu::level(), the same at all
// levels. Throws as cpu::level(). [any-thread]
#pragma once

#include <algorithm>

#include "core/kernels/table.hpp"
#include "core/random/philox.hpp"

namespace attn::kernels {

inline void philox_blocks(uint64_t seed, uint64_t stream, uint64_t first, int64_t blocks,
                          uint32_t* words) {
  if (use_kernels()) return table().philox_words(seed, stream, first, blocks, words);
  for (int64_t b = 0; b < blocks; ++b) {
    const auto four = philox4x32(seed, stream, first + static_cast<uint64_t>(b));
    std::copy(four.begin(), four.end(), words + 4 * b);
  }
}

}  // namespace attn::kernels
