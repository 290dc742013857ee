// SPDX-License-Identifier: Apache-2.0
#include "core/cpu/level.hpp"

#include <atomic>
#include <cstdlib>
#include <cstring>

#include "core/cpu/features.hpp"
#include "core/error/error.hpp"

namespace attn::cpu {
namespace {

#define ATTN_LEVEL(level, ...) Level::level,
constexpr Level kAll[] = {Level::reference, ATTN_SDK_LEVELS(ATTN_LEVEL, )};
#undef ATTN_LEVEL

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

// -1: not chosen yet. After a refused level the next call chooses again.
std::atomic<int> g_level{-1};

}  // namespace

const char* name(Level level) noexcept {
#define ATTN_LEVEL(level, ...) #level,
  static constexpr const char* kNames[] = {"reference", ATTN_SDK_LEVELS(ATTN_LEVEL, )};
#undef ATTN_LEVEL
  return kNames[static_cast<int>(level)];
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

std::string describe() { return model() + " (" + features() + ")"; }

}  // namespace attn::cpu
