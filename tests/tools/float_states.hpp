// SPDX-License-Identifier: Apache-2.0
//
// How an application may have set the arithmetic of its thread, other than every program starts with.
#pragma once

#include "core/cpu/float_state.hpp"

namespace attn::testing {

#if defined(__x86_64__)
inline constexpr cpu::FloatState kUpwards{.sse = 0x5F80}, kFlushing{.sse = 0x9FC0};
inline constexpr cpu::FloatState kOtherStates[] = {
    kUpwards,
    kFlushing,                       // denormals are zero
    {.sse = 0x7F80},                 // towards zero
    {.sse = 0x1D00},                 // traps for invalid operations, zero divisors and overflows
    {.sse = 0x1F80, .x87 = 0x007F},  // x87 in single precision
};
#else
inline constexpr cpu::FloatState kUpwards{.fpcr = 0x400000}, kFlushing{.fpcr = 0x1000000};
inline constexpr cpu::FloatState kOtherStates[] = {
    kUpwards,
    kFlushing,
    {.fpcr = 0xC00000},   // towards zero
    {.fpcr = 0x2000000},  // one NaN for all
};
#endif

}  // namespace attn::testing
