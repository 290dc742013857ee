// SPDX-License-Identifier: Apache-2.0
//
// Included once for each level, after its own header of this folder, with ATTN_ISA_LEVEL as its name (isa.cmake):
// instantiates every kernel of kernels.def and fills the table. No other globals and no static initialisers here: they
// would run before the CPU is asked what it can do.
#include "core/kernels/simd.hpp"
#include "core/kernels/table.hpp"

#define ATTN_KERNEL_BODIES
#include "core/kernels/kernels.def"
#undef ATTN_KERNEL_BODIES

namespace attn::kernels::tables {

extern constexpr KernelTable ATTN_ISA_LEVEL = {
    cpu::Level::ATTN_ISA_LEVEL,
#define ATTN_KERNEL(result, name, arguments) &simd::name<simd::Current>,
#include "core/kernels/kernels.def"
#undef ATTN_KERNEL
};

}  // namespace attn::kernels::tables
