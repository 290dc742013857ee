// SPDX-License-Identifier: Apache-2.0
//
// What the drivers of attention give to the kernels of one instruction set. Plain structs; the kernels see no
// shapes of batch and heads, only rows that share one key/value head.
//
// Panels: the transposed keys (or values), kPanel columns a panel, as gemm_pack_panel leaves them: panel p begins at
// p * panel * depth, rows of all panels are `panel` apart, zeros up to a whole vector behind the last key.
#pragma once

#include <cstdint>

#include "core/kernels/attention.hpp"

namespace attn::kernels {

// One query of one head. Pointers to things that the tile does not use are undefined.
struct AttentionRow {
  const float* q;
  float* o;
  int64_t begin, end;   // keys that can have a weight; begin == end: the output is 0
  int64_t visible;      // N: keys that exist for this query
  const uint8_t* mask;  // nullptr: all of [begin, end) is kept
  const float* bias;    // nullptr: none
  float sink;           // in the unit of scores; -infinity: none
  uint64_t index;       // of weight (row, key 0) in the dropout sequence
  float* map;
  float* saved;
  float* spread;    // as AttentionArgs has it; nullptr: not wanted
  int64_t b, h, p;  // example, head and position, as the program of the call counts them
  // Backward.
  const float* dout;
  const float* dmap;
  float dlse;
  float* dsink;  // of this row alone; nullptr: not wanted
  float* dq;
  float* dbias;
  float* rest_sum;    // of a part; nullptr: not wanted
  const float* rest;  // of a part; nullptr: 0
};

inline constexpr int64_t kMostBlock = 1024;  // keys of a block of the online softmax, at most

// How scores become weights; the same for every tile of a call.
struct AttentionRule {
  ProbabilityArgs<float> probability{};
  float scale;  // of q; for softmax times log2 e / kSoftmaxUnit
  float cap;    // softcap, in the unit of scores; 0: none
  float bias_scale;
  float unit;  // what turns a difference of scores into a power of two: kSoftmaxUnit, or log2 e
  bool has_bias, has_map, has_dmap;
  bool has_spread;
  bool drop;
  uint32_t drop_threshold;  // words below it drop
  float drop_scale;
  uint64_t seed, stream;
  bool shard;  // the keys are not all that the rows have
  // Of the call; nullptr: none. A score program works on natural scores. has_rest: begin and end of the rows do not say
  // all of the mask rule. empties: either of them; a row of weights that are all 0 is a row of zeros then.
  const program::Call* program;
  bool has_score, has_rest, empties;
};

// What the backward pass of a score program needs beside its code.
struct ProgramBack {
  const program::GradRead* reads;
  int32_t read_count, ds;  // ds: output of the code; -1: 1, or 0 where the score does not count
  bool score_counts;
  float* const* dtables;  // of the task; nullptr: not wanted
};

// Where the values of a group go: out = (before ? acc * alpha : 0) + p v, times finish.
struct ValueSink {
  float* const* out;  // a pointer for each row, written
  const float* const*
      before;           // a pointer for each row, padded to whole vectors; nullptr: nothing yet
  const float* alpha;   // for each row
  const float* finish;  // for each row
};

// Keys or values in fewer bits, of one head.
struct TileRows {
  StorageKind kind;  // float32: none
  const char* data;
  const float* scales;  // nullptr: none
  int64_t step;         // scales from a token to the next
};

struct AttentionTile {
  const AttentionRule* rule;
  int64_t rows;
  const AttentionRow* row;
  int64_t head_dim, value_dim;
  int64_t keys;           // of the whole head
  const float* k_panels;  // of the keys, or nullptr: few rows, scores by dot products with k
  const float* k;
  int64_t k_row;
  const float* v;
  int64_t v_row;
  TileRows k_rows,
      v_rows;  // in place of k and v, with the same strides; only of attention_online without k_panels
  int64_t step;    // keys of a block of the online softmax; a multiple of the panel
  float* scratch;  // attention_scratch(...) floats
  // Split keys: only [first, last) of the keys, and maximum, sum, spread and unnormalised output go to partial instead
  // of o: for each row kPartialHead + value_dim floats.
  int64_t first, last;
  float* partial;
  bool* spoilt;  // set where outputs are no numbers; nullptr: not looked at
};

inline constexpr int64_t kPartialHead = 3;

// Rows that the next tile uses. They lie far apart, so that no hardware foresees them: they are on their way to the
// first-level cache while this tile is worked on.
struct Ahead {
  struct Rows {
    const float* data;
    int64_t stride, rows, size;
  };
  static constexpr int kMost = 8;
  Rows of[kMost];
  int count;
  void add(const float* data, int64_t stride, int64_t rows, int64_t size) {
    if (data != nullptr) of[count++] = {data, stride, rows, size};
  }
};

// Rows of one head, `q_row` and `o_row` apart, that all meet the same keys, in one block.
struct AttentionBlock {
  const AttentionRule* rule;  // softmax, without a map, a program or a cap
  int64_t rows;               // at most kTileRowsMax
  int64_t keys, head_dim, value_dim;
  const float* k_panels;
  const float* q;
  int64_t q_row;
  const float* v;
  int64_t v_row;
  float* o;
  int64_t o_row;
  const float* bias;  // nullptr: none
  int64_t bias_row;
  const uint8_t* mask;  // of the keys; nullptr: all are kept
  int64_t kept;         // keys behind them are not
  float sink;
  uint64_t index;  // of the first row, as AttentionRow has it, and from a row to the next
  int64_t index_row;
  float *saved, *spread;  // dense; nullptr: not wanted
  Ahead ahead;
  float* scratch;  // block_scratch(...) floats
  uint8_t* left;   // set to 1 for rows whose output is not made here, to 0 for the others
  bool* spoilt;    // as AttentionTile has it
};

// Scores of rows against a block of keys, which become their exponentials; what the rows have so far moves to their new
// maxima.
struct AttentionSoftmax {
  const AttentionRule* rule;  // softmax, without a map or a program
  const AttentionRow* row;
  int64_t rows;
  int64_t base;  // the key of the first score
  int64_t begin,
      end;  // keys that some row has, from base on; what lies behind them up to whole vectors is cleared
  float* s;
  int64_t ld;
  float *max, *sum;  // of each row so far
  float* spread;     // the same; nullptr: not wanted
  float* o;          // sums of values so far, o_row apart, whole vectors; nullptr: none
  int64_t o_row;
};

// What attention_observe tells of one row, beside AttentionRow. nullptr: not wanted.
struct ObservedRow {
  float max, inverse;  // softmax: of its scores, and 1 / sum
  float* row_max;      // raised; softmax
  float* column;       // element j belongs to key j; added to
  float* distance;     // the same
  float* top_weight;   // the greatest so far, in falling order
  int64_t* top_key;
  float* map;  // element j belongs to key j
};
struct ObservedTile {
  const ObservedRow* row;
  bool softmax;  // in blocks of AttentionTile::step; otherwise step holds all keys
  int64_t top;
  int64_t map_begin, map_end;  // keys that are in the map
};

// Backward: rows of one tile, all keys. Adds to dk and dv of the whole key/value head (natural order, rows dk_row and
// dv_row floats apart, whole vectors); to dk so many times what the scaled queries give.
struct AttentionBackTile {
  const AttentionRule* rule;
  int64_t rows;
  const AttentionRow* row;
  int64_t head_dim, value_dim, keys;
  const float* k_panels;
  const float* v_panels;
  const float* k;
  int64_t k_row;
  int64_t step;  // keys treated at once: a block for softmax, all of them for the rest
  float* dk;     // scratch sums, nullptr: not wanted
  float* dv;
  int64_t dk_row, dv_row;
  float dk_scale;
  int64_t dbias_k;  // stride of dbias along the keys
  float dq_scale;
  ProgramBack program;
  double* dslope;  // nullptr: not wanted
  Ahead ahead;
  float* scratch;
};

// Floats per key row of tiles: room behind `n` keys so that successive rows fall into different cache sets.
[[nodiscard]] constexpr int64_t tile_stride(int64_t n) { return (n + 15) / 16 * 16 + 16; }
[[nodiscard]] constexpr int64_t pad16(int64_t n) { return (n + 15) / 16 * 16; }

inline constexpr int64_t kTileRowsMax = 96;

// Rows of a key/value head up to which their keys need not be packed, and which then are one group.
inline constexpr int64_t kFewRows = 16;
// Scratch of attention_online: q and o of the tile, scores of one group of rows. few: without k_panels.
[[nodiscard]] constexpr int64_t online_scratch(int64_t rows, int64_t head_dim, int64_t value_dim,
                                               int64_t step, bool few) {
  return rows * (pad16(head_dim) + pad16(value_dim)) + (few ? kFewRows : 6) * tile_stride(step) +
         4 * pad16(rows) + 64;
}
// Scratch of attention_block: queries, scores and maxima of a group, and what masks do to its keys.
[[nodiscard]] constexpr int64_t block_scratch(int64_t head_dim, int64_t keys) {
  return 6 * (pad16(head_dim) + 16) + 7 * tile_stride(keys);
}
// Scratch of attention_whole: q and o of the tile, scores of all its rows.
[[nodiscard]] constexpr int64_t whole_scratch(int64_t rows, int64_t head_dim, int64_t value_dim,
                                              int64_t keys) {
  return rows * (pad16(head_dim) + pad16(value_dim) + tile_stride(keys)) + 64;
}
// Scratch of attention_observe: q of the tile, scores of one group of rows.
[[nodiscard]] constexpr int64_t observe_scratch(int64_t rows, int64_t head_dim, int64_t step) {
  return rows * pad16(head_dim) + 6 * tile_stride(step) + 64;
}
// Scratch of attention_back.
[[nodiscard]] constexpr int64_t back_scratch(int64_t rows, int64_t head_dim, int64_t value_dim,
                                             int64_t step) {
  return rows * (2 * pad16(head_dim) + pad16(value_dim) + 2 * tile_stride(step)) +
         3 * tile_stride(step) + pad16(rows) + 64;
}

}  // namespace attn::kernels
