// SPDX-License-Identifier: Apache-2.0
#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

#include "core/cpu/features.hpp"

namespace attn::cpu {

// The compiler's own library reads cpuid, and counts a feature only when the operating system saves its registers.
#define ATTN_HAS(feature) (__builtin_cpu_supports(feature) != 0)

// Not every compiler knows it by name; whether its registers are saved is said by avx2.
static bool has_f16c() {
  uint32_t a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

bool runs(Level level) {
  __builtin_cpu_init();
  switch (level) {
    case Level::reference:
    case Level::sse2:
      return true;  // part of x86-64
    case Level::avx2:
      return ATTN_HAS("avx2") && ATTN_HAS("fma") && has_f16c();
    case Level::avx512:
      return runs(Level::avx2) && ATTN_HAS("avx512f") && ATTN_HAS("avx512cd") &&
             ATTN_HAS("avx512dq") && ATTN_HAS("avx512bw");
  }
  return false;
}

// Compilers name the bits of cpuid for bfloat16 and for tiles differently.
bool has_avx512_bf16() {
  constexpr uint32_t kAvx512Bf16 = 1u << 5;
  uint32_t a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & kAvx512Bf16) != 0 &&
         runs(Level::avx512);
}

// Asks Linux as well, which lends the registers of tiles to a process that asks (arch_prctl, ARCH_REQ_XCOMP_PERM) where it
// saves them.
static bool ask_for_amx() {
  constexpr uint32_t kAmxBf16 = 1u << 22, kAmxTile = 1u << 24;
  constexpr long kRequest = 0x1023, kTileData = 18;
  uint32_t a = 0, b = 0, c = 0, d = 0;
  const bool tiles =
      __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & kAmxBf16) != 0 && (d & kAmxTile) != 0;
  return tiles && has_avx512_bf16() && syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
}

bool has_amx() {
  static const bool here = ask_for_amx();
  return here;
}

std::string model() {
  std::string name;
  for (uint32_t leaf = 0x80000002u; leaf <= 0x80000004u; ++leaf) {
    uint32_t words[4] = {};
    __get_cpuid(leaf, &words[0], &words[1], &words[2], &words[3]);
    name.append(reinterpret_cast<const char*>(words), sizeof words);
  }
  name = name.c_str();  // ends at the first NUL
  while (!name.empty() && name.back() == ' ') name.pop_back();
  name.erase(0, name.find_first_not_of(' '));
  return name.empty() ? "x86-64" : name;
}

std::string features() {
  __builtin_cpu_init();
  std::string list = "sse2";
#define ATTN_ADD(feature) \
  if (ATTN_HAS(feature)) list += " " feature;
  ATTN_ADD("avx2")
  ATTN_ADD("fma")
  ATTN_ADD("avx512f")
  ATTN_ADD("avx512cd")
  ATTN_ADD("avx512dq")
  ATTN_ADD("avx512bw")
  ATTN_ADD("avx512vl")
#undef ATTN_ADD
  if (has_avx512_bf16()) list += " avx512_bf16";
  if (has_amx()) list += " amx_bf16";
  return list;
}

}  // namespace attn::cpu
#endif
