// SPDX-License-Identifier: Apache-2.0
#if defined(__aarch64__)
#include "core/cpu/features.hpp"

namespace attn::cpu {

bool runs(Level) { return true; }  // NEON is part of aarch64

bool has_amx() { return false; }
bool has_avx512_bf16() { return false; }

std::string model() { return "aarch64"; }

std::string features() { return "neon"; }

}  // namespace attn::cpu
#endif
