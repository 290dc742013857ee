// SPDX-License-Identifier: Apache-2.0
//
// Included once by each file of this folder, after it has defined ATTN_ISA_TABLE, ATTN_ISA_LEVEL and
// ATTN_ISA_ARCH: instantiates every kernel of kernels.def and fills the table. No other globals and no
// static initialisers here: they would run before the CPU is asked what it can do.
#include "core/kernels/simd.hpp"
#include "core/kernels/table.hpp"

#define ATTN_KERNEL_BODIES
#include "core/kernels/kernels.def"
#undef ATTN_KERNEL_BODIES

namespace attn::kernels {

extern constexpr KernelTable ATTN_ISA_TABLE = {
    cpu::Level::ATTN_ISA_LEVEL,
#define ATTN_KERNEL(result, name, arguments) &simd::name<simd::ATTN_ISA_ARCH>,
#include "core/kernels/kernels.def"
#undef ATTN_KERNEL
};

}  // namespace attn::kernels
