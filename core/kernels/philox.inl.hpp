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

// The same with one block a lane. Lanes hold the blocks in such an order that transposing within 128 bits leaves the
// words in sequence. Six times as fast as what the compiler makes of the loop above.
template <class Arch>
ATTN_INLINE void philox_sixteen_avx512(uint64_t seed, uint64_t stream, uint64_t first,
                                       uint32_t* words) {
  const auto set = [](uint32_t x) { return _mm512_set1_epi32(static_cast<int>(x)); };
  const __m512i m0 = set(0xD2511F53u), m1 = set(0xCD9E8D57u);
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  __m512i x0 = _mm512_add_epi32(set(static_cast<uint32_t>(first)), order);
  // A carry into the upper half of the counter.
  const __mmask16 carry = _mm512_cmplt_epu32_mask(x0, order);
  const __m512i high = set(static_cast<uint32_t>(first >> 32));
  __m512i x1 = _mm512_mask_add_epi32(high, carry, high, set(1));
  __m512i x2 = set(static_cast<uint32_t>(stream)), x3 = set(static_cast<uint32_t>(stream >> 32));
  auto key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const __m512i e0 = _mm512_mul_epu32(x0, m0),
                  o0 = _mm512_mul_epu32(_mm512_srli_epi64(x0, 32), m0);
    const __m512i e1 = _mm512_mul_epu32(x2, m1),
                  o1 = _mm512_mul_epu32(_mm512_srli_epi64(x2, 32), m1);
    const __m512i high0 = _mm512_mask_mov_epi32(_mm512_srli_epi64(e0, 32), 0xAAAA, o0);
    const __m512i high1 = _mm512_mask_mov_epi32(_mm512_srli_epi64(e1, 32), 0xAAAA, o1);
    const __m512i low0 = _mm512_mask_mov_epi32(e0, 0xAAAA, _mm512_slli_epi64(o0, 32));
    const __m512i low1 = _mm512_mask_mov_epi32(e1, 0xAAAA, _mm512_slli_epi64(o1, 32));
    x0 = _mm512_ternarylogic_epi32(high1, x1, set(key0), 0x96);  // exclusive or of three
    x1 = low1;
    x2 = _mm512_ternarylogic_epi32(high0, x3, set(key1), 0x96);
    x3 = low0;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  const __m512i a = _mm512_unpacklo_epi32(x0, x1), b = _mm512_unpacklo_epi32(x2, x3);
  const __m512i c = _mm512_unpackhi_epi32(x0, x1), d = _mm512_unpackhi_epi32(x2, x3);
  _mm512_storeu_si512(words, _mm512_unpacklo_epi64(a, b));
  _mm512_storeu_si512(words + 16, _mm512_unpackhi_epi64(a, b));
  _mm512_storeu_si512(words + 32, _mm512_unpacklo_epi64(c, d));
  _mm512_storeu_si512(words + 48, _mm512_unpackhi_epi64(c, d));
}

// Eight blocks.
template <class Arch>
ATTN_INLINE void philox_eight_avx2(uint64_t seed, uint64_t stream, uint64_t first,
                                   uint32_t* words) {
  const auto set = [](uint32_t x) { return _mm256_set1_epi32(static_cast<int>(x)); };
  const __m256i m0 = set(0xD2511F53u), m1 = set(0xCD9E8D57u);
  const __m256i order = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
  const __m256i low_counter = set(static_cast<uint32_t>(first));
  __m256i x0 = _mm256_add_epi32(low_counter, order);
  // A carry into the upper half: the sum is less than what was added to. There is no unsigned comparison.
  const __m256i no_carry = _mm256_cmpeq_epi32(_mm256_max_epu32(x0, low_counter), x0);
  const __m256i high = set(static_cast<uint32_t>(first >> 32) + 1);
  __m256i x1 = _mm256_add_epi32(high, no_carry);
  __m256i x2 = set(static_cast<uint32_t>(stream)), x3 = set(static_cast<uint32_t>(stream >> 32));
  auto key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const __m256i e0 = _mm256_mul_epu32(x0, m0),
                  o0 = _mm256_mul_epu32(_mm256_srli_epi64(x0, 32), m0);
    const __m256i e1 = _mm256_mul_epu32(x2, m1),
                  o1 = _mm256_mul_epu32(_mm256_srli_epi64(x2, 32), m1);
    const __m256i high0 = _mm256_blend_epi32(_mm256_srli_epi64(e0, 32), o0, 0xAA);
    const __m256i high1 = _mm256_blend_epi32(_mm256_srli_epi64(e1, 32), o1, 0xAA);
    const __m256i low0 = _mm256_blend_epi32(e0, _mm256_slli_epi64(o0, 32), 0xAA);
    const __m256i low1 = _mm256_blend_epi32(e1, _mm256_slli_epi64(o1, 32), 0xAA);
    x0 = _mm256_xor_si256(_mm256_xor_si256(high1, x1), set(key0));
    x1 = low1;
    x2 = _mm256_xor_si256(_mm256_xor_si256(high0, x3), set(key1));
    x3 = low0;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  const __m256i a = _mm256_unpacklo_epi32(x0, x1), b = _mm256_unpacklo_epi32(x2, x3);
  const __m256i c = _mm256_unpackhi_epi32(x0, x1), d = _mm256_unpackhi_epi32(x2, x3);
  auto* out = reinterpret_cast<__m256i*>(words);
  _mm256_storeu_si256(out, _mm256_unpacklo_epi64(a, b));
  _mm256_storeu_si256(out + 1, _mm256_unpackhi_epi64(a, b));
  _mm256_storeu_si256(out + 2, _mm256_unpacklo_epi64(c, d));
  _mm256_storeu_si256(out + 3, _mm256_unpackhi_epi64(c, d));
}

template <class Arch>
ATTN_INLINE void philox_abreast(uint64_t seed, uint64_t stream, uint64_t first, uint32_t* words) {
  if constexpr (kIsAvx512<Arch>) {
    philox_sixteen_avx512<Arch>(seed, stream, first, words);
  } else if constexpr (kIsAvx2<Arch>) {
    philox_eight_avx2<Arch>(seed, stream, first, words);
    philox_eight_avx2<Arch>(seed, stream, first + 8, words + 32);
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
