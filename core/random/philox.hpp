// SPDX-License-Identifier: Apache-2.0
//
// Philox4x32-10, a counter-based random generator: four words from (seed, stream, counter), the same on
// every machine, in any order, on any number of threads.
//
// Key = (low, high half of seed); counter block = (counter low, high, stream low, high).
// Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), section 4.
// No state, no errors. [any-thread]
#pragma once

#include <array>
#include <cstdint>

namespace attn {

[[nodiscard]] inline std::array<uint32_t, 4> philox4x32(uint64_t seed, uint64_t stream,
                                                        uint64_t counter) noexcept {
  constexpr uint64_t kMultiplier0 = 0xD2511F53u;
  constexpr uint64_t kMultiplier1 = 0xCD9E8D57u;
  constexpr uint32_t kWeyl0 = 0x9E3779B9u;  // golden ratio
  constexpr uint32_t kWeyl1 = 0xBB67AE85u;  // sqrt(3) - 1
  auto key0 = static_cast<uint32_t>(seed);
  auto key1 = static_cast<uint32_t>(seed >> 32);
  auto x0 = static_cast<uint32_t>(counter);
  auto x1 = static_cast<uint32_t>(counter >> 32);
  auto x2 = static_cast<uint32_t>(stream);
  auto x3 = static_cast<uint32_t>(stream >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = kMultiplier0 * x0;
    const uint64_t p1 = kMultiplier1 * x2;
    x0 = static_cast<uint32_t>(p1 >> 32) ^ x1 ^ key0;
    x1 = static_cast<uint32_t>(p1);
    x2 = static_cast<uint32_t>(p0 >> 32) ^ x3 ^ key1;
    x3 = static_cast<uint32_t>(p0);
    key0 += kWeyl0;
    key1 += kWeyl1;
  }
  return {x0, x1, x2, x3};
}

}  // namespace attn
