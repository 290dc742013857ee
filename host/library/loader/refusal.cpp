// SPDX-License-Identifier: Apache-2.0
#include "host/library/loader/refusal.hpp"

#include <array>
#include <cstddef>

namespace attn::loader {
namespace {

// In the order of the enumeration.
constexpr std::array<const char*, 25> kNames = {"not_a_file",     "unreadable",
                                                "world_writable", "not_elf",
                                                "truncated",      "other_machine",
                                                "not_a_plugin",   "abi_major",
                                                "abi_minor",      "cannot_open",
                                                "crashed",        "exited",
                                                "hung",           "threw",
                                                "printed",        "changes_arithmetic",
                                                "bad_table",      "metadata_mismatch",
                                                "reserved_name",  "missing_operators",
                                                "duplicate",      "init_failed",
                                                "not_probed",     "locked",
                                                "changed"};
static_assert(static_cast<std::size_t>(RefusalKind::changed) + 1 == kNames.size());

}  // namespace

Refusal changes_arithmetic(const std::string& when) {
  return {RefusalKind::changes_arithmetic,
          "changes how its thread computes (rounding, denormals, traps or precision) " + when,
          "a library that leaves floating point as it finds it",
          "link it without -ffast-math and -Ofast, and let it set neither rounding nor traps"};
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (std::size_t at = text.find(from); at != text.npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
  return text;
}

const char* name(RefusalKind kind) noexcept { return kNames[static_cast<std::size_t>(kind)]; }

bool kind_from_name(const std::string& text, RefusalKind* out) noexcept {
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (text == kNames[i]) {
      *out = static_cast<RefusalKind>(i);
      return true;
    }
  }
  return false;
}

}  // namespace attn::loader
