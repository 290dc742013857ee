// SPDX-License-Identifier: Apache-2.0
//
// Who runs the pieces of a parallel loop: the library's own pool, or the application.
//
// Results never depend on the executor or on the number of threads: a loop is cut by its size
// alone, and each piece writes its own part. [any-thread]
#pragma once

#include <cstdint>

namespace attn {

// An application that has threads of its own implements this and calls set_executor().
class Executor {
 public:
  virtual ~Executor() = default;

  // Most pieces that may run at the same time; at least 1. Must not change while a call runs.
  [[nodiscard]] virtual int concurrency() const noexcept = 0;

  // Calls task(user, worker) once for each worker in [0, workers), workers <= concurrency(), in any
  // order and on any threads (the caller's included), and returns when all have returned. Running
  // them one after another is correct. task does not throw.
  virtual void run(int workers, void (*task)(void* user, int worker), void* user) = 0;
};

}  // namespace attn
