// SPDX-License-Identifier: Apache-2.0
//
// Fused attention: o = dropout(probability(program(cap(scale * q k^T)) + bias, masks)) v, and its gradient. The scores
// exist only for a tile of rows at a time.
//
// Shapes  q (B, H, Q, D), k (B, G, K, D), v (B, G, K, Dv), o (B, H, Q, Dv); G divides H, query head h uses key/value
//         head h / (H/G). Any strides except the last axis, which must be contiguous. Q, K may be 0.
// Order   scale -> soft cap -> score program -> bias -> structure and masks -> probability -> dropout -> values.
//         common-masks.md and common-probability.md are normative.
// Rows    A key is VISIBLE to a query when left, right, block and the mask rule of the program allow it; invisible keys
//         do not exist. A visible key
//         is KEPT when the mask and the length of its example keep it. A row that keeps no key: `unmask` keeps all
//         visible ones, `zero` gives an output of 0. A row that sees no key gives 0. A row whose bias is -infinity on
//         every key it keeps behaves as if its bias were 0, or, with `zero_by_bias`, gives 0.
// Sinks   Softmax only: one more score for each head, whose weight meets no value. Rows that give 0 give 0 with it too.
// Hidden  What the keys and values of a key hold that a row does not see, does not keep, or that its bias removes, does
//         not reach the output of the row, NaN and infinity included.
// Counts  Masked keys still count in N of threshmax and in the entropy of adaptive; invisible keys do not: N is the
//         number of visible keys.
// Range   A row is the same function of its scores whatever their magnitude, the lowest number included: only
//         -infinity masks. A score with its bias that is below the lowest number counts as the lowest number. NaN or
//         +infinity among the scores of the keys that a row keeps makes the row NaN; other rows do not meet it.
//         -infinity as the product of a query and a key, without a bias, gives a weight of 0; a row of nothing else
//         is NaN.
// Program With a score program a score of -infinity, whatever made it, has weight 0, and a row of nothing else gives 0.
//         The program sees natural scores, positions p below and head first_head + h.
// Memory  Linear in Q and K: packed keys, and tiles for each worker, from the Parallel.
// Bits    Results depend on the arguments and the level, not on the number of threads.
// Shards  Keys may be a shard of those that the rows have (softmax only, see AttentionArgs::shard): outputs of shards
//         are merged by what each saved, and the gradient takes the parts one by one.
// Double and the level `reference` run core/kernels/reference/attention.hpp, which the functions here choose for
// float by themselves. No shape is checked here: that is the operator's task. [call-thread]
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/kernels/probability.hpp"
#include "core/program/call.hpp"
#include "core/tensor/compact_rows.hpp"
#include "core/threads/parallel.hpp"

namespace attn::kernels {

enum class FullyMaskedRows { unmask = 0, zero = 1, zero_by_bias = 2 };

// What the map shows. The first three are of all keys; biased is -infinity where a row does not keep a key.
enum class MapStage { raw = 0, capped = 1, biased = 2, weights = 3 };

// A view of four axes (batch, head, row, element); strides in elements, the last is 1.
template <class T>
struct View4 {
  T* data = nullptr;
  int64_t b = 0, h = 0, row = 0;
  [[nodiscard]] T* at(int64_t ib, int64_t ih, int64_t i) const {
    return data + ib * b + ih * h + i * row;
  }
};

// Anything that broadcasts to (B, H, Q, K): stride 0 where the extent is 1. data nullptr: absent.
template <class T>
struct Scores4 {
  T* data = nullptr;
  int64_t b = 0, h = 0, q = 0, k = 0;
  [[nodiscard]] T* at(int64_t ib, int64_t ih, int64_t i) const {
    return data + ib * b + ih * h + i * q;
  }
};

template <class T>
struct AttentionArgs {
  int64_t batch = 0, heads = 0, kv_heads = 0, queries = 0, keys = 0, head_dim = 0, value_dim = 0;
  View4<const T> q{}, k{}, v{};
  // Float at the vector levels: keys and values in fewer bits in place of k and v, whose strides, multiples of a row's
  // length, hold for them. Few rows read them as they are; otherwise there are float32 copies in scratch memory.
  CompactRows k_rows{}, v_rows{};
  View4<T> o{};
  T scale = 1;

  // Structure, by p = i + offset (+ offsets[b]), the position of query i among the keys.
  int64_t left = -1, right = -1;  // p - left <= j <= p + right; -1: no bound. Causal is right = 0
  int64_t block = 0;              // 0: none. floor(p / block) == floor(j / block)
  int64_t offset = 0;
  const int64_t* offsets = nullptr;  // (B)
  int64_t tile =
      0;  // > 0: most keys taken at a time, in multiples of 128; changes no result but for rounding

  Scores4<const uint8_t> mask{};     // 1 keeps, 0 masks; nothing else
  const int64_t* lengths = nullptr;  // (B): keys j < lengths[b] are kept
  Scores4<const T> bias{};           // added to the scaled scores
  FullyMaskedRows fully_masked = FullyMaskedRows::unmask;

  const program::Call* program = nullptr;  // proved, its real tables of kind T; nullptr: none
  int64_t first_head = 0;                  // what head 0 is to the program

  T softcap = 0;             // 0: none. Scaled scores become softcap tanh(score / softcap)
  const T* sinks = nullptr;  // (H); softmax of whole rows only

  ProbabilityArgs<T> probability{};

  double dropout =
      0;  // rate in [0, 1]; element ((b H + h) Q + i) K + j of the Philox sequence decides
  uint64_t seed = 0, stream = 0;
  // Where query 0 and key 0 are in a larger problem, and its extents Q and K; 0: those above. Matters to dropout.
  int64_t first_query = 0, first_key = 0, all_queries = 0, all_keys = 0;
  // The keys are a shard of each row's. Forward: o is normalised over the shard, and saved (which must be there) tells
  // its maximum and sum; both are 0 for a row that keeps none of it. Backward: o and saved are those of whole rows.
  bool shard = false;

  Scores4<T> map{};  // optional output: the weights after dropout, (B, H, Q, K), stride k = 1
  MapStage map_stage = MapStage::weights;  // or scores, by a pass of its own
  Scores4<T>
      lse{};  // optional output, softmax: ln of the sum of exp(score), (B, H, Q); -infinity where o is 0
  T* saved = nullptr;  // optional output for the gradient: (B, H, Q, saved_per_row(kind)), dense
  // Optional output beside saved: (B, H, Q), dense, private to attention_observe.cpp. Of softmax without a map the sum
  // of e t over all scores of a row, the sink's too, where e = 2^t is what saved's sum is of; of everything else the
  // entropy of its weights before dropout. No other output differs.
  T* spread = nullptr;
};

// Softmax, at the vector levels: scores are kept times log2 e / kSoftmaxUnit, so that 2^(kSoftmaxUnit x) serves for the
// exponential. Halved, because the lowest number times log2 e is none; and a half changes no bit of a difference.
inline constexpr float kSoftmaxUnit = 2;
inline constexpr float kSoftmaxScale = 1.4426950408889634f / kSoftmaxUnit;

// Soft caps that float32 can divide by.
inline constexpr double kLeastSoftcap = 1e-30, kMostSoftcap = 1e30;

// Number of weight (row, key 0) in the Philox sequence.
template <class T>
[[nodiscard]] uint64_t dropout_index(const AttentionArgs<T>& a, int64_t b, int64_t h, int64_t i) {
  const int64_t queries = a.all_queries > 0 ? a.all_queries : a.queries;
  const int64_t keys = a.all_keys > 0 ? a.all_keys : a.keys;
  const int64_t row = (b * a.heads + h) * queries + a.first_query + i;
  return static_cast<uint64_t>(row * keys + a.first_key);
}

// Gradients are added to what is there. data nullptr: not wanted.
template <class T>
struct AttentionGrads {
  View4<const T> dout{};    // of o; data nullptr: zero
  Scores4<const T> dmap{};  // of the map, of stage weights; optional
  Scores4<const T> dlse{};  // of lse; optional
  View4<T> dq{}, dk{}, dv{};
  Scores4<T> dbias{};  // the strides of bias; broadcast axes are summed
  T* dslope = nullptr;
  T* dsinks = nullptr;                    // (H)
  T* dtables[program::kMostTables] = {};  // of the program's, dense
  // Of shards: what rounding leaves of sum_j w_j (dw_j - dout . o) = 0 for each row, (B, H, Q) dense. A pass over all
  // parts adds it to rest_sum; a second one that takes it as rest gives gradients as exact as those of whole rows,
  // which matters to rows with one large weight.
  T* rest_sum = nullptr;
  const T* rest = nullptr;
};

void attention(const AttentionArgs<float>& args, Parallel& parallel);
// args: those of the forward pass, with o and saved as it left them; nothing is written to map and lse.
void attention_backward(const AttentionArgs<float>& args, const AttentionGrads<float>& grads,
                        Parallel& parallel);

void attention(const AttentionArgs<double>& args, Parallel& parallel);
void attention_backward(const AttentionArgs<double>& args, const AttentionGrads<double>& grads,
                        Parallel& parallel);

template <class T>
[[nodiscard]] bool has_rule(const AttentionArgs<T>& a) {
  return a.program != nullptr && a.program->program->has_rule;
}
template <class T>
[[nodiscard]] bool has_score_program(const AttentionArgs<T>& a) {
  return a.program != nullptr && a.program->program->has_score;
}
// Whether a row may end up with weights that are all 0: not where the rule bounds the keys of rows and no more.
template <class T>
[[nodiscard]] bool may_empty_rows(const AttentionArgs<T>& a) {
  return has_score_program(a) || (has_rule(a) && !a.program->program->rest.outputs.empty());
}
// Whether every query sees every key.
template <class T>
[[nodiscard]] bool sees_all(const AttentionArgs<T>& a) {
  return a.left < 0 && a.right < 0 && a.block == 0 && !has_rule(a);
}

// Position of query i of example b among the keys.
template <class T>
[[nodiscard]] int64_t position(const AttentionArgs<T>& a, int64_t b, int64_t i) {
  return i + a.offset + (a.offsets == nullptr ? 0 : a.offsets[b]);
}

// Keys [begin, end) that query i of example b sees, within [0, keys], whatever the program says. Both ends grow with i.
struct KeyRange {
  int64_t begin, end;
};
template <class T>
[[nodiscard]] KeyRange visible_keys(const AttentionArgs<T>& a, int64_t b, int64_t i) {
  const int64_t p = position(a, b, i);
  int64_t begin = 0, end = a.keys;
  if (a.left >= 0 && p > a.left) begin = p - a.left;
  if (a.right >= 0 && p < end - 1 - a.right) end = p + a.right + 1;
  if (a.block > 0) {
    const int64_t c = (p / a.block - (p % a.block < 0 ? 1 : 0)) * a.block;
    if (c > begin) begin = c;
    if (c < end - a.block) end = c + a.block;
  }
  if (begin > a.keys) begin = a.keys;
  return {begin, end < begin ? begin : end};
}

// Keys [begin, end) outside of which query i of head h sees none. Inside them the rest of a mask rule decides.
template <class T>
[[nodiscard]] KeyRange visible_keys(const AttentionArgs<T>& a, int64_t b, int64_t h, int64_t i) {
  const KeyRange range = visible_keys(a, b, i);
  if (!has_rule(a)) return range;
  const program::Keys keys = program::bounded(*a.program, b, a.first_head + h, position(a, b, i),
                                              {range.begin, range.end});
  return {keys.begin, keys.end};
}

}  // namespace attn::kernels
