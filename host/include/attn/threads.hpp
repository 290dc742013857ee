// SPDX-License-Identifier: Apache-2.0
//
// How many threads the library uses, and whose. One pool for the whole process; results do not depend on it.
#pragma once

#include "core/threads/executor.hpp"

namespace attn {

// Threads of the library's pool, the calling one included; 1..1024. Default: ATTN_THREADS, else the CPUs
// that this process may use. Not while a call runs. Throws InvalidArgument.
void set_threads(int n);
[[nodiscard]] int thread_count();

// Runs all loops on the application's threads; nullptr: back to the pool. The executor must outlive its use. Not
// while a call runs.
void set_executor(Executor* executor);

}  // namespace attn
