// SPDX-License-Identifier: Apache-2.0
//
// What is behind a handle: the private tail of attn_tensor, and the memory that views share.
//
// Both live in the context's header arena and die with the call. A view's gradient is the same offset into the
// gradient of its storage, so views, slices and reshapes need no node on the tape.
#pragma once

#include <attn/sdk/abi.h>

#include "core/tensor/dtype.hpp"

namespace attn::engine {

struct Weight;  // weights.hpp

// A dense piece of memory: an operator's output, an input, a weight or a cache.
struct Storage {
  void* data = nullptr;  // nullptr in a shape-only run
  void* grad = nullptr;  // as many elements as data; nullptr until a gradient arrives
  int64_t elements = 0;
  int32_t dtype = ATTN_F32;
  int32_t refs = 0;       // tensors that look at it
  bool in_arena = false;  // data goes back to the arena when refs reaches 0
  int64_t index = -1;     // the how-manieth that the call made for results; -1: memory of others
  bool grad_in_arena = false;
  void* grad_place = nullptr;  // where grad is to be, when one arrives; nullptr: in the arena
  bool wants_grad = false;     // a gradient may flow into it
  Weight* weight = nullptr;    // packed copies hang here
};

inline size_t bytes_of(const Storage& s) {
  return static_cast<size_t>(s.elements) * dtype_size(static_cast<attn_dtype>(s.dtype));
}

struct Tensor : attn_tensor {
  Storage* storage;
  int64_t offset;  // of the first element in the storage
};

inline Tensor* tail(attn_tensor* t) { return static_cast<Tensor*>(t); }
inline const Tensor* tail(const attn_tensor* t) { return static_cast<const Tensor*>(t); }

}  // namespace attn::engine
