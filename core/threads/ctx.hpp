// SPDX-License-Identifier: Apache-2.0
//
// The running call as operators of the library see it: the definition of the border's opaque attn_ctx.
#pragma once

#include <attn/sdk/abi.h>

#include "core/tensor/compact_rows.hpp"
#include "core/threads/observer.hpp"
#include "core/threads/parallel.hpp"

namespace attn {

// A matrix that is a whole float32 weight as the kernels take it: panels of kernels::pack_b, or, of another kind than
// float32, of kernels::compact. nullptr: take the weight itself.
struct PackedWeight {
  const void* panels = nullptr;
  StorageKind kind = StorageKind::float32;
  const uint32_t* pairs = nullptr;  // in place of both: of kernels::pack_bf16
};

// Flag of an operator of the library that asks compact_rows() for its inputs; every other operator gets float32.
inline constexpr uint32_t kTakesCompactRows = 1u << 31;

}  // namespace attn

struct attn_ctx {
  attn::Parallel* parallel = nullptr;  // loops and scratch memory of the running operator
  // Kept from call to call. No function: nothing is kept.
  attn::PackedWeight (*packed_weight)(attn_ctx* ctx, const attn_tensor* w) = nullptr;
  // Where t, whose data is nullptr, is kept in fewer bits.
  attn::CompactRows (*compact_rows)(const attn_tensor* t) = nullptr;
  attn::Observer* observer = nullptr;  // nullptr: nobody asks for observables

 protected:
  ~attn_ctx() = default;
};
