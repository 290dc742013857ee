// SPDX-License-Identifier: Apache-2.0
//
// What the operators over the attention kernels share: tensors as the kernels see them. [call-thread]
#pragma once

#include <algorithm>

#include "core/kernels/attention.hpp"
#include "core/ops/keep.hpp"
#include "core/ops/rows.hpp"
#include "core/tensor/strided.hpp"

namespace attn::ops {

// A bias with four axes; those that it has are the last.
inline attn_view bias_axes(const attn_view& v) {
  attn_view out = v;
  out.rank = 4;
  for (int i = 0; i < 4; ++i) {
    const int from = i - (4 - v.rank);
    out.shape[i] = from < 0 ? 1 : v.shape[from];
    out.stride[i] = out.shape[i] == 1 ? 0 : v.stride[from];
  }
  return out;
}

// (batch, head, row, element) with contiguous elements; a dense copy where they are not.
template <class T>
attn_view contiguous(const OpCall& c, const attn_view& v) {
  if (v.stride[3] == 1 || v.shape[3] == 1) return v;
  attn_view d = dense_like(v, parallel(c).scratch_array<T>(static_cast<size_t>(size_of(v)) + 1));
  copy_strided(v, d);
  return d;
}
template <class T>
kernels::View4<T> view4(const attn_view& v) {
  return {data<T>(v), v.stride[0], v.stride[1], v.stride[2]};
}
template <class T>
kernels::Scores4<T> scores4(const attn_view& v) {
  return {data<T>(v), v.stride[0], v.stride[1], v.stride[2], v.stride[3]};
}

// A mask as bytes of its own shape, dense: (batch, head, query, key), extents of 1 broadcast.
struct KeepBytes {
  uint8_t* data;
  int64_t shape[4];
  [[nodiscard]] int64_t rows() const { return shape[0] * shape[1] * shape[2]; }
  [[nodiscard]] kernels::Scores4<const uint8_t> scores() const {
    const auto step = [&](int axis, int64_t stride) { return shape[axis] == 1 ? 0 : stride; };
    return {data, step(0, shape[1] * shape[2] * shape[3]), step(1, shape[2] * shape[3]),
            step(2, shape[3]), step(3, 1)};
  }
};

inline KeepBytes keep_bytes(const OpCall& c, const attn_view& mask) {
  const attn_view f = mask_axes(mask);
  const ScoresShape shape{f.shape[0], f.shape[1], f.shape[2], f.shape[3]};
  return {read_mask(c, mask, shape), {shape[0], shape[1], shape[2], shape[3]}};
}

// Where a gradient is added: the slot itself, or zeros that are added to it afterwards.
template <class T>
class Target {
 public:
  Target(const OpCall& c, const attn_view* slot) : slot_(slot) {
    if (!slot) return;
    direct_ = slot->stride[3] == 1 || slot->shape[3] == 1;
    to_ = *slot;
    if (direct_) return;
    const auto n = static_cast<size_t>(size_of(*slot));
    to_ = dense_like(*slot, parallel(c).scratch_array<T>(n + 1));
    std::fill_n(data<T>(to_), n, T(0));
  }
  [[nodiscard]] kernels::View4<T> view() const {
    return slot_ ? view4<T>(to_) : kernels::View4<T>{};
  }
  void finish() const {
    if (slot_ && !direct_) add_strided(to_, *slot_);
  }

 private:
  const attn_view* slot_;
  attn_view to_{};
  bool direct_ = true;
};

}  // namespace attn::ops
