// SPDX-License-Identifier: Apache-2.0
#include "core/weights/input_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/weights/header_text.hpp"

namespace attn::weights {
InputFile::InputFile(const std::string& path) : name_(path) {
  if (path.find('\0') != std::string::npos) {
    refuse_file("file", "the path holds a NUL character", "a path", "check it");
  }
  // O_NONBLOCK: opening a pipe must not wait for a writer; on a regular file it has no effect.
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (descriptor_ < 0) {
    refuse_file(path, "cannot be opened: " + errno_text(errno), "a readable file",
                "check the path and its permissions");
  }
  struct stat status {};
  const bool known = ::fstat(descriptor_, &status) == 0;
  if (!known || !S_ISREG(status.st_mode)) {
    ::close(std::exchange(descriptor_, -1));
    refuse_file(path, "is no regular file", "a regular file", "give the path of a file");
  }
  size_ = static_cast<uint64_t>(status.st_size);
}

InputFile::InputFile(const void* bytes, size_t size, std::string name)
    : memory_(static_cast<const unsigned char*>(bytes)), size_(size), name_(std::move(name)) {}

InputFile::InputFile(InputFile&& other) noexcept { *this = std::move(other); }

InputFile& InputFile::operator=(InputFile&& other) noexcept {
  if (this != &other) {
    if (descriptor_ >= 0) ::close(descriptor_);
    descriptor_ = std::exchange(other.descriptor_, -1);
    memory_ = std::exchange(other.memory_, nullptr);
    size_ = std::exchange(other.size_, 0);
    name_ = std::move(other.name_);
  }
  return *this;
}

InputFile::~InputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void InputFile::read(uint64_t offset, void* out, size_t n, const std::string& part) const {
  if (offset > size_ || n > size_ - offset) {
    refuse_file(name_,
                part + " needs " + std::to_string(n) + " bytes at " + std::to_string(offset) +
                    ", the file has " + std::to_string(size_),
                "a complete file", "fetch or write it again");
  }
  if (n == 0) return;
  if (memory_ != nullptr) {
    std::memcpy(out, memory_ + offset, n);
    return;
  }
  auto* to = static_cast<unsigned char*>(out);
  while (n > 0) {
    // The kernel reads at most 2^31 - 4096 bytes at once.
    const size_t piece = std::min<size_t>(n, size_t{1} << 30);
    const ssize_t got = ::pread(descriptor_, to, piece, static_cast<off_t>(offset));
    if (got < 0) {
      if (errno == EINTR) continue;
      const std::string why = errno_text(errno);
      throw Failure(name_ + ": reading " + part + " failed: " + why + "; check the disk",
                    {name_, {}, {}, why, {}, "check the disk"});
    }
    if (got == 0) {
      refuse_file(name_, "the file became shorter while " + part + " was read", "an unchanged file",
                  "load it when nothing writes to it");
    }
    to += got;
    offset += static_cast<uint64_t>(got);
    n -= static_cast<size_t>(got);
  }
}

}  // namespace attn::weights
