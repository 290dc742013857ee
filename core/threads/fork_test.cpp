// SPDX-License-Identifier: Apache-2.0
//
// A child of fork() works with a pool of its own, whatever the threads of its parent did at that moment.
#include <atomic>
#include <catch2/catch.hpp>
#include <memory>
#include <thread>
#include <vector>

#include "core/threads/fork.hpp"
#include "core/threads/pool.hpp"
#include "tests/tools/child.hpp"

using namespace attn;
using attn::testing::in_child;
using threads::PoolParallel;
using threads::ThreadPool;

namespace {

bool sums(PoolParallel& p) {
  std::atomic<int64_t> sum{0};
  p.loop(1000, 1,
         [&](int64_t begin, int64_t end, int) { sum += (begin + end - 1) * (end - begin) / 2; });
  return sum == 999 * 500;
}

// Whether workers take part: luck in one loop, certain in many.
bool helped(PoolParallel& p) {
  const uint64_t before = threads::helped_loops();
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (threads::helped_loops() == before && std::chrono::steady_clock::now() < end)
    if (!sums(p)) return false;
  return threads::helped_loops() > before;
}

// Threads that keep the pool busy as long as this lives.
class Busy {
 public:
  explicit Busy(ThreadPool& pool, int n = 2) {
    for (int i = 0; i < n; ++i)
      callers_.emplace_back([this, &pool] {
        PoolParallel p(pool);
        while (!stop_) sums(p);
      });
  }
  ~Busy() {
    stop_ = true;
    for (std::thread& t : callers_) t.join();
  }

 private:
  std::atomic<bool> stop_{false};
  std::vector<std::thread> callers_{};
};

}  // namespace

TEST_CASE("fork: a child ends normally, whether or not the pool ran before") {
  PoolParallel p;
  CHECK(in_child([] { return true; }) == "exit 0");
  CHECK(sums(p));
  CHECK(in_child([] { return true; }) == "exit 0");
  std::this_thread::sleep_for(std::chrono::milliseconds(5));  // the workers sleep
  CHECK(in_child([] { return true; }) == "exit 0");
  CHECK(sums(p));
}

TEST_CASE("fork: a child runs loops on workers of its own and sets their number") {
  const int before = threads::concurrency();
  threads::set_threads(3);
  PoolParallel p;
  CHECK(sums(p));
  CHECK(in_child([&] { return helped(p); }) == "exit 0");
  for (const int n : {1, 2, 3, 5})
    REQUIRE(in_child([&] {
              threads::set_threads(n);
              return threads::concurrency() == n && sums(p) && (n == 1 || helped(p));
            }) == "exit 0");
  CHECK(helped(p));
  threads::set_threads(before);
}

TEST_CASE("fork: a child works though other threads were in the middle of loops") {
  auto pool = std::make_unique<ThreadPool>(3);
  const Busy busy(*pool);
  for (int i = 0; i < 20; ++i)
    REQUIRE(in_child([&] {
              PoolParallel p(*pool);
              const bool right = sums(p) && helped(p);
              pool->resize(2);
              return right && sums(p);
            }) == "exit 0");
}

TEST_CASE("fork: a child destroys a pool that other threads use in its parent") {
  for (const bool used : {false, true}) {
    ThreadPool* pool = new ThreadPool(3);
    {
      const Busy busy(*pool);
      CHECK(in_child([&] {
              PoolParallel p(*pool);
              const bool right = !used || sums(p);
              delete pool;
              return right;
            }) == "exit 0");
    }
    delete pool;
  }
}

TEST_CASE("fork: a child of a child works, and threads of a child may call") {
  threads::set_threads(2);
  PoolParallel p;
  CHECK(sums(p));
  CHECK(in_child([&] {
          if (!helped(p)) return false;
          if (in_child([&] { return helped(p); }) != "exit 0") return false;
          std::atomic<int> right{0};
          std::vector<std::thread> callers;
          for (int i = 0; i < 4; ++i)
            callers.emplace_back([&] {
              PoolParallel own;
              for (int k = 0; k < 50; ++k) right += sums(own);
            });
          for (std::thread& t : callers) t.join();
          return right == 200;
        }) == "exit 0");
}

TEST_CASE("fork: the first use of the pool may fall on a fork") {
  for (int i = 0; i < 20; ++i)
    REQUIRE(in_child([] {
              PoolParallel p;
              threads::set_threads(2);
              return sums(p) && in_child([&] { return sums(p); }) == "exit 0";
            }) == "exit 0");
}

TEST_CASE("fork: what a Mutex guards is whole in the child, and the lock is free") {
  threads::Mutex mutex;
  threads::SharedMutex shared;
  std::vector<int> numbers;
  std::atomic<bool> stop{false};
  std::vector<std::thread> writers;
  for (int i = 0; i < 2; ++i)
    writers.emplace_back([&] {
      while (!stop) {
        const std::unique_lock outer(shared);
        const std::lock_guard lock(mutex);
        numbers.push_back(1);
        numbers.push_back(2);
        if (numbers.size() > 1000) numbers.clear();
      }
    });
  std::string ended = "exit 0";
  for (int i = 0; i < 50 && ended == "exit 0"; ++i)
    ended = in_child([&] {
      const std::shared_lock outer(shared);
      const std::lock_guard lock(mutex);
      bool whole = numbers.size() % 2 == 0;
      for (size_t k = 0; k < numbers.size(); ++k) whole = whole && numbers[k] == (k % 2 ? 2 : 1);
      return whole;
    });
  stop = true;
  for (std::thread& t : writers) t.join();
  CHECK(ended == "exit 0");
}

TEST_CASE("fork: a CallbackMutex of another thread holds up neither the fork nor the child") {
  threads::CallbackMutex mutex;
  std::atomic<bool> held{false}, leave{false};
  std::thread holder([&] {
    const std::lock_guard lock(mutex);
    held = true;
    while (!leave) std::this_thread::yield();
  });
  while (!held) std::this_thread::yield();
  const bool free_here = mutex.try_lock();
  const std::string ended = in_child([&] {
    const bool first = mutex.try_lock(), second = mutex.try_lock();
    mutex.unlock();
    const std::lock_guard lock(mutex);
    return first && !second;
  });
  leave = true;
  holder.join();
  CHECK_FALSE(free_here);
  CHECK(ended == "exit 0");
}
