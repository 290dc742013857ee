// SPDX-License-Identifier: Apache-2.0
#include "masks.hpp"

#include <attn/sdk/read_mask.hpp>
#include <attn/sdk/worker_memory.hpp>

#include <algorithm>

namespace rpc {
namespace {

// Of head, query and key; the axes count from the end.
void read_axes(std::span<const int64_t> axes, bool normalised[3]) {
  std::fill_n(normalised, 3, false);
  if (axes.empty()) normalised[2] = true;
  for (const int64_t a : axes) normalised[a < 0 ? a + 3 : a - 1] = true;
}

}  // namespace

void Masks::check(const attn_view& mask, int64_t batch, int64_t heads, int64_t n,
                  std::span<const int64_t> axes) {
  for (const int64_t a : axes)
    if (a < -3 || a > 3 || a == 0) fail("axis {} is not one of head, query and key", a);
  const ScoresShape scores{batch, heads, n, n};
  check_mask(mask, scores);
  const attn_view v = mask_axes(mask);
  bool normalised[3];
  read_axes(axes, normalised);
  for (int i = 0; i < 3; ++i)
    if (normalised[i] && (v.shape[i + 1] > 1 || scores[static_cast<size_t>(i + 1)] == 1)) return;
  fail(
      "mask of shape {} has extent 1 along the normalised axis: it cannot mask any of the scores "
      "{} (batch, head, query, key)",
      shape_text(mask), scores_text(scores));
}

Masks::Masks(const OpCall& c, const attn_view* mask, int64_t batch, int64_t heads, int64_t n,
             std::span<const int64_t> axes)
    : heads_(heads), n_(n) {
  if (!mask) return;
  const int64_t entries = heads * n * n;
  keep_ = read_mask(c, *mask, {batch, heads, n, n});
  present_ = c.scratch_array<uint8_t>(static_cast<size_t>(batch * heads * n) + 1);
  bool normalised[3];
  read_axes(axes, normalised);
  const WorkerMemory any(c, [&](Arena& a) { a.take<uint8_t>(entries); });
  c.loop(batch, 1, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t b = begin; b < end; ++b) fill(b, normalised, any[worker].take<uint8_t>(entries));
  });
}

// Example b. any: for each slice along the normalised axes, whether it keeps something.
void Masks::fill(int64_t b, const bool normalised[3], uint8_t* any) {
  const int64_t n = n_;
  uint8_t* keep = keep_ + b * heads_ * n * n;
  uint8_t* present = present_ + b * heads_ * n;
  const int64_t step_k = normalised[2] ? 0 : 1, extent_k = normalised[2] ? 1 : n;
  const int64_t step_q = normalised[1] ? 0 : extent_k, extent_q = normalised[1] ? 1 : n;
  const int64_t step_h = normalised[0] ? 0 : extent_k * extent_q;
  std::fill_n(any, heads_ * n * n, uint8_t{0});
  std::fill_n(present, heads_ * n, uint8_t{0});
  for (int64_t h = 0; h < heads_; ++h) {
    for (int64_t i = 0; i < n; ++i) {
      const uint8_t* row = keep + (h * n + i) * n;
      for (int64_t j = 0; j < n; ++j) {
        const uint8_t k = row[j];
        present[h * n + j] |= k;
        any[h * step_h + i * step_q + j * step_k] |= k;
      }
    }
    if (std::count(present + h * n, present + (h + 1) * n, 1) == 0)
      std::fill_n(present + h * n, n, uint8_t{1});
  }
  for (int64_t h = 0; h < heads_; ++h)
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < n; ++j)
        if (!any[h * step_h + i * step_q + j * step_k]) keep[(h * n + i) * n + j] = 1;
}

int64_t Masks::present(int64_t unit, int64_t* list) const {
  int64_t count = 0;
  for (int64_t j = 0; j < n_; ++j)
    if (!present_ || present_[unit * n_ + j]) list[count++] = j;
  return count;
}

}  // namespace rpc
