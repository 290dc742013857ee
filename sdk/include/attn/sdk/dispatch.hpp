// SPDX-License-Identifier: Apache-2.0
//
// A plugin's KERNELS (attn_add_plugin(), simd.hpp), one copy for each instruction set, chosen when they are called.
//
//   namespace mylab {                                                   // loops.hpp, which all files include
//   struct Loops { void (*scale)(int64_t n, float a, float* x); };
//   const Loops& loops(const char* level);
//   }
//   ATTN_SDK_EXPORT(mylab, Loops, loops, {scale})                       // once in the KERNELS
//   ATTN_SDK_DISPATCH(mylab, Loops, loops)                              // once in the SOURCES: defines loops()
//   mylab::loops(c.raw().engine->cpu_level()).scale(n, 2, x);           // in an operator
//
// The level of the host counts (ATTN_ISA), not the CPU alone; `reference` is the copy whose vectors are single numbers.
#pragma once

#include <attn/sdk/levels.hpp>

#include <string_view>

#define ATTN_SDK_DECLARE_LEVEL(level, flags, Table, name) \
  namespace level {                                       \
  extern const Table name##_table;                        \
  }
#define ATTN_SDK_CHOOSE_LEVEL(level, flags, Table, name) \
  if (std::string_view(running) == #level) return level::name##_table;
#define ATTN_SDK_DISPATCH(space, Table, name)           \
  namespace space {                                     \
  ATTN_SDK_LEVELS(ATTN_SDK_DECLARE_LEVEL, Table, name)  \
  ATTN_SDK_DECLARE_LEVEL(reference, "", Table, name)    \
  const Table& name(const char* running) {              \
    ATTN_SDK_LEVELS(ATTN_SDK_CHOOSE_LEVEL, Table, name) \
    return reference::name##_table;                     \
  }                                                     \
  }
