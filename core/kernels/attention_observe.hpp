// SPDX-License-Identifier: Apache-2.0
//
// What can be said about the weights of a call of attention (attention.hpp) without keeping them: memory linear in
// queries and keys. Of the weights before dropout. All outputs are dense; nullptr: not wanted. A row that gives 0 has
// no weights: -infinity as row_max and lse, entropy 0. Results are the same bits for any number of threads. [call-thread]
#pragma once

#include "core/kernels/attention.hpp"

namespace attn::kernels {

// Heads, queries and keys of the slice of a map, from the first on.
struct MapSlice {
  int64_t head = 0, heads = 0, query = 0, queries = 0, key = 0, keys = 0;
};

template <class T>
struct AttentionObserved {
  T* row_max = nullptr;      // (B, H, Q): the greatest score of the keys that the row keeps
  T* lse = nullptr;          // (B, H, Q): ln of the sum of exp(score), the sink's too; softmax
  T* entropy = nullptr;      // (B, H, Q): -sum of w ln w
  T* column_mass = nullptr;  // (B, H, K): sum of the weights over the queries
  T* distances =
      nullptr;  // (B, H, Q + K - 1): element Q - 1 + j - i has the sum of the weights of all such (i, j)
  int64_t top = 0;  // the so many greatest weights of each row, the first key first among equals
  T* top_weights = nullptr;     // (B, H, Q, top); 0 behind the last key with a weight
  int64_t* top_keys = nullptr;  // (B, H, Q, top); -1 there
  T* map = nullptr;             // (B, slice.heads, slice.queries, slice.keys)
  MapSlice slice{};

  [[nodiscard]] bool rows_alone() const {
    return column_mass == nullptr && distances == nullptr && top_keys == nullptr && map == nullptr;
  }
};

// attention(args) and what it tells, mostly by a second pass over the scores; row statistics of softmax in the first, but
// for row_max of rows whose sink is greater than all scores: another maximum for these would cost each call of the kernels.
void attention_observed(AttentionArgs<float> args, const AttentionObserved<float>& to,
                        Parallel& parallel);
void attention_observed(AttentionArgs<double> args, const AttentionObserved<double>& to,
                        Parallel& parallel);

// The same of weights that exist: (B, H, Q, K), stride k = 1. Without row_max and lse.
void observe_weights(int64_t batch, int64_t heads, int64_t queries, int64_t keys,
                     const Scores4<const float>& weights, const AttentionObserved<float>& to,
                     Parallel& parallel);
void observe_weights(int64_t batch, int64_t heads, int64_t queries, int64_t keys,
                     const Scores4<const double>& weights, const AttentionObserved<double>& to,
                     Parallel& parallel);

}  // namespace attn::kernels
