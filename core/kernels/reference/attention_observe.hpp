// SPDX-License-Identifier: Apache-2.0
//
// What one row of weights adds to an AttentionObserved, as its comments say. [any-thread]
#pragma once

#include <algorithm>
#include <cmath>

#include "core/kernels/attention_observe.hpp"

namespace attn::kernels::reference {

struct ObservedShape {
  int64_t heads, queries;
};
struct ObservedPlace {
  int64_t b, h, i;
};

// w: weights of keys [keys.begin, keys.end), at their places; those of a row may come in several parts, in order.
// column, distance: element j belongs to key j; nullptr: not wanted. All but row_max, lse. All are added to.
template <class T>
void observe_row(const AttentionObserved<T>& to, const ObservedShape& shape, const ObservedPlace& p,
                 const KeyRange& keys, const T* w, double* column, double* distance) {
  const int64_t row = (p.b * shape.heads + p.h) * shape.queries + p.i;
  double sum = 0;
  for (int64_t j = keys.begin; j < keys.end; ++j) {
    const auto x = static_cast<double>(w[j]);
    if (column != nullptr) column[j] += x;
    if (distance != nullptr) distance[j] += x;
    if (to.entropy != nullptr && x != 0) sum -= x * std::log(x);
  }
  if (to.entropy != nullptr) to.entropy[row] += static_cast<T>(sum);
  for (int64_t j = keys.begin; to.top_keys != nullptr && j < keys.end; ++j) {
    T* weight = to.top_weights + row * to.top;
    int64_t* key = to.top_keys + row * to.top;
    int64_t at = to.top;
    for (; at > 0 && w[j] > weight[at - 1]; --at) {
      if (at == to.top) continue;
      weight[at] = weight[at - 1];
      key[at] = key[at - 1];
    }
    if (at == to.top) continue;
    weight[at] = w[j];
    key[at] = j;
  }
  const MapSlice& m = to.slice;
  if (to.map == nullptr || p.h < m.head || p.h >= m.head + m.heads || p.i < m.query ||
      p.i >= m.query + m.queries)
    return;
  T* map = to.map + ((p.b * m.heads + p.h - m.head) * m.queries + p.i - m.query) * m.keys;
  const int64_t end = std::min(keys.end, m.key + m.keys);
  for (int64_t j = std::max(keys.begin, m.key); j < end; ++j) map[j - m.key] = w[j];
}

}  // namespace attn::kernels::reference
