// SPDX-License-Identifier: Apache-2.0
#define ATTN_ISA_TABLE kTableAvx512
#define ATTN_ISA_LEVEL avx512
#define ATTN_ISA_ARCH Avx512
#include "core/kernels/isa/isa.inl.hpp"
