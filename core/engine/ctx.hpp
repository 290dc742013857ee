// SPDX-License-Identifier: Apache-2.0
//
// The part of a context that operators of the library see: the thing behind the border's opaque
// attn_ctx.
#pragma once

#include "core/threads/parallel.hpp"

struct attn_ctx {
  attn::Parallel* parallel = nullptr;  // loops and scratch memory of the running operator

 protected:
  ~attn_ctx() = default;
};
