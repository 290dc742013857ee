// SPDX-License-Identifier: Apache-2.0
#include "core/threads/fork.hpp"

#include <pthread.h>

#include <chrono>
#include <thread>

namespace attn::threads {
namespace {

std::atomic<uint32_t> g_generation{0};

// Threads inside sections that delay a fork, counted on several lines of the cache so that threads rarely meet.
struct alignas(64) Count {
  std::atomic<uint32_t> inside{0};
};
constexpr uint32_t kCounts = 16;
Count g_counts[kCounts];
std::atomic<bool> g_closed{false};  // a fork waits or happens
std::mutex g_forking;               // one fork at a time

std::atomic<uint32_t> g_threads{0};
thread_local const uint32_t t_count = g_threads.fetch_add(1) % kCounts;
thread_local uint32_t t_depth = 0;  // sections of this thread; the outermost one is counted

void before_fork() {
  g_forking.lock();
  g_closed.store(true);
  for (Count& count : g_counts)
    while (count.inside.load() != 0) std::this_thread::sleep_for(std::chrono::microseconds(20));
}
void reopen() {
  g_closed.store(false);
  g_closed.notify_all();
  g_forking.unlock();
}
void in_child() {
  g_generation.fetch_add(1);
  reopen();
}

[[maybe_unused]] const int registered = ::pthread_atfork(before_fork, reopen, in_child);

}  // namespace

uint32_t fork_generation() noexcept { return g_generation.load(std::memory_order_relaxed); }

void ForkDelay::enter() noexcept {
  if (t_depth++ > 0) return;
  std::atomic<uint32_t>& inside = g_counts[t_count].inside;
  for (;;) {
    inside.fetch_add(1);  // sequentially consistent with the closing in before_fork()
    if (!g_closed.load()) return;
    inside.fetch_sub(1);
    g_closed.wait(true);
  }
}

void ForkDelay::leave() noexcept {
  if (--t_depth == 0) g_counts[t_count].inside.fetch_sub(1);
}

bool CallbackMutex::try_lock() noexcept {
  const uint32_t own = fork_generation();
  uint32_t holder = holder_.load(std::memory_order_relaxed);
  while (holder != own)
    if (holder_.compare_exchange_weak(holder, own, std::memory_order_acquire)) return true;
  return false;
}

void CallbackMutex::lock() noexcept {
  while (!try_lock()) holder_.wait(fork_generation());
}

void CallbackMutex::unlock() noexcept {
  holder_.store(kFree, std::memory_order_release);
  holder_.notify_all();
}

}  // namespace attn::threads
