// SPDX-License-Identifier: Apache-2.0
#include "core/kernels/attention_notes.hpp"

#include <algorithm>

#include "core/kernels/attention_driver.hpp"

namespace attn::kernels {

namespace {

struct TilesSeen {
  int64_t tiles = 0, skipped = 0, full = 0;
};

// Tiles as the kernel has them where one head fills them: kTileRowsMax queries, a block of keys.
TilesSeen look_at_tiles(const AttentionArgs<float>& a) {
  const int64_t step = driver::block_keys(a);
  TilesSeen seen;
  for (int64_t first = 0; first < a.queries; first += kTileRowsMax) {
    const int64_t last = std::min(first + kTileRowsMax, a.queries) - 1;
    KeyRange some{a.keys, 0}, all{0, a.keys};  // keys in the bounds of some row, of all rows
    for (int64_t i = first; i <= last; ++i) {
      const KeyRange own = visible_keys(a, 0, 0, i);
      all = {std::max(all.begin, own.begin), std::min(all.end, own.end)};
      if (own.begin < own.end)
        some = {std::min(some.begin, own.begin), std::max(some.end, own.end)};
    }
    for (int64_t j = 0; j < a.keys; j += step) {
      const int64_t end = std::min(j + step, a.keys);
      const program::Seen rest =
          program::seen(*a.program, {{0, 0},
                                     {a.first_head, a.first_head},
                                     {position(a, 0, first), position(a, 0, last)},
                                     {j, end - 1}});
      ++seen.tiles;
      if (some.begin >= end || some.end <= j || rest == program::Seen::none)
        ++seen.skipped;
      else if (all.begin <= j && all.end >= end && rest == program::Seen::all)
        ++seen.full;
    }
  }
  return seen;
}

std::string instructions(const program::Code& code) {
  return std::to_string(code.lane_count) +
         (code.lane_count == 1 ? " instruction" : " instructions");
}

}  // namespace

void note_program(Notes& notes, const AttentionArgs<float>& a) {
  if (a.program == nullptr || a.batch == 0 || a.queries == 0 || a.keys == 0) return;
  if (has_score_program(a))
    notes.add("score program: " + instructions(a.program->score) + " a score");
  if (!has_rule(a)) return;
  const TilesSeen seen = look_at_tiles(a);
  const auto text = [](int64_t n) { return std::to_string(n); };
  notes.add(
      "mask rule: of " + text(seen.tiles) + " tiles of " + text(std::min(kTileRowsMax, a.queries)) +
      " queries and " + text(std::min(driver::block_keys(a), a.keys)) + " keys " +
      text(seen.skipped) + " are skipped, " + text(seen.full) + " full, " +
      text(seen.tiles - seen.skipped - seen.full) + " mixed; " +
      (a.program->rest.output_count == 0 ? "it bounds the keys of rows and costs nothing more"
                                         : instructions(a.program->rest) + " a score where mixed"));
}

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
