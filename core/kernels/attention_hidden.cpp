// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <bit>

#include "core/kernels/attention_driver.hpp"

namespace attn::kernels::driver {
namespace {

bool is_finite(float x) {
  constexpr uint32_t kExponent = 0x7F800000;
  return (std::bit_cast<uint32_t>(x) & kExponent) != kExponent;
}

bool keeps(const AttentionArgs<float>& a, const AttentionRow& row, int64_t key) {
  if (has_rule(a) && !program::sees<float>(*a.program, {row.b, row.h, row.p, key})) return false;
  return key >= row.begin && key < row.end && (row.mask == nullptr || row.mask[key] != 0) &&
         (row.bias == nullptr || row.bias[key] != -std::numeric_limits<float>::infinity());
}

}  // namespace

bool hides_keys(const AttentionArgs<float>& a) {
  return !sees_all(a) || a.mask.data != nullptr || a.lengths != nullptr || a.bias.data != nullptr;
}

// Without a branch, so that compilers make vectors of it.
bool all_finite(const float* x, int64_t n) {
  int32_t others = 0;
  for (int64_t i = 0; i < n; ++i) others += is_finite(x[i]) ? 0 : 1;
  return others == 0;
}

View4<const float> finite_copy(const AttentionArgs<float>& a, View4<const float> x, int64_t dim,
                               Parallel& parallel) {
  const int64_t heads = a.kv_heads, units = a.batch * heads;
  const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(a.keys * dim, 1));
  std::atomic<bool> finite = true;
  parallel.loop(units, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t unit = begin; unit < end; ++unit) {
      const float* row = x.at(unit / heads, unit % heads, 0);
      for (int64_t j = 0; j < a.keys; ++j, row += x.row)
        if (!all_finite(row, dim)) finite.store(false, std::memory_order_relaxed);
    }
  });
  if (finite.load(std::memory_order_relaxed)) return x;
  float* copy = parallel.scratch_array<float>(static_cast<size_t>(units * a.keys * dim));
  parallel.loop(units, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t unit = begin; unit < end; ++unit)
      for (int64_t j = 0; j < a.keys; ++j) {
        const float* row = x.at(unit / heads, unit % heads, j);
        float* to = copy + (unit * a.keys + j) * dim;
        for (int64_t d = 0; d < dim; ++d) to[d] = is_finite(row[d]) ? row[d] : 0.0f;
      }
  });
  return {copy, heads * a.keys * dim, a.keys * dim, dim};
}

bool spoils_rows(const AttentionArgs<float>& a, int64_t b, int64_t g, const View4<const float>& x,
                 int64_t dim) {
  if (!hides_keys(a)) return false;
  const KeyRange first = visible_keys(a, b, 0), last = visible_keys(a, b, a.queries - 1);
  // Where the structure alone decides, what the first and the last row see is seen by all.
  const bool alone =
      !has_rule(a) && a.mask.data == nullptr && a.lengths == nullptr && a.bias.data == nullptr;
  const KeyRange all = alone ? KeyRange{last.begin, first.end} : KeyRange{0, 0};
  for (int64_t j = first.begin; j < last.end; ++j)
    if ((j < all.begin || j >= all.end) && !all_finite(x.at(b, g, j), dim)) return true;
  return false;
}

void clear_others(float* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] = is_finite(x[i]) ? x[i] : 0.0f;
}

void add_other_values(const AttentionArgs<float>& a, Parallel& parallel) {
  const int64_t units = a.batch * a.kv_heads, rows = a.heads / a.kv_heads * a.queries;
  int64_t* found = parallel.scratch_array<int64_t>(static_cast<size_t>(units * a.keys));
  parallel.loop(units, 1, [&](int64_t first, int64_t last, int) {
    for (int64_t unit = first; unit < last; ++unit) {
      const int64_t b = unit / a.kv_heads, g = unit % a.kv_heads;
      int64_t *key = found + unit * a.keys, n = 0;
      for (int64_t j = 0; j < a.keys; ++j)
        if (!all_finite(a.v.at(b, g, j), a.value_dim)) key[n++] = j;
      AttentionRow row[kTileRowsMax];
      for (int64_t r = 0; n > 0 && r < rows; r += kTileRowsMax) {
        const int64_t count = std::min(kTileRowsMax, rows - r);
        fill_rows(a, nullptr, b, g, r, r + count, row);
        for (int64_t i = 0; i < count; ++i)
          for (int64_t k = 0; k < n; ++k) {
            if (!keeps(a, row[i], key[k])) continue;
            const float* v = a.v.at(b, g, key[k]);
            for (int64_t d = 0; d < a.value_dim; ++d)
              if (!is_finite(v[d])) row[i].o[d] += v[d];
          }
      }
    }
  });
}

}  // namespace attn::kernels::driver
