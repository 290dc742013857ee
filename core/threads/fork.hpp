// SPDX-License-Identifier: Apache-2.0
//
// Locks that a fork() leaves usable. A child has the memory of its parent and one thread: a std::mutex that another
// thread held at that moment stays locked there, what it guards may be half changed, and the destructor of a
// std::condition_variable waits for threads that are gone.
//
//   Mutex, SharedMutex   for short sections that run none but our own code. fork() waits until no thread is inside
//                        such a section, so the child finds what they guard whole.
//   CallbackMutex        for sections that run other code (a plugin's, the application's), which may take any time
//                        and may itself wait for the thread that forks. fork() does not wait: the child finds the
//                        lock free, and what it guards must be of use half done.
//
// The order is the usual one: whoever holds a Mutex takes no CallbackMutex. [any-thread]
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <shared_mutex>

namespace attn::threads {

// How many forks lie between the first process and this one.
[[nodiscard]] uint32_t fork_generation() noexcept;

// While one lives on this thread, no other thread's fork() happens. [not to be held over code of others]
class ForkDelay {
 public:
  ForkDelay() noexcept { enter(); }
  ~ForkDelay() { leave(); }
  ForkDelay(const ForkDelay&) = delete;
  ForkDelay& operator=(const ForkDelay&) = delete;

  static void enter() noexcept;
  static void leave() noexcept;
};

template <class Lock>
class Delaying {
 public:
  Delaying() = default;
  Delaying(const Delaying&) = delete;
  Delaying& operator=(const Delaying&) = delete;
  void lock() {
    ForkDelay::enter();
    lock_.lock();
  }
  void unlock() {
    lock_.unlock();
    ForkDelay::leave();
  }
  void lock_shared() {
    ForkDelay::enter();
    lock_.lock_shared();
  }
  void unlock_shared() {
    lock_.unlock_shared();
    ForkDelay::leave();
  }

 private:
  Lock lock_{};
};
using Mutex = Delaying<std::mutex>;
using SharedMutex = Delaying<std::shared_mutex>;

// Its word names the process it was locked in: what another process locked is free.
class CallbackMutex {
 public:
  CallbackMutex() = default;
  CallbackMutex(const CallbackMutex&) = delete;
  CallbackMutex& operator=(const CallbackMutex&) = delete;
  void lock() noexcept;
  [[nodiscard]] bool try_lock() noexcept;
  void unlock() noexcept;

 private:
  static constexpr uint32_t kFree = ~uint32_t{0};
  std::atomic<uint32_t> holder_{kFree};  // generation of the process
};

// A condition variable for any of them, without memory of who waits.
class Condition {
 public:
  // Sleeps until done(), which is asked for with the lock held.
  template <class Lock, class Done>
  void wait(Lock& lock, Done&& done) {
    while (!done()) {
      const uint32_t seen = changes_.load();
      lock.unlock();
      changes_.wait(seen);
      lock.lock();
    }
  }
  void notify_all() noexcept {
    changes_.fetch_add(1);
    changes_.notify_all();
  }

 private:
  std::atomic<uint32_t> changes_{0};
};

}  // namespace attn::threads
