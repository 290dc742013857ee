// SPDX-License-Identifier: Apache-2.0
//
// For tests: the same at every level that this machine runs.
#pragma once

#include "core/cpu/level.hpp"
#include "tests/tools/build.hpp"

namespace attn::cpu {

// Whether this level, the highest, is to see every kind of a thing; of others a few are enough.
inline bool thorough() { return level() == available().back() && !test::sanitized_for_threads; }

// f() at each level; then the level is what it was. All vector levels have the same threads: ThreadSanitizer, with which
// this takes minutes, sees one of them.
template <class F>
void at_each_level(F&& f) {
  const Level before = level();
  for (const Level each : available()) {
    if (test::sanitized_for_threads && each != Level::reference && each != before) continue;
    set_level(each);
    f();
  }
  set_level(before);
}

}  // namespace attn::cpu
