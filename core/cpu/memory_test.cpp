// SPDX-License-Identifier: Apache-2.0
#include "core/cpu/memory.hpp"

#include <catch2/catch.hpp>
#include <filesystem>

#include "core/weights/testing_files.hpp"

using namespace attn;

TEST_CASE("memory: what the system says is available") {
  const testing::TemporaryDirectory directory;
  const std::string root = directory.path().string();
  CHECK(cpu::available_memory(root) == std::nullopt);
  std::filesystem::create_directories(root + "/proc");
  const auto says = [&](const std::string& text) {
    testing::write_bytes(root + "/proc/meminfo", text);
    return cpu::available_memory(root);
  };
  CHECK(says("MemTotal:       24000 kB\nMemAvailable:   21000 kB\n") == 21000 * 1024);
  CHECK(says("MemTotal:       24000 kB\nMemFree:   21000 kB\n") == std::nullopt);
  CHECK(says("MemAvailable: many\n") == std::nullopt);
  CHECK(says("MemAvailable: 9223372036854775807 kB\n") == std::nullopt);
  REQUIRE(cpu::available_memory());
  CHECK(*cpu::available_memory() > 0);
}
