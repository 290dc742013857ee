// SPDX-License-Identifier: Apache-2.0
#define ATTN_ISA_TABLE kTableSse2
#define ATTN_ISA_LEVEL sse2
#define ATTN_ISA_ARCH Sse2
#include "core/kernels/isa/isa.inl.hpp"
