// SPDX-License-Identifier: Apache-2.0
#include "core/cpu/caches.hpp"

#include <catch2/catch.hpp>

#include "core/weights/testing_files.hpp"

using namespace attn;

namespace {

struct Index {
  const char *level, *type, *size, *sharing;
};

cpu::Caches caches(const std::vector<Index>& all) {
  const testing::TemporaryDirectory root;
  for (size_t i = 0; i < all.size(); ++i) {
    const auto folder =
        root.path() / "sys/devices/system/cpu/cpu7/cache" / ("index" + std::to_string(i));
    std::filesystem::create_directories(folder);
    testing::write_bytes(folder / "level", all[i].level);
    testing::write_bytes(folder / "type", all[i].type);
    testing::write_bytes(folder / "size", all[i].size);
    testing::write_bytes(folder / "shared_cpu_list", all[i].sharing);
  }
  return cpu::read_caches(7, root.path().string());
}

}  // namespace

TEST_CASE("caches: what the system tells") {
  const cpu::Caches c = caches({{"1\n", "Data\n", "48K\n", "0\n"},
                                {"1\n", "Instruction\n", "64K\n", "0\n"},
                                {"2\n", "Unified\n", "2M\n", "0-1\n"},
                                {"3\n", "Unified\n", "16384K\n", "0-3,8-11,20\n"}});
  CHECK(c.first.bytes == 48 << 10);
  CHECK(c.second.bytes == 2 << 20);
  CHECK(c.second.sharing == 2);
  CHECK(c.third.bytes == 16 << 20);
  CHECK(c.third.sharing == 9);
  CHECK(cpu::capacity(c.first, 3) == 3 * 48 << 10);
  CHECK(cpu::capacity(c.second, 3) == 4 << 20);
  CHECK(cpu::capacity(c.third, 9) == 16 << 20);
  CHECK(cpu::capacity(c.third, 10) == 32 << 20);
}

TEST_CASE("caches: what it does not tell, or not as expected, is assumed") {
  for (const cpu::Caches& c :
       {caches({}),
        caches({{"2", "Unified", "", ""}, {"", "Data", "1K", "0"}, {"9", "Data", "1K", "0"}})}) {
    CHECK(c.first.bytes == 32 << 10);
    CHECK(c.second.bytes == 512 << 10);
    CHECK(c.third.bytes == 0);
  }
  CHECK(caches({{"3", "Unified", "8M", "x"}}).third.sharing == 1);
  CHECK(cpu::caches().first.bytes > 0);
}
