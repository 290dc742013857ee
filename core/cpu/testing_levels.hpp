// SPDX-License-Identifier: Apache-2.0
//
// For tests: the same at every level that this machine runs.
#pragma once

#include "core/cpu/level.hpp"

namespace attn::cpu {

// f() at each level; then the level is what it was.
template <class F>
void at_each_level(F&& f) {
  const Level before = level();
  for (const Level each : available()) {
    set_level(each);
    f();
  }
  set_level(before);
}

}  // namespace attn::cpu
