// SPDX-License-Identifier: Apache-2.0
#include "core/cpu/quota.hpp"

#include <catch2/catch.hpp>
#include <filesystem>
#include <map>

#include "core/threads/pool.hpp"
#include "core/weights/testing_files.hpp"

using namespace attn;

namespace {

// A system whose files are these.
class System {
 public:
  explicit System(const std::map<std::string, std::string>& files) {
    for (const auto& [name, text] : files) {
      const std::filesystem::path path = root() + name;
      std::filesystem::create_directories(path.parent_path());
      testing::write_bytes(path, text);
    }
  }
  [[nodiscard]] std::string root() const { return directory_.path().string(); }

 private:
  testing::TemporaryDirectory directory_{};
};

std::optional<double> quota(const std::map<std::string, std::string>& files) {
  return cpu::quota(System(files).root());
}

const std::string kGroup = "/proc/self/cgroup", kTop = "/sys/fs/cgroup";

}  // namespace

TEST_CASE("quota: version 2, the least of the group and all above it") {
  CHECK(quota({{kGroup, "0::/a/b\n"}, {kTop + "/a/b/cpu.max", "150000 100000\n"}}) == 1.5);
  CHECK(quota({{kGroup, "0::/a/b\n"}, {kTop + "/a/cpu.max", "200000 100000\n"}}) == 2.0);
  CHECK(quota({{kGroup, "0::/a/b\n"},
               {kTop + "/a/b/cpu.max", "max 100000\n"},
               {kTop + "/a/cpu.max", "50000 100000\n"},
               {kTop + "/cpu.max", "400000 100000\n"}}) == 0.5);
  // In a container the group is its own root.
  CHECK(quota({{kGroup, "0::/\n"}, {kTop + "/cpu.max", "300000 50000\n"}}) == 6.0);
  // A path that this process cannot see: what can be seen counts.
  CHECK(quota({{kGroup, "0::/../x\n"}, {kTop + "/cpu.max", "100000 100000\n"}}) == 1.0);
  CHECK(quota({{kGroup, "0::/a\n"}, {kTop + "/a/cpu.max", "max 100000\n"}}) == std::nullopt);
}

TEST_CASE("quota: version 1, wherever the controller is mounted") {
  for (const std::string mount : {"/cpu", "/cpu,cpuacct", "/cpuacct,cpu"}) {
    INFO(mount);
    const std::string at = kTop + mount;
    const std::string group =
        "9:name=systemd:/z\n4:" + mount.substr(1) + ":/docker/1\n2:cpuset:/y\n";
    CHECK(quota({{kGroup, group},
                 {at + "/docker/1/cpu.cfs_quota_us", "250000\n"},
                 {at + "/docker/1/cpu.cfs_period_us", "100000\n"}}) == 2.5);
    CHECK(quota({{kGroup, group},
                 {at + "/cpu.cfs_quota_us", "100000\n"},
                 {at + "/cpu.cfs_period_us", "100000\n"}}) == 1.0);
    CHECK(quota({{kGroup, group},
                 {at + "/docker/1/cpu.cfs_quota_us", "-1\n"},
                 {at + "/docker/1/cpu.cfs_period_us", "100000\n"}}) == std::nullopt);
  }
  // Both versions at once: the controller is in one of them.
  CHECK(quota({{kGroup, "1:cpu:/a\n0::/b\n"},
               {kTop + "/cpu/a/cpu.cfs_quota_us", "100000\n"},
               {kTop + "/cpu/a/cpu.cfs_period_us", "50000\n"}}) == 2.0);
}

TEST_CASE("quota: no control groups, and files that make no sense, are no limit") {
  CHECK(quota({}) == std::nullopt);
  CHECK(quota({{kGroup, "0::/a\n"}}) == std::nullopt);
  for (const char* text : {"", "\n", "max", "100000", "0 100000", "-5 100000", "100000 0", "x y",
                           "100000 -1", "nan 1", "1e5 100000"}) {
    INFO(text);
    CHECK(quota({{kGroup, "0::/a\n"}, {kTop + "/a/cpu.max", text}}) == std::nullopt);
  }
  CHECK(quota({{kGroup, "\n::\n0:\nrubbish"}, {kTop + "/cpu.max", "100000 100000"}}) ==
        std::nullopt);
}

TEST_CASE("quota: the default number of threads is within it, and at least one") {
  unsetenv("ATTN_THREADS");
  const int cpus = threads::default_threads(System({}).root());
  const auto with = [](const std::string& limit) {
    return threads::default_threads(
        System({{kGroup, "0::/\n"}, {kTop + "/cpu.max", limit}}).root());
  };
  CHECK(with("1000 100000\n") == 1);
  CHECK(with("100000 100000\n") == 1);
  CHECK(with("100001 100000\n") == std::min(cpus, 2));
  CHECK(with("99900000 100000\n") == cpus);
  CHECK(with("9223372036854775807 1\n") == cpus);
  CHECK(with("max 100000\n") == cpus);
  setenv("ATTN_THREADS", "3", 1);
  CHECK(with("100000 100000\n") == 3);
  unsetenv("ATTN_THREADS");
}
