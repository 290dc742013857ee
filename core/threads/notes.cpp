// SPDX-License-Identifier: Apache-2.0
#include "core/threads/notes.hpp"

namespace attn {

void Notes::add_lanes(const std::string& what, int64_t used, int64_t width, double share) {
  constexpr double kMuch = 0.15;
  if (used < 1 || width < 2) return;
  const int64_t vectors = (used + width - 1) / width;
  const double idle = 1 - static_cast<double>(used) / static_cast<double>(vectors * width);
  if (idle < kMuch) return;
  add({"lanes",
       what + " fill " +
           (vectors > 1 ? std::to_string(vectors) + " vectors" : "a part of a vector") + " of " +
           std::to_string(width) +
           " numbers: " + std::to_string(static_cast<int>(100 * idle + 0.5)) +
           " % of the lanes idle. A multiple of " + std::to_string(width) + " fills them",
       idle * share});
}

}  // namespace attn
