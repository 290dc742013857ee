/* SPDX-License-Identifier: Apache-2.0 */
/* Changes how its thread computes, FIXTURE_WAY, while it is loaded, asked for its table or initialised
 * (FIXTURE_LOAD, FIXTURE_ENTRY, FIXTURE_START), or in each call of its type (FIXTURE_CALLS). */
#include <attn/sdk/abi.h>

#if defined(__x86_64__)
#include <xmmintrin.h>
static inline void round_up(void) { _mm_setcsr(_mm_getcsr() | 0x4000u); }
static inline void flush_denormals(void) { _mm_setcsr(_mm_getcsr() | 0x8040u); }
static inline void trap(void) { _mm_setcsr(_mm_getcsr() & ~0x80u); }
static inline void shorten_x87(void) {
  const uint16_t word = 0x007F;
  __asm__ volatile("fldcw %0" : : "m"(word));
}
#else
static inline void set_bits(uint64_t bits) {
  uint64_t word;
  __asm__ volatile("mrs %0, fpcr" : "=r"(word));
  __asm__ volatile("msr fpcr, %0" : : "r"(word | bits));
}
static inline void round_up(void) { set_bits(0x400000); }
static inline void flush_denormals(void) { set_bits(0x1000000); }
/* There are neither traps nor x87: rounding down and one NaN for all. */
static inline void trap(void) { set_bits(0x800000); }
static inline void shorten_x87(void) { set_bits(0x2000000); }
#endif

#ifdef FIXTURE_LOAD
__attribute__((constructor)) static void on_load(void) { FIXTURE_WAY(); }
#endif
#ifdef FIXTURE_START
static int32_t fixture_init(const attn_engine* engine, attn_error* error) {
  (void)engine;
  (void)error;
  FIXTURE_WAY();
  return ATTN_OK;
}
#define FIXTURE_INIT fixture_init
#endif
#ifdef FIXTURE_CALLS
#define FIXTURE_ON_CALL FIXTURE_WAY
#endif
#ifdef FIXTURE_ENTRY
#define FIXTURE_NO_ENTRY
#endif
#include "minimal.h"
#ifdef FIXTURE_ENTRY
ATTN_EXPORT const attn_plugin* attn_plugin_v1(void) {
  FIXTURE_WAY();
  return &plugin;
}
#endif
