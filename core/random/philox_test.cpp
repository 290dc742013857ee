// SPDX-License-Identifier: Apache-2.0
#include "core/random/philox.hpp"

#include <catch2/catch.hpp>

using attn::philox4x32;
using Words = std::array<uint32_t, 4>;

// Published with the algorithm (Random123, kat_vectors): counter words c0..c3, key words k0, k1.
TEST_CASE("philox: known answers for ten rounds") {
  CHECK(philox4x32(0, 0, 0) == Words{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u});
  CHECK(philox4x32(~uint64_t{0}, ~uint64_t{0}, ~uint64_t{0}) ==
        Words{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu});
  CHECK(philox4x32(0x299f31d0a4093822u, 0x0370734413198a2eu, 0x85a308d3243f6a88u) ==
        Words{0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u});
}

TEST_CASE("philox: seed, stream and counter each change the words") {
  const Words base = philox4x32(1, 2, 3);
  CHECK(base == philox4x32(1, 2, 3));
  for (int bit = 0; bit < 64; ++bit) {
    const uint64_t flip = uint64_t{1} << bit;
    CHECK(philox4x32(1 ^ flip, 2, 3) != base);
    CHECK(philox4x32(1, 2 ^ flip, 3) != base);
    CHECK(philox4x32(1, 2, 3 ^ flip) != base);
  }
}
