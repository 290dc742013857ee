// SPDX-License-Identifier: Apache-2.0
//
// What the plain functions share: working memory of the thread, and operands and results in the kind that is computed
// in. Results must not overlap operands. [call-thread]
#pragma once

#include <attn/sdk/operator.hpp>

#include <algorithm>
#include <string>
#include <utility>

#include "core/cpu/float_state.hpp"
#include "core/engine/context.hpp"
#include "core/error/error.hpp"
#include "core/tensor/strided.hpp"

namespace attn::functional {

// Loops on the pool, and scratch memory that the thread keeps for its next call.
inline Parallel& workspace() {
  struct Workspace {
    engine::Arena arena;
    engine::ContextParallel parallel{arena};
  };
  thread_local Workspace w;
  w.arena.reset();
  return w.parallel;
}

// f(), computed with the default rounding, its refusals as InvalidArgument.
template <class F>
auto guarded(const char* function, F&& f) {
  const cpu::FloatGuard guard;
  try {
    return f();
  } catch (const sdk::Error& e) {
    throw InvalidArgument(std::string(function) + ": " + e.what(), {.where = function});
  } catch (const InvalidArgument& e) {  // of a view
    ErrorDetails details = e.details();
    details.parameter = std::exchange(details.where, function);
    throw InvalidArgument(std::string(function) + ": " + e.what(), details);
  }
}

// Refuses what is no sound view of `rank` axes; without contents there need not be any.
void check_view(const ConstView& v, const char* name, bool contents);

inline attn_view dense_scratch(Parallel& p, int32_t dtype, std::initializer_list<int64_t> shape) {
  attn_view v{};
  v.dtype = dtype;
  v.rank = static_cast<int32_t>(shape.size());
  std::copy(shape.begin(), shape.end(), v.shape);
  set_dense_strides(v);
  v.data =
      p.scratch(static_cast<size_t>(size_of(v)) * dtype_size(static_cast<attn_dtype>(dtype)) + 1);
  return v;
}

// Elements [first, first + n) of an axis.
inline attn_view part_of(attn_view v, int axis, int64_t first, int64_t n) {
  v.shape[axis] = n;
  if (v.data != nullptr)
    v.data =
        static_cast<char*>(v.data) +
        first * v.stride[axis] * static_cast<int64_t>(dtype_size(static_cast<attn_dtype>(v.dtype)));
  return v;
}

// to = from, four axes, floating kinds or the same; on all threads.
inline void copy(Parallel& p, const attn_view& from, const attn_view& to) {
  const int64_t rows = from.shape[2] * from.shape[3];
  p.loop(from.shape[0] * from.shape[1], std::max<int64_t>(1, 16384 / std::max<int64_t>(rows, 1)),
         [&](int64_t begin, int64_t end, int) {
           for (int64_t i = begin; i < end; ++i) {
             const auto head = [&](const attn_view& v) {
               return part_of(part_of(v, 0, i / from.shape[1], 1), 1, i % from.shape[1], 1);
             };
             copy_strided(head(from), head(to));
           }
         });
}

// Whether kernels of kind T can work on v itself.
template <class T>
bool fits(const attn_view& v) {
  return v.dtype == kDtypeOf<T> && (v.stride[3] == 1 || v.shape[3] == 1);
}

// v (four axes) as T with contiguous elements.
template <class T>
attn_view operand(Parallel& p, const attn_view& v) {
  if (fits<T>(v)) return v;
  const attn_view d =
      dense_scratch(p, kDtypeOf<T>, {v.shape[0], v.shape[1], v.shape[2], v.shape[3]});
  copy(p, v, d);
  return d;
}

// Memory of kind T for a result; finish() brings it where it belongs. Absent: no memory.
template <class T>
class Result {
 public:
  Result(Parallel& p, const attn_view* to) : parallel_(p), to_(to) {
    if (to != nullptr)
      at_ = fits<T>(*to) ? *to
                         : dense_scratch(p, kDtypeOf<T>,
                                         {to->shape[0], to->shape[1], to->shape[2], to->shape[3]});
  }
  [[nodiscard]] const attn_view& at() const { return at_; }
  void finish() const {
    if (to_ != nullptr && at_.data != to_->data) copy(parallel_, at_, *to_);
  }

 private:
  Parallel& parallel_;
  const attn_view* to_;
  attn_view at_{};
};

}  // namespace attn::functional
