// SPDX-License-Identifier: Apache-2.0
#include "core/weights/atomic_file.hpp"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <filesystem>

#include "core/error/error.hpp"
#include "core/weights/npy.hpp"
#include "core/weights/safetensors.hpp"
#include "core/weights/testing_files.hpp"
#include "tests/tools/child.hpp"

using namespace attn;
using namespace attn::weights;
using attn::testing::read_bytes;
using attn::testing::TemporaryDirectory;
using attn::testing::write_bytes;

namespace {

// No file of this process may grow beyond `bytes`: write() fails as on a full disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    ::getrlimit(RLIMIT_FSIZE, &old_);
    const rlimit now{bytes, old_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &now);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;
  ~FileSizeLimit() { ::setrlimit(RLIMIT_FSIZE, &old_); }

 private:
  rlimit old_{};
};

// Permissions do not bind the superuser; the test takes another user id.
class OrdinaryUser {
 public:
  OrdinaryUser() : was_root_(::geteuid() == 0 && ::seteuid(65534) == 0) {}
  OrdinaryUser(const OrdinaryUser&) = delete;
  OrdinaryUser& operator=(const OrdinaryUser&) = delete;
  ~OrdinaryUser() {
    if (was_root_ && ::seteuid(0) != 0) std::abort();
  }

 private:
  bool was_root_;
};

}  // namespace

TEST_CASE("atomic_file: nothing of it is seen before commit") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("x");
  write_bytes(path, "old");
  {
    AtomicFile file(path);
    file.write("new contents", 12);
    CHECK(read_bytes(path) == "old");
    CHECK(directory.count() == 2);
  }
  CHECK(read_bytes(path) == "old");
  CHECK(directory.count() == 1);
  AtomicFile file(path);
  file.write("new", 3);
  file.write("", 0);
  file.commit();
  CHECK(read_bytes(path) == "new");
  CHECK(directory.count() == 1);
}

TEST_CASE("atomic_file: a write error leaves the old file and no temporary one") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("x");
  const Array large(ATTN_F32, {1 << 16});
  write_bytes(path, "old");
  {
    const FileSizeLimit limit(4096);
    CHECK_THROWS_WITH(save_safetensors(path, {{"a", large}}),
                      Catch::Contains("File too large") && Catch::Contains(path));
    CHECK_THROWS_AS(save_safetensors(path, {{"a", large}}), Failure);
    CHECK_THROWS_AS(write_npy(path, large), Failure);
    // The header alone exceeds it.
    const FileSizeLimit none(0);
    CHECK_THROWS_AS(save_safetensors(path, {}), Failure);
  }
  CHECK(read_bytes(path) == "old");
  CHECK(directory.count() == 1);
  save_safetensors(path, {{"a", large}});
  CHECK(SafetensorsFile(path).read("a").size() == 1 << 16);
}

TEST_CASE(
    "atomic_file: a limit of file sizes ends no process, and its signal stays the application's") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("x");
  const Array large(ATTN_F32, {1 << 16});
  const auto refused = [&] {
    const FileSizeLimit limit(4096);
    try {
      write_npy(path, large);
    } catch (const Failure&) {
      return directory.count() == 0;
    }
    return false;
  };
  // Whatever the application does with the signal: nothing, ignore it, count it, block it, or have one pending.
  CHECK(testing::in_child([&] { return refused() && refused(); }) == "exit 0");
  CHECK(testing::in_child([&] {
          std::signal(SIGXFSZ, SIG_IGN);
          return refused() && std::signal(SIGXFSZ, SIG_DFL) == SIG_IGN;
        }) == "exit 0");
  static volatile std::sig_atomic_t counted = 0;
  CHECK(testing::in_child([&] {
          std::signal(SIGXFSZ, [](int) { counted = counted + 1; });
          if (!refused() || counted != 0) return false;
          std::raise(SIGXFSZ);
          return counted == 1;
        }) == "exit 0");
  CHECK(testing::in_child([&] {
          sigset_t set, pending;
          sigemptyset(&set);
          sigaddset(&set, SIGXFSZ);
          ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
          if (!refused()) return false;
          ::sigpending(&pending);
          if (::sigismember(&pending, SIGXFSZ) != 0) return false;
          std::raise(SIGXFSZ);
          if (!refused()) return false;
          ::sigpending(&pending);
          sigset_t mask;
          ::pthread_sigmask(SIG_BLOCK, nullptr, &mask);
          return ::sigismember(&pending, SIGXFSZ) == 1 && ::sigismember(&mask, SIGXFSZ) == 1;
        }) == "exit 0");
}

TEST_CASE("atomic_file: targets that cannot be written to are refused") {
  const TemporaryDirectory directory;
  CHECK_THROWS_AS(AtomicFile(""), InvalidArgument);
  CHECK_THROWS_AS(AtomicFile(std::string("a\0b", 3)), InvalidArgument);
  CHECK_THROWS_WITH(AtomicFile(directory.file("no/such/x")),
                    Catch::Contains("No such file or directory"));
  CHECK_THROWS_WITH(AtomicFile(directory.path().string()), Catch::Contains("no regular file"));
  CHECK_THROWS_WITH(AtomicFile("/dev/null"), Catch::Contains("no regular file"));
  write_bytes(directory.file("plain"), "1");
  CHECK_THROWS_WITH(AtomicFile(directory.file("plain/x")), Catch::Contains("Not a directory"));

  write_bytes(directory.file("x"), "old");
  REQUIRE(::chmod(directory.path().c_str(), 0555) == 0);
  {
    const OrdinaryUser user;
    CHECK_THROWS_WITH(AtomicFile(directory.file("x")), Catch::Contains("Permission denied"));
  }
  REQUIRE(::chmod(directory.path().c_str(), 0755) == 0);
  CHECK(read_bytes(directory.file("x")) == "old");
  CHECK(directory.count() == 2);
}

TEST_CASE("atomic_file: keeps permissions and follows links") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("x");
  const std::string link = directory.file("link");
  write_bytes(path, "old");
  REQUIRE(::chmod(path.c_str(), 0640) == 0);
  std::filesystem::create_symlink("x", link);
  AtomicFile file(link);
  file.write("new", 3);
  file.commit();
  CHECK(std::filesystem::is_symlink(link));
  CHECK(read_bytes(path) == "new");
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0640);
  CHECK(directory.count() == 2);
}

TEST_CASE("atomic_file: a long name has room for the temporary one, and two writers do not meet") {
  const TemporaryDirectory directory;
  const std::string path = directory.file(std::string(255, 'n'));
  AtomicFile first(path);
  AtomicFile second(path);
  first.write("first", 5);
  second.write("second", 6);
  second.commit();
  CHECK(read_bytes(path) == "second");
  first.commit();
  CHECK(read_bytes(path) == "first");
  CHECK(directory.count() == 1);
}
