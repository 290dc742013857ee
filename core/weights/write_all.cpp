// SPDX-License-Identifier: Apache-2.0
#include "core/weights/write_all.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <ctime>

namespace attn::weights {
namespace {

// The signal goes to the thread that writes, so it is held back there and taken away unless one was waiting before.
class Held {
 public:
  explicit Held(int signal) noexcept {
    sigemptyset(&set_);
    sigaddset(&set_, signal);
    sigset_t pending;
    sigemptyset(&pending);
    ::sigpending(&pending);
    waiting_ = ::sigismember(&pending, signal) == 1;
    ::pthread_sigmask(SIG_BLOCK, &set_, &before_);
  }
  ~Held() {
    const timespec at_once{0, 0};
    while (!waiting_ && ::sigtimedwait(&set_, nullptr, &at_once) < 0 && errno == EINTR) {
    }
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;

 private:
  sigset_t set_{}, before_{};
  bool waiting_ = false;
};

}  // namespace

int write_all(int descriptor, const void* bytes, size_t n) noexcept {
  const Held limit(SIGXFSZ);
  const auto* from = static_cast<const unsigned char*>(bytes);
  while (n > 0) {
    const ssize_t done = ::write(descriptor, from, std::min<size_t>(n, size_t{1} << 30));
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return done < 0 ? errno : ENOSPC;
    from += done;
    n -= static_cast<size_t>(done);
  }
  return 0;
}

}  // namespace attn::weights
