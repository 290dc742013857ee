// SPDX-License-Identifier: Apache-2.0
//
// What is behind a public Context.
#pragma once

#include <attn/attention.hpp>

#include "core/engine/context.hpp"
#include "host/library/layer/plan.hpp"
#include "host/library/ranks/shared_call.hpp"

namespace attn {

struct Context::Impl {
  explicit Impl(attn_dtype dtype);

  engine::Context engine;
  const attn_type* type = nullptr;  // of the last call
  std::vector<TableInfo> tables;    // that it brought
  uint64_t seed_base = 0;           // of the calls without a seed of their own
  uint64_t calls = 0;
  host::SharedCall shared{};  // of the last call
  host::ContextPlan plan{};

  // The next seed of this context: different in each call, the same when the program runs again.
  [[nodiscard]] uint64_t next_seed();
};

}  // namespace attn

namespace attn::host {

inline ConstView to_public(const attn_view& v) {
  return {v.data, static_cast<attn_dtype>(v.dtype), Shape(v.shape, static_cast<size_t>(v.rank)),
          Shape(v.stride, static_cast<size_t>(v.rank))};
}
inline attn_view to_border(const ConstView& v) {
  attn_view b{};
  b.data = const_cast<void*>(v.data);
  b.dtype = v.dtype;
  b.rank = v.shape.rank();
  for (size_t i = 0; i < v.shape.size(); ++i) {
    b.shape[i] = v.shape[i];
    b.stride[i] = v.stride[i];
  }
  return b;
}

}  // namespace attn::host
