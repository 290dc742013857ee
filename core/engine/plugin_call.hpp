// SPDX-License-Identifier: Apache-2.0
//
// Calls into a plugin. The border wants codes, and the SDK gives them; what another plugin throws through the border all
// the same becomes a code here, so that nothing but the library's own errors reaches an application. [any-thread]
#pragma once

#include <attn/sdk/abi.h>

#include <atomic>
#include <attn/sdk/error.hpp>
#include <cstdint>
#include <exception>

#include "core/threads/parallel.hpp"

namespace attn::engine {

// f: the call, which gives a code. *e is filled in when it throws.
template <class F>
int32_t guarded_call(attn_error* e, F&& f) noexcept {
  int32_t code = ATTN_OK;
  const int32_t thrown = sdk::detail::guard(e, [&] { code = f(); });
  return thrown != ATTN_OK ? thrown : code;
}

// A loop whose body is a plugin's. What a worker throws leaves the loop on the thread that called it, after the last
// worker is out of it; pieces that had not begun are left out.
inline void plugin_loop(Parallel& parallel, int64_t n, int64_t grain, Parallel::Body body,
                        void* user) {
  struct Guarded {
    Parallel::Body body;
    void* user;
    std::atomic<bool> failed{false};
    std::exception_ptr thrown{};
  } loop{body, user};
  parallel.loop(n, grain, [&loop](int64_t begin, int64_t end, int worker) {
    if (loop.failed.load(std::memory_order_relaxed)) return;
    try {
      loop.body(loop.user, begin, end, worker);
    } catch (...) {
      if (!loop.failed.exchange(true)) loop.thrown = std::current_exception();
    }
  });
  if (loop.thrown) std::rethrow_exception(loop.thrown);
}

}  // namespace attn::engine
