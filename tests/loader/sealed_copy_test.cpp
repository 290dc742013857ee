// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "host/library/loader/sealed_copy.hpp"
#include "tests/loader/fixtures.hpp"

using namespace attn::loader;
using namespace attn::loader::test;

TEST_CASE("sealed_copy: has the bytes of the file, and nobody can change them") {
  const TempDir dir;
  const std::string path = dir.add("good"), content = read_file(path);
  FileIdentity id;
  REQUIRE(identify(path, &id));
  const auto made = SealedCopy::make(path, id);
  const auto* copy = std::get_if<SealedCopy>(&made);
  REQUIRE(copy != nullptr);
  REQUIRE(*copy);
  write_file(path, "something else");
  CHECK(read_file(copy->path()) == content);
  const int fd = ::open(copy->path().c_str(), O_RDWR | O_CLOEXEC);
  if (fd >= 0) {  // opening it is no crime
    CHECK(::pwrite(fd, "x", 1, 0) == -1);
    CHECK(::ftruncate(fd, 10) == -1);
    ::close(fd);
  }
  CHECK(read_file(copy->path()) == content);
  // The file is not the one any more that was seen.
  const auto other = SealedCopy::make(path, id);
  REQUIRE(std::holds_alternative<Refusal>(other));
  CHECK(std::get<Refusal>(other).kind == RefusalKind::changed);
}

TEST_CASE("sealed_copy: what looks for libraries beside itself is opened where it lies") {
  const TempDir dir;
  const std::string origin = dir.add("origin"), good = dir.add("deinit");
  Registry registry(options({dir.path()}), hooks());
  CHECK(registry.find_type("fixture.origin"));
  CHECK(registry.find_type("fixture.deinit"));
  const std::string maps = read_file("/proc/self/maps");
  CHECK(maps.find(origin) != std::string::npos);
  CHECK(maps.find(good) == std::string::npos);
  CHECK(maps.find("/memfd:deinit.so") != std::string::npos);
}
