// SPDX-License-Identifier: Apache-2.0
#include "core/threads/pool.hpp"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <system_error>
#include <thread>

#include "core/cpu/float_state.hpp"
#include "core/cpu/pause.hpp"
#include "core/cpu/quota.hpp"
#include "core/error/error.hpp"
#include "core/threads/fork.hpp"

namespace attn::threads {
namespace {

// Index that this thread goes by in the loop it is running, or -1 outside of loops. A loop inside a loop keeps
// it, so that two such loops never share scratch memory.
thread_local int t_worker = -1;

std::atomic<uint64_t> g_helped{0};

struct Loop {
  int64_t n, grain;
  Parallel::Body body;
  void* user;
  std::atomic<int64_t> next{0};

  void work(int worker) {
    const cpu::FloatGuard arithmetic;  // an application's thread, or a body, may have set another
    const int before = t_worker;
    t_worker = worker;
    bool helped = false;
    for (;;) {
      const int64_t begin = next.fetch_add(grain, std::memory_order_relaxed);
      if (begin >= n) break;
      body(user, begin, std::min(n, begin + grain), worker);
      helped = worker > 0;
    }
    if (helped) g_helped.fetch_add(1, std::memory_order_relaxed);
    t_worker = before;
  }
};

// The same pieces as with many workers: bodies may count on none being larger than the grain.
void run_inline(int64_t n, int64_t grain, Parallel::Body body, void* user) {
  const cpu::FloatGuard arithmetic;
  const int before = t_worker;
  t_worker = std::max(before, 0);
  for (int64_t begin = 0; begin < n; begin += grain)
    body(user, begin, std::min(n, begin + grain), t_worker);
  t_worker = before;
}

void check_threads(int threads, const char* where, const std::string& value) {
  if (threads >= 1 && threads <= ThreadPool::kMaxThreads) return;
  const std::string expected = "a number from 1 to " + std::to_string(ThreadPool::kMaxThreads);
  ErrorDetails details;
  details.where = details.parameter = where;
  details.value = value;
  details.expected = expected;
  details.hint = "leave it out to use the CPUs that this process may use";
  throw InvalidArgument(std::string(where) + "=" + value +
                            ": not a possible number of threads; expected " + expected +
                            ". Leave it out to use the CPUs that this process may use",
                        details);
}

constexpr auto kSpin = std::chrono::microseconds(50);
constexpr uint64_t kOpen = uint64_t{1} << 32;  // of gate: the loop takes workers
constexpr uint64_t kRanks = kOpen - 1;         // of gate: workers inside

}  // namespace

// One loop at a time. `gate` says whether the current loop may be joined and how many workers are inside;
// its upper half counts loops. The caller closes the gate when no piece is left and waits for those inside
// only, so that the loop, which lives on the caller's stack, is not touched afterwards.
struct ThreadPool::State {
  CallbackMutex caller{};  // held while a loop runs or the size changes
  std::atomic<Loop*> loop{nullptr};
  std::atomic<uint64_t> gate{0};
  std::atomic<uint32_t> calls{0};  // changes when a sleeping worker has to look at gate and stop
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads{};
  std::atomic<int> concurrency{1};
  uint32_t generation = fork_generation();  // of the process that the threads are in

  void start(int wanted) {
    const ForkDelay whole;
    stop.store(false);
    try {
      threads.reserve(static_cast<size_t>(wanted - 1));
      for (int i = 1; i < wanted; ++i) threads.emplace_back([this, i] { serve(i); });
    } catch (const std::system_error&) {
      // The system gives no more threads: work with those there are.
    }
    concurrency.store(wanted);
  }

  void finish() {
    const ForkDelay whole;
    if (generation != fork_generation()) return forget();
    stop.store(true);
    call();
    for (std::thread& t : threads) t.join();
    threads.clear();
  }

  // In a child of fork(), which has the objects but not the threads: neither join() nor detach() may touch these.
  void forget() {
    for (std::thread& t : threads) ::new (static_cast<void*>(&t)) std::thread();
    threads.clear();
    gate.store(0);
    generation = fork_generation();
  }

  void call() {
    calls.fetch_add(1);
    calls.notify_all();
  }

  // True when this worker is inside the open loop that `seen` is older than.
  bool join(uint64_t& seen) {
    uint64_t g = gate.load(std::memory_order_acquire);
    while ((g & kOpen) != 0 && g >> 33 != seen) {
      if (gate.compare_exchange_weak(g, g + 1, std::memory_order_acq_rel)) {
        seen = g >> 33;
        return true;
      }
    }
    return false;
  }

  void serve(int worker) {
    uint64_t seen = 0;
    while (!stop.load(std::memory_order_acquire)) {
      if (join(seen)) {
        loop.load(std::memory_order_relaxed)->work(worker);
        gate.fetch_sub(1, std::memory_order_acq_rel);
        continue;
      }
      if (spin(seen)) continue;
      const uint32_t before = calls.load();  // sequentially consistent with gate and stop
      if (!called(seen)) calls.wait(before);
    }
  }

  [[nodiscard]] bool called(uint64_t seen) const {
    const uint64_t g = gate.load();
    return ((g & kOpen) != 0 && g >> 33 != seen) || stop.load();
  }

  // Waits a little for a new loop; true when there may be one.
  bool spin(uint64_t seen) const {
    const auto end = std::chrono::steady_clock::now() + kSpin;
    do {
      for (int i = 0; i < 64; ++i) {
        if (called(seen)) return true;
        cpu::pause();
      }
    } while (std::chrono::steady_clock::now() < end);
    return false;
  }

  void run(Loop& l) {
    loop.store(&l, std::memory_order_relaxed);
    const uint64_t number = (gate.load(std::memory_order_relaxed) >> 33) + 1;
    gate.store(number << 33 | kOpen);
    call();
    l.work(0);
    uint64_t g = gate.fetch_and(~kOpen, std::memory_order_acq_rel);
    // A body that forked has no workers to wait for in the child.
    for (int i = 0; (g & kRanks) != 0 && generation == fork_generation(); ++i) {
      if (i < 4096) {
        cpu::pause();
      } else {
        std::this_thread::yield();
      }
      g = gate.load(std::memory_order_acquire);
    }
  }
};

ThreadPool::ThreadPool(int concurrency) : state_(std::make_unique<State>()) {
  check_threads(concurrency, "threads", std::to_string(concurrency));
  state_->start(concurrency);
}

ThreadPool::~ThreadPool() { state_->finish(); }

int ThreadPool::concurrency() const noexcept { return state_->concurrency.load(); }

void ThreadPool::resize(int concurrency) {
  check_threads(concurrency, "threads", std::to_string(concurrency));
  const std::lock_guard lock(state_->caller);
  if (concurrency == state_->concurrency.load()) return;
  state_->finish();
  state_->start(concurrency);
}

void ThreadPool::run(int64_t n, int64_t grain, Parallel::Body body, void* user) {
  if (n <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  if (t_worker >= 0 || n <= grain || state_->concurrency.load(std::memory_order_relaxed) == 1 ||
      !state_->caller.try_lock()) {
    return run_inline(n, grain, body, user);
  }
  const std::lock_guard lock(state_->caller, std::adopt_lock);
  if (state_->generation != fork_generation()) {
    state_->forget();
    state_->start(state_->concurrency.load());
  }
  Loop loop{n, grain, body, user};
  state_->run(loop);
}

int default_threads(const std::string& root) {
  if (const char* text = std::getenv("ATTN_THREADS"); text != nullptr && *text != '\0') {
    int value = 0;
    const char* end = text + std::strlen(text);
    const auto [stopped, error] = std::from_chars(text, end, value);
    if (error != std::errc() || stopped != end) value = 0;
    check_threads(value, "ATTN_THREADS", text);
    return value;
  }
  cpu_set_t set;
  CPU_ZERO(&set);
  double cpus = std::thread::hardware_concurrency();
  if (sched_getaffinity(0, sizeof set, &set) == 0) cpus = CPU_COUNT(&set);
  if (const auto time = cpu::quota(root)) cpus = std::min(cpus, std::ceil(*time));
  return static_cast<int>(std::clamp<double>(cpus, 1, ThreadPool::kMaxThreads));
}

namespace {
Mutex g_making;
std::unique_ptr<ThreadPool> g_owner;
std::atomic<ThreadPool*> g_pool{nullptr};
}  // namespace

ThreadPool& pool() {
  if (ThreadPool* made = g_pool.load(std::memory_order_acquire)) return *made;
  const std::lock_guard lock(g_making);
  if (!g_owner) g_owner = std::make_unique<ThreadPool>(default_threads());
  g_pool.store(g_owner.get(), std::memory_order_release);
  return *g_owner;
}

void set_threads(int threads) {
  check_threads(threads, "threads", std::to_string(threads));
  pool().resize(threads);
}

namespace {
std::atomic<Executor*> g_executor{nullptr};
}

void set_executor(Executor* executor) { g_executor.store(executor); }

uint64_t helped_loops() { return g_helped.load(); }

int concurrency() {
  const Executor* executor = g_executor.load(std::memory_order_acquire);
  return executor != nullptr ? std::max(executor->concurrency(), 1) : pool().concurrency();
}

void run(int64_t n, int64_t grain, Parallel::Body body, void* user) {
  Executor* executor = g_executor.load(std::memory_order_acquire);
  if (executor == nullptr) return pool().run(n, grain, body, user);
  if (n <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  const int64_t pieces = (n + grain - 1) / grain;
  const int workers = static_cast<int>(std::min<int64_t>(pieces, executor->concurrency()));
  if (t_worker >= 0 || workers <= 1) return run_inline(n, grain, body, user);
  Loop loop{n, grain, body, user};
  executor->run(
      workers, [](void* l, int worker) { static_cast<Loop*>(l)->work(worker); }, &loop);
}

}  // namespace attn::threads
