// SPDX-License-Identifier: Apache-2.0
//
// Owns a file descriptor. [one thread per object]
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <utility>

namespace attn::loader {

class Descriptor {
 public:
  // Numbers below this one are those that a child process gets by dup2().
  static constexpr int kFirst = 10;

  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(other.release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() { reset(); }

  void reset(int fd = -1) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }
  // Takes a copy of the descriptor, from kFirst on.
  void reset_high(int fd) { reset(fd < 0 ? -1 : ::fcntl(fd, F_DUPFD_CLOEXEC, kFirst)); }
  [[nodiscard]] int get() const noexcept { return fd_; }
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

}  // namespace attn::loader
