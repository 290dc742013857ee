// SPDX-License-Identifier: Apache-2.0
//
// What every operator file of the library includes: the SDK's way of writing operators, plus the
// two things that only the library's own operators have: its parallel loops and the choice between
// SIMD kernels and the scalar reference. One file an operator: shape rule, forward, vjp, cost, and
// its line in ops.def.
#pragma once

#include <attn/sdk/operator.hpp>

#include "core/cpu/level.hpp"
#include "core/threads/ctx.hpp"

namespace attn::ops {

using namespace attn::sdk;

inline Parallel& parallel(const OpCall& c) { return *c.raw().ctx->parallel; }

// SIMD kernels compute in float; double, and ATTN_ISA=reference, take the scalar reference.
template <class T>
bool use_kernels() {
  return sizeof(T) == sizeof(float) && cpu::level() != cpu::Level::reference;
}

}  // namespace attn::ops
