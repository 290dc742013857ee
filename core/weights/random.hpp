// SPDX-License-Identifier: Apache-2.0
//
// Random numbers for weights: the same doubles on every machine, whatever its mathematical library.
//
// A RandomStream is the sequence of 64-bit words that Philox4x32-10 (random/philox.hpp) gives for counter 0,
// 1, ...; two words a block. Everything else is made of + - * / and sqrt, which IEEE 754 fixes to the bit
// as long as the compiler does not contract a product and a sum into one operation; a test over the bits of
// 100,000 draws detects a build that does (-ffp-contract=off is the remedy):
// - uniform(): k 2^-53 with k from 53 bits, so 0 <= u < 1.
// - normal(): inverse distribution function at (k + 1/2) 2^-52, k from 52 bits, so symmetric about 0 and
//   within +-8.21. Relative error of the inverse below 2e-15 (the test compares with erfc).
// - truncated_normal(b): drawn again until |z| < b.
// One object: one thread. Throws what cpu::level() throws, where ATTN_ISA names no level; truncated_normal(b) with b
// below 0.01: InvalidArgument, because redrawing would take too long.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace attn {

class RandomStream {
 public:
  RandomStream(uint64_t seed, uint64_t stream) : seed_(seed), stream_(stream) {}

  [[nodiscard]] uint64_t bits() {
    if (next_ == kKept) refill();
    return kept_[next_++];
  }
  [[nodiscard]] double uniform() { return static_cast<double>(bits() >> 11) * 0x1p-53; }
  [[nodiscard]] double normal() {
    if (next_ == kKept || !has_normal_) make_normals();
    return normal_[next_++];
  }
  [[nodiscard]] double truncated_normal(double bound);

 private:
  uint64_t seed_;
  uint64_t stream_;
  static constexpr std::size_t kKept = 128;
  void refill();
  void make_normals();
  uint64_t counter_ = 0;  // of the next block
  std::array<uint64_t, kKept> kept_;
  std::size_t next_ = kKept;
  std::array<double, kKept> normal_;  // of the words kept, once one is asked for
  bool has_normal_ = false;
};

// The z with P(Z <= z) = p for a standard normal Z; 0 < p < 1.
// Wichura: "Algorithm AS 241: the percentage points of the normal distribution" (1988), routine PPND16.
[[nodiscard]] double inverse_normal(double p) noexcept;

// Natural logarithm of a positive normal double; error below 2 units in the last place.
[[nodiscard]] double portable_log(double x) noexcept;

}  // namespace attn
