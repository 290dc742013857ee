// SPDX-License-Identifier: Apache-2.0
//
// How many threads the library uses, and whose. One pool for the whole process; results do not depend on it.
//
// After fork() the child has its parent's layers, contexts, states and settings, and a pool of its own that starts
// with its first call; it may do everything that a process may do, whatever the other threads of its parent were
// doing. Two things stay with the parent: threads of the application, so an executor that needs them, and groups of
// make_thread_communicators(), whose calls throw Failure in the child. fork() waits for changes of weights, files
// of weights among them, that other threads have begun. Inside a loop or an operator it must not be called.
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
