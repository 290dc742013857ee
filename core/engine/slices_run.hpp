// SPDX-License-Identifier: Apache-2.0
//
// What forward and backward passes in slices share.
#pragma once

#include <exception>
#include <mutex>

#include "core/cpu/float_state.hpp"
#include "core/engine/context.hpp"
#include "core/threads/pool.hpp"

namespace attn::engine {

// Rows [first, first + n) of a view.
inline attn_view rows_of(attn_view v, int64_t first, int64_t n) {
  v.shape[0] = n;
  if (v.data != nullptr)
    v.data =
        static_cast<char*>(v.data) +
        first * v.stride[0] * static_cast<int64_t>(dtype_size(static_cast<attn_dtype>(v.dtype)));
  return v;
}

// f(context of the slice, first row) for all slices: one a thread, where that keeps all threads busy, so that what an
// operator leaves is in the cache of the thread that takes it up; otherwise one after the other, each on all threads.
// own: every slice has a context of its own; otherwise every thread has. Throws what a slice threw, after all have ended.
template <class F>
void for_slices(Context& ctx, const SlicePlan& plan, bool own, F&& f) {
  const int64_t slices = plan.slices(), threads = threads::concurrency();
  const int64_t turns = (slices + threads - 1) / threads;
  const bool apart = threads <= slices && 8 * turns * threads <= 9 * slices;
  const size_t recorded = ctx.profile().size();
  ctx.make_parts(own ? slices : apart ? threads : 1, apart);
  std::exception_ptr wrong;
  threads::Mutex mutex;
  const auto run = [&](int64_t slice, int64_t worker) {
    try {
      const cpu::FloatGuard arithmetic;
      Context& part = ctx.part(own ? slice : worker);
      f(part, slice * plan.rows);
      ctx.add_slice_profile(part, apart ? threads : 1, recorded);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!wrong) wrong = std::current_exception();
    }
  };
  if (apart) {
    // Which thread takes which slice is chance. Every part has one of its own first, so that after the first call of a
    // kind none of them asks for memory.
    ctx.parallel->loop(threads, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) run(i, i);
    });
    ctx.parallel->loop(slices - threads, 1, [&](int64_t begin, int64_t end, int worker) {
      for (int64_t i = begin; i < end; ++i) run(threads + i, worker);
    });
  } else {
    for (int64_t i = 0; i < slices; ++i) run(i, 0);
  }
  if (wrong) std::rethrow_exception(wrong);
}

}  // namespace attn::engine
