// SPDX-License-Identifier: Apache-2.0
#include "core/kernels/attention_notes.hpp"

#include <algorithm>

namespace attn::kernels {

void note_vectors(Notes& notes, const AttentionArgs<float>& a, const GemmLayout& layout,
                  bool split) {
  // Scores and values share the work by their sizes.
  const auto all = static_cast<double>(std::max<int64_t>(a.head_dim + a.value_dim, 1));
  const double scores = static_cast<double>(a.head_dim) / all;
  if (a.head_dim == a.value_dim) {
    notes.add_lanes("heads of " + std::to_string(a.head_dim), a.head_dim, layout.width,
                    split ? 1 : 1 - scores);
  } else {
    if (split)
      notes.add_lanes("keys of " + std::to_string(a.head_dim), a.head_dim, layout.width, scores);
    notes.add_lanes("values of " + std::to_string(a.value_dim), a.value_dim, layout.width,
                    1 - scores);
  }
  if (!split) notes.add_lanes(std::to_string(a.keys) + " keys", a.keys, layout.width, scores);
}

}  // namespace attn::kernels
