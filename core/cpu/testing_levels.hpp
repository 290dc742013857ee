// SPDX-License-Identifier: Apache-2.0
//
// For tests: the same at every level that this machine runs.
#pragma once

#include "core/cpu/level.hpp"

namespace attn::cpu {

// f() at each level; then the level is what it was. All vector levels have the same threads: ThreadSanitizer, with which
// this takes minutes, sees one of them.
template <class F>
void at_each_level(F&& f) {
  const Level before = level();
  for (const Level each : available()) {
#ifdef __SANITIZE_THREAD__
    if (each != Level::reference && each != before) continue;
#endif
    set_level(each);
    f();
  }
  set_level(before);
}

}  // namespace attn::cpu
