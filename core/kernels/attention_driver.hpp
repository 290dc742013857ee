// SPDX-License-Identifier: Apache-2.0
//
// What the drivers of the forward and the backward pass share: the rule of a call, the facts about each row, packed
// keys, the way rows are cut into tiles. Private to attention*.cpp. [any-thread]
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/kernels/attention.hpp"
#include "core/kernels/attention_tile.hpp"
#include "core/kernels/gemm_bf16.hpp"
#include "core/kernels/table.hpp"

namespace attn::kernels::driver {

[[nodiscard]] inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
[[nodiscard]] inline int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }

[[nodiscard]] AttentionRule make_rule(const AttentionArgs<float>& args);

// What scores are kept times: log2 e / kSoftmaxUnit for softmax, unless a program has to see them.
[[nodiscard]] inline float score_unit(const AttentionArgs<float>& args) {
  const bool softmax = args.probability.kind == Probability::softmax;
  return softmax && !has_score_program(args) ? kSoftmaxScale : 1.0f;
}

// After a call with a program: rows that it gave zeros have no keys.
void drop_zero_rows(const AttentionArgs<float>& args, int64_t rows, AttentionRow* row);

// Whether the bias is the same for all keys of a row and tells nothing: it matters beside a sink, to lse, and where it
// removes a row.
[[nodiscard]] inline bool bias_tells_nothing(const AttentionArgs<float>& a) {
  return a.bias.data != nullptr && a.bias.k == 0 && a.keys > 1 && a.sinks == nullptr &&
         a.lse.data == nullptr && a.fully_masked != FullyMaskedRows::zero_by_bias;
}

// Natural log-sum-exp of a row from what the forward pass of softmax saved of it. unit: score_unit().
[[nodiscard]] inline float row_lse(const float* saved, float unit) {
  return saved[1] == 0 ? -std::numeric_limits<float>::infinity()
                       : static_cast<float>(static_cast<double>(saved[0]) / unit +
                                            static_cast<double>(std::log(saved[1])));
}

// Arguments whose masks and biases have contiguous keys: copies into scratch those that have not. A bias that tells
// nothing is dropped.
[[nodiscard]] AttentionArgs<float> with_contiguous_masks(const AttentionArgs<float>& args,
                                                         Parallel& parallel);

// Weights of keys that a row does not keep are exact zeros, but zero times NaN or infinity is NaN. A call that hides
// keys from rows and ends with outputs that are no numbers is made again, with 0 in the place of values that are none;
// afterwards these are added to the rows that keep their keys.
[[nodiscard]] bool hides_keys(const AttentionArgs<float>& args);
[[nodiscard]] bool all_finite(const float* x, int64_t n);
// x (B, G, K, dim) itself when all of it is finite, else a copy with 0 in the place of what is not.
[[nodiscard]] View4<const float> finite_copy(const AttentionArgs<float>& args, View4<const float> x,
                                             int64_t dim, Parallel& parallel);
// Backward: whether x (B, G, K, dim) holds what is no number in keys that some row sees and another does not.
[[nodiscard]] bool spoils_rows(const AttentionArgs<float>& args, int64_t b, int64_t g,
                               const View4<const float>& x, int64_t dim);
void clear_others(float* x, int64_t n);
void add_other_values(const AttentionArgs<float>& args, Parallel& parallel);

// Whether the forward pass reads the keys as they lie in memory, because few rows use them: the sums of a score are in
// another order then.
[[nodiscard]] bool reads_keys_unpacked(const AttentionArgs<float>& args);
// Keys that are kept in fewer bits become float32, in scratch memory.
void widen_keys(AttentionArgs<float>& args, Parallel& parallel);

// The map of a stage before weights.
void write_scores(const AttentionArgs<float>& args, Parallel& parallel);

// Calls whose products are of bfloat16 (attention_bf16.cpp). spoilt: as AttentionTile has it.
[[nodiscard]] bool takes_bf16(const AttentionArgs<float>& args, const Parallel& parallel);
void attention_bf16(const AttentionArgs<float>& args, const AttentionRule& rule,
                    std::atomic<bool>* spoilt, Parallel& parallel);

// All keys that some query sees.
[[nodiscard]] KeyRange all_visible_keys(const AttentionArgs<float>& args, int64_t b);

// Rows r of key/value head g of example b, r = (head inside the group) * Q + query: fills row[0 .. end - begin).
// Backward: grads too, but not dbias.
void fill_rows(const AttentionArgs<float>& args, const AttentionGrads<float>* grads, int64_t b,
               int64_t g, int64_t begin, int64_t end, AttentionRow* row);

// Transposed panels of rows [first, last) of x (rows `stride` apart, depth elements); first is a multiple of the panel.
// Panel p goes to dst + p * panel * depth: dst is where the panel of row 0 would be.
void pack_panels(const KernelTable& table, int64_t panel, const float* x, int64_t stride,
                 int64_t depth, int64_t first, int64_t last, float* dst);

// Rows that lie far apart (heads of a projection) cost a sixth of the speed when they are read again for every group
// of queries: copied side by side when enough queries share the copy.
[[nodiscard]] inline bool copy_pays(int64_t stride, int64_t depth, int64_t queries) {
  return stride > pad16(depth) && queries >= 24;
}
// Rows [first, last) of x to dst, pad16(depth) apart; dst is where row 0 would be.
inline void copy_rows(const KernelTable& table, const float* x, int64_t stride, int64_t depth,
                      int64_t first, int64_t last, float* dst) {
  table.gemm_pack_panel(last - first, depth, pad16(depth), x + first * stride, stride, 1,
                        dst + first * pad16(depth));
}

// Keys of a block of the online softmax: keys and values of a block fill about half of a small L2.
[[nodiscard]] inline int64_t block_keys(const AttentionArgs<float>& a) {
  const int64_t depth = std::max<int64_t>(pad16(std::max(a.head_dim, a.value_dim)), 16);
  const int64_t keys = std::clamp<int64_t>(32768 / depth / 128 * 128, 128, kMostBlock);
  return a.tile > 0 ? std::clamp<int64_t>(a.tile / 128 * 128, 128, keys) : keys;
}

// Of the backward pass, which has more to keep: scores and their gradients of a tile and four blocks.
[[nodiscard]] inline int64_t block_keys_backward(const AttentionArgs<float>& a) {
  return std::max<int64_t>(block_keys(a) / 2 / 128 * 128, 128);
}

// Rows of a tile when `rows` are cut into equal tiles of at most `most` and at least `wanted` tiles, if there are
// so many rows; whole groups of 6.
[[nodiscard]] inline int64_t tile_rows(int64_t rows, int64_t most, int64_t wanted) {
  const int64_t tiles = std::max(divide_up(rows, most), std::min(wanted, divide_up(rows, 6)));
  return round_up(divide_up(rows, std::max<int64_t>(tiles, 1)), 6);
}

}  // namespace attn::kernels::driver
