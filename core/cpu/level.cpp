// SPDX-License-Identifier: Apache-2.0
#include "core/cpu/level.hpp"

#include <cpuid.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "core/error/error.hpp"

namespace attn::cpu {
namespace {

struct Features {
  bool avx2 = false, fma = false, f16c = false;
  bool avx512f = false, avx512cd = false, avx512dq = false, avx512bw = false, avx512vl = false;
};

struct Registers {
  uint32_t a = 0, b = 0, c = 0, d = 0;
};

Registers cpuid(uint32_t leaf, uint32_t subleaf = 0) {
  Registers r;
  if (__get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d) == 0) return {};
  return r;
}

bool bit(uint32_t word, int index) { return (word >> index & 1u) != 0; }

// What the operating system saves on a context switch (XCR0). Only to be called when cpuid says OSXSAVE.
uint64_t saved_state() {
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

// A feature counts only when the CPU has it and the operating system saves its registers.
Features detect() {
  Features f;
  const Registers one = cpuid(1);
  if (!bit(one.c, 27)) return f;  // OSXSAVE
  const uint64_t state = saved_state();
  const bool ymm = (state & 0x6) == 0x6;           // SSE, AVX
  const bool zmm = ymm && (state & 0xE0) == 0xE0;  // opmask, upper halves, upper registers
  const Registers seven = cpuid(7);
  f.fma = ymm && bit(one.c, 12);
  f.f16c = ymm && bit(one.c, 29);
  f.avx2 = ymm && bit(one.c, 28) && bit(seven.b, 5);
  f.avx512f = zmm && bit(seven.b, 16);
  f.avx512dq = zmm && bit(seven.b, 17);
  f.avx512cd = zmm && bit(seven.b, 28);
  f.avx512bw = zmm && bit(seven.b, 30);
  f.avx512vl = zmm && bit(seven.b, 31);
  return f;
}

bool runs(Level level) {
  const Features f = detect();
  switch (level) {
    case Level::reference:
    case Level::sse2:
      return true;  // part of x86-64
    case Level::avx2:
      return f.avx2 && f.fma;
    case Level::avx512:
      return f.avx2 && f.fma && f.avx512f && f.avx512cd && f.avx512dq && f.avx512bw;
  }
  return false;
}

constexpr Level kAll[] = {Level::reference, Level::sse2, Level::avx2, Level::avx512};

std::string names(const std::vector<Level>& levels) {
  std::string text;
  for (const Level level : levels) text += (text.empty() ? "" : ", ") + std::string(name(level));
  return text;
}

[[noreturn]] void refuse(const std::string& parameter, const std::string& value,
                         const std::string& wrong) {
  const std::string expected = names(available());
  ErrorDetails details;
  details.where = parameter;
  details.parameter = parameter;
  details.value = value;
  details.expected = "one of " + expected;
  details.hint = "unset it to use the best level of this machine";
  throw InvalidArgument(parameter + "=" + value + ": " + wrong + "; expected one of " + expected +
                            ". Unset it to use the best level of this machine",
                        details);
}

Level choose() {
  const std::vector<Level> here = available();
  const char* wanted = std::getenv("ATTN_ISA");
  if (wanted == nullptr || *wanted == '\0') return here.back();
  for (const Level level : kAll) {
    if (std::strcmp(wanted, name(level)) != 0) continue;
    if (!runs(level)) refuse("ATTN_ISA", wanted, "this machine does not have this level");
    return level;
  }
  refuse("ATTN_ISA", wanted, "unknown level");
}

// -1: not asked for yet. A level refused is asked for again the next time.
std::atomic<int> g_level{-1};

}  // namespace

const char* name(Level level) noexcept {
  switch (level) {
    case Level::reference:
      return "reference";
    case Level::sse2:
      return "sse2";
    case Level::avx2:
      return "avx2";
    case Level::avx512:
      return "avx512";
  }
  return "unknown";
}

std::vector<Level> available() {
  std::vector<Level> here;
  for (const Level level : kAll) {
    if (runs(level)) here.push_back(level);
  }
  return here;
}

Level level() {
  int known = g_level.load(std::memory_order_relaxed);
  if (known < 0) {
    known = static_cast<int>(choose());
    g_level.store(known, std::memory_order_relaxed);
  }
  return static_cast<Level>(known);
}

void set_level(Level wanted) {
  if (!runs(wanted)) refuse("level", name(wanted), "this machine does not have this level");
  g_level.store(static_cast<int>(wanted), std::memory_order_relaxed);
}

std::string describe() {
  std::string model;
  if (cpuid(0x80000000u).a >= 0x80000004u) {
    for (uint32_t leaf = 0x80000002u; leaf <= 0x80000004u; ++leaf) {
      const Registers r = cpuid(leaf);
      char text[16];
      std::memcpy(text, &r, sizeof text);
      model.append(text, sizeof text);
    }
    model = model.c_str();  // ends at the first NUL
    while (!model.empty() && model.back() == ' ') model.pop_back();
    model.erase(0, model.find_first_not_of(' '));
  }
  if (model.empty()) model = "x86-64";
  const Features f = detect();
  std::string list = "sse2";
  const auto add = [&](bool has, const char* text) {
    if (has) list += std::string(" ") + text;
  };
  add(f.avx2, "avx2");
  add(f.fma, "fma");
  add(f.f16c, "f16c");
  add(f.avx512f, "avx512f");
  add(f.avx512cd, "avx512cd");
  add(f.avx512dq, "avx512dq");
  add(f.avx512bw, "avx512bw");
  add(f.avx512vl, "avx512vl");
  return model + " (" + list + ")";
}

}  // namespace attn::cpu
