// SPDX-License-Identifier: Apache-2.0
#define ATTN_ISA_TABLE kTableAvx2
#define ATTN_ISA_LEVEL avx2
#define ATTN_ISA_ARCH Avx2
#include "core/kernels/isa/isa.inl.hpp"
