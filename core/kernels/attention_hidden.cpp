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

bool keeps(const AttentionRow& row, int64_t key) {
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
  const int64_t heads = a.kv_heads, rows = a.batch * heads * a.keys;
  const auto row = [&](int64_t r) {
    return x.at(r / a.keys / heads, r / a.keys % heads, r % a.keys);
  };
  std::atomic<bool> finite = true;
  parallel.loop(rows, 256, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r)
      if (!all_finite(row(r), dim)) finite.store(false, std::memory_order_relaxed);
  });
  if (finite.load(std::memory_order_relaxed)) return x;
  float* copy = parallel.scratch_array<float>(static_cast<size_t>(rows * dim));
  parallel.loop(rows, 64, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r)
      for (int64_t d = 0; d < dim; ++d) copy[r * dim + d] = is_finite(row(r)[d]) ? row(r)[d] : 0.0f;
  });
  return {copy, heads * a.keys * dim, a.keys * dim, dim};
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
            if (!keeps(row[i], key[k])) continue;
            const float* v = a.v.at(b, g, key[k]);
            for (int64_t d = 0; d < a.value_dim; ++d)
              if (!is_finite(v[d])) row[i].o[d] += v[d];
          }
      }
    }
  });
}

}  // namespace attn::kernels::driver
