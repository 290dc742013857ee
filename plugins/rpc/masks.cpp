// SPDX-License-Identifier: Apache-2.0
#include "masks.hpp"

#include <attn/sdk/keep.hpp>

#include <algorithm>

namespace rpc {
namespace {

// (K), (B, K), (B, Q, K), (B, H, Q, K) with four axes.
attn_view four_axes(const attn_view& v) {
  static constexpr int kAxes[5][4] = {{}, {3}, {0, 3}, {0, 2, 3}, {0, 1, 2, 3}};
  attn_view out = v;
  out.rank = 4;
  std::fill_n(out.shape, 4, int64_t{1});
  std::fill_n(out.stride, 4, int64_t{0});
  for (int i = 0; i < v.rank; ++i) {
    const int axis = kAxes[v.rank][i];
    out.shape[axis] = v.shape[i];
    out.stride[axis] = v.shape[i] == 1 ? 0 : v.stride[i];
  }
  return out;
}

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
    if (a < -3 || a > 3 || a == 0)
      fail("axis %lld is not one of head, query and key", static_cast<long long>(a));
  const std::string scores = "(" + std::to_string(batch) + ", " + std::to_string(heads) + ", " +
                             std::to_string(n) + ", " + std::to_string(n) + ")";
  const int64_t wanted[] = {batch, heads, n, n};
  bool fits = mask.rank >= 1 && mask.rank <= 4;
  const attn_view v = fits ? four_axes(mask) : mask;
  for (int i = 0; i < 4 && fits; ++i) fits = v.shape[i] == 1 || v.shape[i] == wanted[i];
  if (!fits)
    fail("mask of shape %s does not broadcast to (batch, head, query, key) = %s",
         shape_text(mask).c_str(), scores.c_str());
  bool normalised[3];
  read_axes(axes, normalised);
  for (int i = 0; i < 3; ++i)
    if (normalised[i] && (v.shape[i + 1] > 1 || wanted[i + 1] == 1)) return;
  fail(
      "mask of shape %s has extent 1 along the normalised axis: it cannot mask any of the scores "
      "%s (batch, head, query, key)",
      shape_text(mask).c_str(), scores.c_str());
}

Masks::Masks(const OpCall& c, const attn_view* mask, int64_t batch, int64_t heads, int64_t n,
             std::span<const int64_t> axes)
    : heads_(heads), n_(n) {
  if (!mask) return;
  const int64_t entries = heads * n * n;
  keep_ = c.scratch_array<uint8_t>(static_cast<size_t>(batch * entries) + 1);
  present_ = c.scratch_array<uint8_t>(static_cast<size_t>(batch * heads * n) + 1);
  auto* any = c.scratch_array<uint8_t>(static_cast<size_t>(c.concurrency() * entries) + 1);
  const attn_view v = four_axes(*mask);
  bool normalised[3];
  read_axes(axes, normalised);
  c.loop(batch, 1, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t b = begin; b < end; ++b) fill(v, b, normalised, any + worker * entries);
  });
}

// Example b. any: for each slice along the normalised axes, whether it keeps something.
void Masks::fill(const attn_view& mask, int64_t b, bool normalised[3], uint8_t* any) {
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
      uint8_t* row = keep + (h * n + i) * n;
      read_keep(mask, b * mask.stride[0] + h * mask.stride[1] + i * mask.stride[2], mask.stride[3],
                n, row);
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
