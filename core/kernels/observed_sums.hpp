// SPDX-License-Identifier: Apache-2.0
//
// Sums over the rows of each head, for attention_observe.cpp. The rows of a unit (heads that share keys, one after
// another) are cut into chunks at places that depend on the shape alone; each chunk has sums of its own for the heads
// that it meets, and they are added in order: the same bits for any number of threads. [any-thread]
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/kernels/attention_observe.hpp"
#include "core/kernels/attention_tile.hpp"

namespace attn::kernels {

class ObservedSums {
 public:
  // group: heads of a unit. column, distance: which sums are wanted.
  ObservedSums(int64_t n_units, int64_t group, int64_t queries, int64_t keys, bool column,
               bool distance, Parallel& parallel)
      : units(n_units),
        rows(group * queries),
        chunk(std::max(kTileRowsMax, (rows + kChunks - 1) / kChunks)),
        chunks((rows + chunk - 1) / chunk),
        group_(group),
        queries_(queries),
        keys_(column ? keys : 0),
        places_(distance ? queries + keys - 1 : 0),
        heads_(most_heads(chunk)) {
    const int64_t n = units * chunks * heads_ * width();
    sums_ = parallel.scratch_array<double>(static_cast<size_t>(n) + 1);
    std::fill_n(sums_, n, 0.0);
  }
  const int64_t units, rows, chunk, chunks;

  [[nodiscard]] int64_t first_head(int64_t row) const { return row / queries_; }
  // Heads that `count` rows can meet.
  [[nodiscard]] int64_t most_heads(int64_t count) const {
    return std::min(group_, (count + queries_ - 2) / queries_ + 1);
  }
  [[nodiscard]] double* column(int64_t unit, int64_t part, int64_t head) const {
    return sums_ + ((unit * chunks + part) * heads_ + head - first_head(part * chunk)) * width();
  }
  [[nodiscard]] double* distance(int64_t unit, int64_t part, int64_t head) const {
    return column(unit, part, head) + keys_;
  }
  // Of all chunks, to (units, group, keys) and (units, group, places).
  template <class T>
  void write(T* columns, T* distances, Parallel& parallel) const {
    parallel.loop(units * group_, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t unit = i / group_, head = i % group_;
        const int64_t from = head * queries_ / chunk, to = ((head + 1) * queries_ - 1) / chunk;
        double* sum = column(unit, from, head);
        for (int64_t part = from + 1; part <= to; ++part) {
          const double* more = column(unit, part, head);
          for (int64_t j = 0; j < width(); ++j) sum[j] += more[j];
        }
        for (int64_t j = 0; j < keys_; ++j) columns[i * keys_ + j] = static_cast<T>(sum[j]);
        for (int64_t j = 0; j < places_; ++j)
          distances[i * places_ + j] = static_cast<T>(sum[keys_ + j]);
      }
    });
  }

 private:
  static constexpr int64_t kChunks = 8;
  [[nodiscard]] int64_t width() const { return keys_ + places_; }

  int64_t group_, queries_, keys_, places_, heads_;
  double* sums_ = nullptr;
};

}  // namespace attn::kernels
