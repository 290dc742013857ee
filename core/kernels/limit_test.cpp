// SPDX-License-Identifier: Apache-2.0
#include "core/kernels/limit.hpp"

#include <catch2/catch.hpp>

#include "core/cpu/level.hpp"
#include "core/error/error.hpp"
#include "core/kernels/table.hpp"
#include "core/threads/pool.hpp"

using namespace attn;
using namespace attn::kernels;

namespace {

Machine machine() {
  Machine m;
  m.threads = 2;
  m.peak = 100;
  m.memory = {Bandwidth{200, 160}, Bandwidth{100, 80}, Bandwidth{30, 40}};
  m.caches = {{32 << 10, 1}, {1 << 20, 1}, {16 << 20, 2}};
  return m;
}

}  // namespace

TEST_CASE("limit: arithmetic, reading or copying, whichever takes longest") {
  const Machine m = machine();
  const Limit computing = limit_of({1e9, 1e6, 1e6, 2e6}, m);
  CHECK(computing.bound == Bound::fma);
  CHECK(computing.seconds == Approx(0.01));
  CHECK(computing.level == MemoryLevel::second);

  const Limit reading = limit_of({1e6, 1e9, 0, 1e9}, m);
  CHECK(reading.bound == Bound::read);
  CHECK(reading.level == MemoryLevel::memory);
  CHECK(reading.seconds == Approx(1.0 / 30));

  const Limit copying = limit_of({1e6, 1e9, 1e9, 2e9}, m);
  CHECK(copying.bound == Bound::copy);
  CHECK(copying.seconds == Approx(2.0 / 40));

  // Three parts read, two written: two copied, one read.
  const Limit both = limit_of({1e6, 3e9, 2e9, 5e9}, m);
  CHECK(both.bound == Bound::copy);
  CHECK(both.seconds == Approx(4.0 / 40 + 1.0 / 30));

  // What is read again and again comes from the level that it fits.
  CHECK(limit_of({0, 16e6, 0, 2e6}, m).seconds == Approx(16e6 / 200e9));
  CHECK(limit_of({0, 16e6, 0, 3e6}, m).seconds == Approx(16e6 / 100e9));
}

TEST_CASE("limit: levels are those of the caches that the threads have") {
  cpu::Caches c = machine().caches;
  CHECK(level_of(1 << 20, 1, c) == MemoryLevel::second);
  CHECK(level_of(2 << 20, 1, c) == MemoryLevel::third);
  CHECK(level_of(2 << 20, 2, c) == MemoryLevel::second);
  CHECK(level_of(17 << 20, 2, c) == MemoryLevel::memory);
  CHECK(sample_of(MemoryLevel::second, 2, c) == 1 << 20);
  CHECK(sample_of(MemoryLevel::third, 2, c) == 8 << 20);
  CHECK(sample_of(MemoryLevel::memory, 2, c) == 64 << 20);
  c.third = {};
  CHECK(level_of(3 << 20, 2, c) == MemoryLevel::memory);
}

TEST_CASE("limit: bandwidth at every level of instructions") {
  const cpu::Level before = cpu::level();
  threads::PoolParallel parallel;
  for (const cpu::Level level : cpu::available()) {
    INFO(cpu::name(level));
    cpu::set_level(level);
    const Bandwidth b = bandwidth(100000, 2, parallel);
    CHECK(b.read > 0);
    CHECK(b.copy > 0);
  }
  CHECK_THROWS_AS(bandwidth(1000, 0, parallel), InvalidArgument);

  // The kernels do what they say.
  std::vector<float> memory(256 + 16);
  float* x = memory.data();
  while (reinterpret_cast<uintptr_t>(x) % 64 != 0) ++x;
  for (const cpu::Level level : cpu::available()) {
    if (level == cpu::Level::reference) continue;
    cpu::set_level(level);
    for (int i = 0; i < 128; ++i) x[i] = static_cast<float>(i), x[128 + i] = -1;
    CHECK(table().read_line(128, x) == 127 * 64);
    table().copy_past_caches(128, x, x + 128);
    for (int i = 0; i < 128; ++i) CHECK(x[128 + i] == x[i]);
  }
  cpu::set_level(before);
}
