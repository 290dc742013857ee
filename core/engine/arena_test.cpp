// SPDX-License-Identifier: Apache-2.0
#include "core/engine/arena.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "core/error/error.hpp"

using attn::engine::Arena;

TEST_CASE("arena: blocks are aligned, apart, and reused") {
  Arena a;
  char* x = static_cast<char*>(a.allocate(100));
  char* y = static_cast<char*>(a.allocate(1));
  char* z = static_cast<char*>(a.allocate(64));
  CHECK(reinterpret_cast<uintptr_t>(x) % 64 == 0);
  CHECK(y == x + 128);
  CHECK(z == y + 64);
  a.free(y, 1);
  CHECK(a.allocate(64) == y);
  a.free(x, 100);
  a.free(y, 64);
  CHECK(a.allocate(192) == x);  // neighbours were joined
  a.free(x, 192);
  a.free(z, 64);
  CHECK(a.mark() == 0);  // nothing is left behind
}

TEST_CASE("arena: random blocks never overlap and all come back") {
  Arena a;
  struct Block {
    unsigned char* p;
    size_t n;
    unsigned char mark;
  };
  std::vector<Block> live;
  std::mt19937 random(7);
  for (int step = 0; step < 20000; ++step) {
    if (live.empty() || random() % 2) {
      const size_t n = 1 + random() % 5000;
      auto* p = static_cast<unsigned char*>(a.allocate(n));
      const auto mark = static_cast<unsigned char>(step);
      std::memset(p, mark, n);
      live.push_back({p, n, mark});
    } else {
      std::swap(live[random() % live.size()], live.back());
      const Block b = live.back();
      live.pop_back();
      bool intact = true;
      for (size_t i = 0; i < b.n; ++i) intact = intact && b.p[i] == b.mark;
      REQUIRE(intact);
      a.free(b.p, b.n);
    }
  }
  for (const Block& b : live) a.free(b.p, b.n);
  CHECK(a.mark() == 0);
  CHECK(a.peak() > 0);
}

TEST_CASE("arena: more than a region") {
  constexpr size_t kLarge = size_t{200} << 20;  // touched at their ends alone
  Arena a;
  std::vector<char*> blocks;
  for (int i = 0; i < 8; ++i) {
    blocks.push_back(static_cast<char*>(a.allocate(kLarge)));
    blocks.back()[0] = blocks.back()[kLarge - 1] = static_cast<char>(i);
  }
  CHECK(a.peak() == 8 * kLarge);
  for (int i = 0; i < 8; ++i) {
    const char* block = blocks[static_cast<size_t>(i)];
    CHECK((block[0] == i && block[kLarge - 1] == i));
  }
  std::mt19937 random(3);
  std::shuffle(blocks.begin(), blocks.end(), random);
  for (char* b : blocks) a.free(b, kLarge);
  CHECK(a.mark() == 0);

  // As a stack, over the border of regions and back.
  (void)a.allocate(64);
  const size_t mark = a.mark();
  char* const first = static_cast<char*>(a.allocate(kLarge));
  (void)a.allocate(2 * kLarge);
  a.rewind(mark);
  CHECK(a.allocate(kLarge) == first);

  // From the second time on it is one region: neighbours touch.
  a.reset();
  char* const x = static_cast<char*>(a.allocate(kLarge));
  for (size_t i = 1; i < 8; ++i) CHECK(static_cast<char*>(a.allocate(kLarge)) == x + i * kLarge);
  CHECK(a.peak() <= 8 * kLarge + 64);
}

TEST_CASE("arena: thousands of them fit into the address space") {
  std::vector<std::unique_ptr<Arena>> arenas;
  for (int i = 0; i < 5000; ++i) {
    arenas.push_back(std::make_unique<Arena>());
    REQUIRE(arenas.back()->allocate(64) != nullptr);
  }
}

TEST_CASE("arena: what cannot be had is refused and the arena stays usable") {
  Arena a;
  CHECK_THROWS_AS(a.allocate(size_t{1} << 60), attn::Failure);
  CHECK_THROWS_AS(a.allocate(~size_t{0}), attn::Failure);
  CHECK(a.allocate(10) != nullptr);
}
