// SPDX-License-Identifier: Apache-2.0
#include "core/ops/ops.hpp"

#include <iterator>

namespace attn::ops {

const attn_op* const* core_ops(size_t* n) {
  static const attn_op* const kTable[] = {
#define ATTN_OP(name) &op_##name(),
#include "core/ops/ops.def"
#undef ATTN_OP
  };
  *n = std::size(kTable);
  return kTable;
}

}  // namespace attn::ops
