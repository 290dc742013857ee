// SPDX-License-Identifier: Apache-2.0
//
// The running call as operators of the library see it: the definition of the border's opaque attn_ctx.
#pragma once

#include <attn/sdk/abi.h>

#include "core/threads/observer.hpp"
#include "core/threads/parallel.hpp"

struct attn_ctx {
  attn::Parallel* parallel = nullptr;  // loops and scratch memory of the running operator
  // The panels (kernels::pack_b) of a float32 matrix that is a whole weight, kept from call to call; nullptr: w is no
  // such matrix. No function: no panels are kept.
  const float* (*packed_weight)(const attn_tensor* w) = nullptr;
  attn::Observer* observer = nullptr;  // nullptr: nobody asks for observables

 protected:
  ~attn_ctx() = default;
};
