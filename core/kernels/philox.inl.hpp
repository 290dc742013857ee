// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/kernels/simd.hpp"
#include "core/random/philox.hpp"

namespace attn::kernels::simd {

// philox4x32 for sixteen blocks from `first`, four words each, to words[0 .. 63].
template <class Arch>
ATTN_INLINE void philox_sixteen(uint64_t seed, uint64_t stream, uint64_t first, uint32_t* words) {
  constexpr int kAbreast = 16;
  uint32_t x0[kAbreast], x1[kAbreast], x2[kAbreast], x3[kAbreast];
  for (int i = 0; i < kAbreast; ++i) {
    const uint64_t counter = first + static_cast<uint64_t>(i);
    x0[i] = static_cast<uint32_t>(counter);
    x1[i] = static_cast<uint32_t>(counter >> 32);
    x2[i] = static_cast<uint32_t>(stream);
    x3[i] = static_cast<uint32_t>(stream >> 32);
  }
  auto key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    for (int i = 0; i < kAbreast; ++i) {
      const uint64_t p0 = uint64_t{0xD2511F53u} * x0[i], p1 = uint64_t{0xCD9E8D57u} * x2[i];
      x0[i] = static_cast<uint32_t>(p1 >> 32) ^ x1[i] ^ key0;
      x1[i] = static_cast<uint32_t>(p1);
      x2[i] = static_cast<uint32_t>(p0 >> 32) ^ x3[i] ^ key1;
      x3[i] = static_cast<uint32_t>(p0);
    }
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  for (int i = 0; i < kAbreast; ++i) {
    words[4 * i] = x0[i];
    words[4 * i + 1] = x1[i];
    words[4 * i + 2] = x2[i];
    words[4 * i + 3] = x3[i];
  }
}

template <class Arch>
ATTN_INLINE void philox_abreast(uint64_t seed, uint64_t stream, uint64_t first, uint32_t* words) {
  if constexpr (requires { Isa<Arch>::philox_sixteen(seed, stream, first, words); }) {
    Isa<Arch>::philox_sixteen(seed, stream, first, words);
  } else {
    philox_sixteen<Arch>(seed, stream, first, words);
  }
}

// philox4x32 for blocks first .. first + blocks - 1, four words each.
template <class Arch>
void philox_words(uint64_t seed, uint64_t stream, uint64_t first, int64_t blocks, uint32_t* words) {
  constexpr int64_t kAbreast = 16;
  int64_t b = 0;
  for (; b + kAbreast <= blocks; b += kAbreast) {
    philox_abreast<Arch>(seed, stream, first + static_cast<uint64_t>(b), words + 4 * b);
  }
  if (b == blocks) return;
  uint32_t rest[4 * kAbreast];
  philox_abreast<Arch>(seed, stream, first + static_cast<uint64_t>(b), rest);
  for (int64_t i = 0; i < 4 * (blocks - b); ++i) words[4 * b + i] = rest[i];
}

}  // namespace attn::kernels::simd
