// SPDX-License-Identifier: Apache-2.0
#include "core/weights/atomic_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

#include "core/weights/header_text.hpp"
#include "core/weights/write_all.hpp"

namespace attn::weights {
namespace {

namespace fs = std::filesystem;

std::string temporary_name(const fs::path& target, unsigned number) {
  // Cut, because a name has at most 255 bytes.
  const std::string name = target.filename().string().substr(0, 200);
  const std::string tail =
      "." + std::to_string(::getpid()) + "-" + std::to_string(number) + ".part";
  return (target.parent_path() / ("." + name + tail)).string();
}

}  // namespace

AtomicFile::AtomicFile(const std::string& path) : path_(path), target_(path) {
  if (path.empty() || path.find('\0') != std::string::npos) {
    refuse_file("file", "the path is empty or holds a NUL character", "a path",
                "name the file to write");
  }
  std::error_code ignored;
  if (fs::is_symlink(path, ignored)) {
    const fs::path real = fs::canonical(path, ignored);
    if (!real.empty()) target_ = real.string();
  }
  struct stat status {};
  const bool exists = ::stat(target_.c_str(), &status) == 0;
  if (exists && !S_ISREG(status.st_mode)) {
    refuse_file(path, "exists and is no regular file", "a file", "choose another path");
  }
  static std::atomic<unsigned> counter{0};
  int code = EEXIST;
  for (int attempt = 0; attempt < 100 && code == EEXIST; ++attempt) {
    temporary_ = temporary_name(target_, counter.fetch_add(1));
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    code = descriptor_ >= 0 ? 0 : errno;
  }
  if (code != 0) {
    refuse_file(path, "cannot be written: " + errno_text(code),
                "a directory that can be written to", "check the directory and its permissions");
  }
  // A file system without permissions may refuse; the contents matter more.
  if (exists) static_cast<void>(::fchmod(descriptor_, status.st_mode & 07777));
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::fail(const std::string& action, int code) {
  const std::string why = errno_text(code);
  throw Failure(
      path_ + ": " + action + " failed: " + why +
          "; an older file of this name is unchanged; free some space or choose another path",
      {path_, {}, {}, why, {}, "free some space or choose another path"});
}

void AtomicFile::write(const void* bytes, size_t n) {
  if (const int code = write_all(descriptor_, bytes, n); code != 0) fail("writing", code);
}

void AtomicFile::commit() {
  if (::fsync(descriptor_) != 0) fail("writing to the disk", errno);
  if (::close(std::exchange(descriptor_, -1)) != 0) fail("closing", errno);
  if (std::rename(temporary_.c_str(), target_.c_str()) != 0) fail("renaming", errno);
  temporary_.clear();
  // The new name reaches the disk with its directory. The file is in place already, so a file system that
  // cannot do this is no error.
  const fs::path parent = fs::path(target_).parent_path();
  const int directory =
      ::open(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory >= 0) {
    static_cast<void>(::fsync(directory));
    ::close(directory);
  }
}

}  // namespace attn::weights
