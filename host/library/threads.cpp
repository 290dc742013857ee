// SPDX-License-Identifier: Apache-2.0
#include <attn/threads.hpp>

#include "core/threads/pool.hpp"

namespace attn {

void set_threads(int n) { threads::set_threads(n); }
int thread_count() { return threads::concurrency(); }
void set_executor(Executor* executor) { threads::set_executor(executor); }

}  // namespace attn
