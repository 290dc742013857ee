// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>
#include <vector>

#include "core/kernels/table.hpp"
#include "core/random/philox.hpp"

using namespace attn;

TEST_CASE("philox: the words of every level are those of the scalar generator") {
  const auto before = cpu::level();
  for (const auto level : cpu::available()) {
    if (level == cpu::Level::reference) continue;
    cpu::set_level(level);
    // A carry into the upper half of the counter inside a batch, and odd lengths.
    for (const uint64_t first :
         {uint64_t{0}, uint64_t{0xFFFFFFF9u}, ~uint64_t{0} - 20, uint64_t{1} << 40}) {
      for (const int64_t blocks : {1, 3, 8, 16, 17, 50}) {
        std::vector<uint32_t> words(static_cast<size_t>(4 * blocks) + 1, 7u);
        kernels::table().philox_words(0x123456789ABCDEFu, 42, first, blocks, words.data());
        bool equal = words.back() == 7u;
        for (int64_t i = 0; i < blocks; ++i) {
          const auto expected =
              philox4x32(0x123456789ABCDEFu, 42, first + static_cast<uint64_t>(i));
          for (size_t w = 0; w < 4; ++w) {
            equal = equal && words[static_cast<size_t>(4 * i) + w] == expected[w];
          }
        }
        INFO(cpu::name(level) << " first " << first << " blocks " << blocks);
        CHECK(equal);
      }
    }
  }
  cpu::set_level(before);
}
