// SPDX-License-Identifier: Apache-2.0
//
// The one thread pool of a process, and how an application replaces or resizes it.
//
// A loop over n items is cut into pieces of `grain`; the caller and the workers take pieces from one counter.
// A worker that is idle spins for a short time and then sleeps; one that wakes up too late for a loop misses
// it, the loop does not wait for it. A second caller at the same time, and a loop inside a loop, run on the
// calling thread. Nothing is allocated while loops run. Which thread runs a piece is not determined, so
// results must not depend on it (parallel.hpp). A child of fork() has the pool without its threads; the first
// loop there starts as many. [any-thread]
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/threads/executor.hpp"
#include "core/threads/parallel.hpp"

namespace attn::threads {

class ThreadPool {
 public:
  // `concurrency` - 1 threads beside the caller (fewer when the system has no more; loops work all the
  // same). Throws InvalidArgument outside [1, kMaxThreads].
  explicit ThreadPool(int concurrency);
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool();  // joins

  [[nodiscard]] int concurrency() const noexcept;
  // As Parallel::run(). `worker` < concurrency().
  void run(int64_t n, int64_t grain, Parallel::Body body, void* user);
  // Waits for the running loop, then changes the number of threads. Not while a call of a layer runs: its
  // scratch is sized for the old number. Throws InvalidArgument as the constructor.
  void resize(int concurrency);

  static constexpr int kMaxThreads = 1024;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The process-wide pool, made at the first question with default_threads(). Throws as that does.
[[nodiscard]] ThreadPool& pool();

// ATTN_THREADS, or without it the number of CPUs that this process may use: those of its affinity, and no more than
// the processor time of its control group (core/cpu/quota.hpp, which has `root`), rounded up. Throws InvalidArgument
// when ATTN_THREADS is not a number in [1, kMaxThreads].
[[nodiscard]] int default_threads(const std::string& root = "");

// Size of the process-wide pool. Throws InvalidArgument outside [1, kMaxThreads]. [any-thread, but see resize()]
void set_threads(int threads);

// From now on loops run on `executor` instead of the pool; nullptr: on the pool again. The caller keeps the
// executor alive until it is replaced and no call runs.
void set_executor(Executor* executor);

// What run() will use at most: of the executor if there is one, else of the pool. Throws as pool().
[[nodiscard]] int concurrency();
// A loop on the executor or the pool. Throws as pool(), and what the executor throws.
void run(int64_t n, int64_t grain, Parallel::Body body, void* user);

// How often a worker beside the caller has taken pieces of a loop, since the process began.
[[nodiscard]] uint64_t helped_loops();

// For tests and tools: a Parallel over a pool (the process-wide one by default), with scratch that grows and is
// kept: after release() it is handed out again. One thread at a time.
class PoolParallel final : public Parallel {
 public:
  PoolParallel() = default;
  explicit PoolParallel(ThreadPool& pool) : pool_(&pool) {}
  ~PoolParallel() override;
  PoolParallel(const PoolParallel&) = delete;
  PoolParallel& operator=(const PoolParallel&) = delete;

  [[nodiscard]] int concurrency() const noexcept override;
  void run(int64_t n, int64_t grain, Body body, void* user) override;
  [[nodiscard]] void* scratch(size_t bytes) override;
  // Ends the use of all scratch; blocks are merged into one.
  void release();

 private:
  struct Block {
    std::byte* data = nullptr;
    size_t size = 0, used = 0;
  };
  ThreadPool* pool_ = nullptr;
  std::vector<Block> blocks_{};
};

}  // namespace attn::threads
