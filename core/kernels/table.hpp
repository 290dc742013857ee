// SPDX-License-Identifier: Apache-2.0
//
// The kernels of one instruction set as a table of function pointers, and the table in use.
//
// kernels.def lists them; isa/isa.inl.hpp fills one constant table for each level by instantiating the templates of the
// *.inl.hpp files for its Arch. Callers take table() once for each operator, not for each row.
// Kernels throw nothing, allocate nothing and start no thread. [any-thread]
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/cpu/level.hpp"

#define ATTN_KERNEL_FACES
#include "core/kernels/kernels.def"
#undef ATTN_KERNEL_FACES

namespace attn::kernels {

struct KernelTable {
  cpu::Level level;
#define ATTN_KERNEL(result, name, arguments) result(*name) arguments;
#include "core/kernels/kernels.def"
#undef ATTN_KERNEL
};

// The table of cpu::level(). The level `reference` has none: throws Failure; callers ask use_kernels() first
// and take the scalar code of core/kernels/reference/ otherwise. Throws InvalidArgument as cpu::level().
[[nodiscard]] const KernelTable& table();

[[nodiscard]] inline bool use_kernels() { return cpu::level() != cpu::Level::reference; }

// One for each level but the reference.
namespace tables {
#define ATTN_TABLE(level, ...) extern const KernelTable level;
ATTN_SDK_LEVELS(ATTN_TABLE, )
#undef ATTN_TABLE
}  // namespace tables

}  // namespace attn::kernels
