// SPDX-License-Identifier: Apache-2.0
#include "core/threads/pool.hpp"

#include <atomic>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <thread>
#include <vector>

#include "core/error/error.hpp"

using namespace attn;
using threads::PoolParallel;
using threads::ThreadPool;

namespace {

// Every item exactly once, worker indices in range.
void check_loop(PoolParallel& p, int64_t n, int64_t grain) {
  std::vector<std::atomic<int>> count(static_cast<size_t>(n) + 1);
  std::atomic<int> bad{0};
  const int most = p.concurrency();
  p.loop(n, grain, [&](int64_t begin, int64_t end, int worker) {
    if (worker < 0 || worker >= most || begin >= end) ++bad;
    for (int64_t i = begin; i < end; ++i) ++count[static_cast<size_t>(i)];
  });
  for (int64_t i = 0; i < n; ++i) {
    if (count[static_cast<size_t>(i)] != 1) ++bad;
  }
  REQUIRE(bad == 0);
}

class SerialExecutor final : public Executor {
 public:
  [[nodiscard]] int concurrency() const noexcept override { return 3; }
  void run(int workers, void (*task)(void*, int), void* user) override {
    ++calls;
    for (int w = workers - 1; w >= 0; --w) task(user, w);
  }
  int calls = 0;
};

}  // namespace

TEST_CASE("pool: each item runs exactly once, for any size and number of threads") {
  for (const int n_threads : {1, 2, 7}) {
    ThreadPool pool(n_threads);
    CHECK(pool.concurrency() == n_threads);
    PoolParallel p(pool);
    for (const int64_t n : {0, 1, 2, 7, 64, 1000}) {
      for (const int64_t grain : {1, 3, 64, 5000}) check_loop(p, n, grain);
    }
    for (int i = 0; i < 2000; ++i) check_loop(p, 5, 1);  // short loops back to back
  }
}

TEST_CASE("pool: sleeping workers are woken") {
  ThreadPool pool(3);
  PoolParallel p(pool);
  for (int i = 0; i < 5; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // longer than they spin
    check_loop(p, 100, 1);
  }
}

TEST_CASE("pool: a loop inside a loop stays on its thread and keeps the worker") {
  ThreadPool pool(4);
  std::atomic<int> wrong{0}, items{0};
  PoolParallel p(pool);
  p.loop(16, 1, [&](int64_t, int64_t, int outer) {
    const auto thread = std::this_thread::get_id();
    p.loop(10, 1, [&](int64_t begin, int64_t end, int inner) {
      if (inner != outer || std::this_thread::get_id() != thread) ++wrong;
      items += static_cast<int>(end - begin);
    });
  });
  CHECK(wrong == 0);
  CHECK(items == 160);
}

TEST_CASE("pool: several callers at once") {
  ThreadPool pool(2);
  std::atomic<int64_t> sum{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; ++c) {
    callers.emplace_back([&] {
      PoolParallel p(pool);
      for (int i = 0; i < 200; ++i) {
        p.loop(50, 1, [&](int64_t begin, int64_t end, int) { sum += end - begin; });
      }
    });
  }
  for (std::thread& t : callers) t.join();
  CHECK(sum == 4 * 200 * 50);
}

TEST_CASE("pool: resizing and refusing") {
  ThreadPool pool(2);
  PoolParallel p(pool);
  for (const int n : {5, 1, 3}) {
    pool.resize(n);
    CHECK(pool.concurrency() == n);
    check_loop(p, 100, 1);
  }
  CHECK_THROWS_AS(pool.resize(0), InvalidArgument);
  CHECK_THROWS_AS(ThreadPool(100000), InvalidArgument);
  CHECK_THROWS_AS(threads::set_threads(-1), InvalidArgument);
}

TEST_CASE("pool: ATTN_THREADS") {
  const char* old = std::getenv("ATTN_THREADS");
  const std::string keep = old != nullptr ? old : "";
  setenv("ATTN_THREADS", "3", 1);
  CHECK(threads::default_threads() == 3);
  for (const char* bad : {"0", "-2", "two", "3x", "99999"}) {
    setenv("ATTN_THREADS", bad, 1);
    CHECK_THROWS_WITH(threads::default_threads(), Catch::Contains("ATTN_THREADS"));
  }
  unsetenv("ATTN_THREADS");
  CHECK(threads::default_threads() >= 1);
  if (old != nullptr) setenv("ATTN_THREADS", keep.c_str(), 1);
}

TEST_CASE("pool: an executor of the application takes the loops") {
  SerialExecutor executor;
  threads::set_executor(&executor);
  PoolParallel p;
  CHECK(p.concurrency() == 3);
  check_loop(p, 100, 7);
  CHECK(executor.calls == 1);
  threads::set_executor(nullptr);
  check_loop(p, 100, 7);
  CHECK(executor.calls == 1);
}

TEST_CASE("pool: scratch is aligned, separate, and used again after release") {
  PoolParallel p;
  void* first = nullptr;
  for (int round = 0; round < 4; ++round) {
    char* a = static_cast<char*>(p.scratch(100));
    char* b = static_cast<char*>(p.scratch(size_t{3} << 20));
    CHECK(reinterpret_cast<uintptr_t>(a) % 64 == 0);
    CHECK(reinterpret_cast<uintptr_t>(b) % 64 == 0);
    CHECK((b >= a + 100 || a >= b + (size_t{3} << 20)));
    a[99] = b[(size_t{3} << 20) - 1] = 1;
    if (round == 2) first = a;
    if (round == 3) CHECK(first == a);
    p.release();
  }
}
