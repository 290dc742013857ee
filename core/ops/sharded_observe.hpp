// SPDX-License-Identifier: Apache-2.0
//
// Observables of a sequence that several ranks share, for sharded_attention.cpp: those of the whole call. Each rank has
// the rows of its own queries; sums over queries are those of all ranks, the same bits on each. What maxima and sums of
// the rows do not tell comes from a second pass over the shards, in order, whose weights exist for a few rows at a time.
// [call-thread]
#pragma once

#include "core/kernels/reference/attention_observe.hpp"
#include "core/ops/observe_weights.hpp"
#include "core/ops/sharded_attention.hpp"

namespace attn::ops::shards {

constexpr int64_t kWeightsHeld = 1 << 20;  // at a time, of all heads; at least one row of each

// Adds what the ranks have, in their order.
inline void add_up(const OpCall& c, const ProcessGroup& ranks, const Shared& s, double* sums,
                   int64_t n) {
  if (n == 0) return;
  double* own = parallel(c).scratch_array<double>(static_cast<size_t>(n));
  double* received = parallel(c).scratch_array<double>(static_cast<size_t>(n));
  std::copy_n(sums, n, own);
  std::fill_n(sums, n, 0.0);
  for (int rank = 0; rank < s.size; ++rank) {
    double* from = rank == s.rank ? own : received;
    ranks.start_broadcast(rank, from, static_cast<uint64_t>(n) * sizeof(double));
    ranks.wait();
    for (int64_t i = 0; i < n; ++i) sums[i] += from[i];
  }
}

template <class T>
class ObservedShards {
 public:
  // Every rank asks for the same.
  ObservedShards(const OpCall& c, const Shared& s, Observer& observer)
      : c_(c),
        s_(s),
        told_(observer, parallel(c), s.b, s.h, s.own(), s.total(), true, true, s.begin(s.rank),
              s.total()),
        columns_(told_.to.column_mass == nullptr ? 0 : s.total()),
        places_(told_.to.distances == nullptr ? 0 : 2 * s.total() - 1) {}

  // Whether shards have to be visited once more.
  [[nodiscard]] bool needs_weights() const {
    return told_.to.entropy != nullptr || !told_.to.rows_alone();
  }

  // state: maximum and sum of each own row.
  void begin(const T* state) {
    state_ = state;
    const kernels::AttentionObserved<T>& to = told_.to;
    const int64_t rows = s_.b * s_.h * s_.own(), sums = s_.b * s_.h * (columns_ + places_);
    const T unit = use_kernels<T>() ? T(kernels::kSoftmaxScale) : T(1);
    for (int64_t r = 0; r < rows; ++r) {
      const T max = state[2 * r] / unit;
      if (to.row_max != nullptr) to.row_max[r] = max;
      if (to.lse != nullptr) to.lse[r] = max + std::log(state[2 * r + 1]);
    }
    if (to.entropy != nullptr) std::fill_n(to.entropy, rows, T(0));
    if (to.top_keys != nullptr) {
      std::fill_n(to.top_weights, rows * to.top, T(0));
      std::fill_n(to.top_keys, rows * to.top, int64_t{-1});
    }
    const kernels::MapSlice& m = to.slice;
    if (to.map != nullptr) std::fill_n(to.map, s_.b * m.heads * m.queries * m.keys, T(0));
    sums_ = parallel(c_).template scratch_array<double>(static_cast<size_t>(sums) + 1);
    std::fill_n(sums_, sums, 0.0);
  }

  // Queries of a visit to a shard of so many keys.
  [[nodiscard]] int64_t step(int64_t keys) const {
    return std::clamp<int64_t>(kWeightsHeld / std::max<int64_t>(s_.b * s_.h * keys, 1), 1,
                               std::max<int64_t>(s_.own(), 1));
  }

  // part: maximum and sum, w: weights over a shard of the keys alone, dense, of own rows [first, first + count) of
  // every head; w becomes those of the whole rows.
  void visit(int shard, int64_t first, int64_t count, const T* part, T* w) {
    const T power = use_kernels<T>() ? T(kernels::kSoftmaxUnit) : T(1.4426950408889634074);
    const int64_t keys = s_.tokens(shard), key = s_.begin(shard);
    parallel(c_).loop(s_.b * s_.h, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t head = begin; head < end; ++head) {
        double* column = sums_ + head * (columns_ + places_);
        for (int64_t r = 0; r < count; ++r) {
          const int64_t at = head * count + r, i = first + r;
          if (part[2 * at + 1] == 0) continue;
          const T* whole = state_ + 2 * (head * s_.own() + i);
          const T factor =
              part[2 * at + 1] * std::exp2((part[2 * at] - whole[0]) * power) / whole[1];
          T* row = w + at * keys;
          for (int64_t j = 0; j < keys; ++j) row[j] *= factor;
          const int64_t query = s_.begin(s_.rank) + i;
          kernels::reference::observe_row(
              told_.to, {s_.h, s_.own()}, {head / s_.h, head % s_.h, i}, {key, key + keys},
              row - key, columns_ == 0 ? nullptr : column,
              places_ == 0 ? nullptr : column + columns_ + s_.total() - 1 - query);
        }
      }
    });
  }

  void finish(const ProcessGroup& ranks) {
    const int64_t width = columns_ + places_;
    add_up(c_, ranks, s_, sums_, s_.b * s_.h * width);
    for (int64_t head = 0; head < s_.b * s_.h; ++head) {
      for (int64_t j = 0; j < columns_; ++j)
        told_.to.column_mass[head * columns_ + j] = static_cast<T>(sums_[head * width + j]);
      for (int64_t j = 0; j < places_; ++j)
        told_.to.distances[head * places_ + j] = static_cast<T>(sums_[head * width + columns_ + j]);
    }
    told_.give();
  }

 private:
  const OpCall& c_;
  const Shared& s_;
  ObservedWeights<T> told_;
  int64_t columns_, places_;
  const T* state_ = nullptr;
  double* sums_ = nullptr;
};

}  // namespace attn::ops::shards
