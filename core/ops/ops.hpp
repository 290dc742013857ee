// SPDX-License-Identifier: Apache-2.0
//
// The tables of the library's own operators. Constant, never freed. [any-thread]
#pragma once

#include <attn/sdk/abi.h>

#include <cstddef>

namespace attn::ops {

#define ATTN_OP(name) const attn_op& op_##name();
#include "core/ops/ops.def"
#undef ATTN_OP

// All of them; *n is how many.
[[nodiscard]] const attn_op* const* core_ops(size_t* n);

}  // namespace attn::ops
