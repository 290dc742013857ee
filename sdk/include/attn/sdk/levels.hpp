// SPDX-License-Identifier: Apache-2.0
//
// The levels (instruction sets) of each family of processors beside `reference`, which every one has: worst first, each
// with the compiler's flags for files of that level. The first of a family is its baseline and needs none. Sources,
// CMake and tests are made from this list. A plugin takes it from dispatch.hpp. No memory, no errors.
#pragma once

#if defined(__x86_64__)
#define ATTN_SDK_LEVELS(X, ...)               \
  X(sse2, "", __VA_ARGS__)                    \
  X(avx2, "-mavx2 -mfma -mf16c", __VA_ARGS__) \
  X(avx512, "-mavx2 -mfma -mf16c -mavx512f -mavx512cd -mavx512dq -mavx512bw", __VA_ARGS__)
#elif defined(__aarch64__)
#define ATTN_SDK_LEVELS(X, ...) X(neon, "", __VA_ARGS__)
#else
#error "attn knows the instruction sets of x86_64 and aarch64"
#endif
