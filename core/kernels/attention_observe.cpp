// SPDX-License-Identifier: Apache-2.0
#include "core/kernels/attention_observe.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include "core/kernels/attention_driver.hpp"
#include "core/kernels/observed_sums.hpp"
#include "core/kernels/reference/attention.hpp"
#include "core/kernels/reference/attention_observe.hpp"

namespace attn::kernels {
namespace {

using namespace driver;

constexpr float kNever = -std::numeric_limits<float>::infinity();
constexpr double kLn2 = 0.69314718055994530942;

template <class T>
void clear(const AttentionObserved<T>& to, int64_t batch, int64_t heads, int64_t queries,
           int64_t keys) {
  const int64_t rows = batch * heads * queries, places = std::max<int64_t>(queries + keys - 1, 0);
  if (to.column_mass != nullptr) std::fill_n(to.column_mass, batch * heads * keys, T(0));
  if (to.distances != nullptr) std::fill_n(to.distances, batch * heads * places, T(0));
  if (to.row_max != nullptr) std::fill_n(to.row_max, rows, -std::numeric_limits<T>::infinity());
  if (to.entropy != nullptr) std::fill_n(to.entropy, rows, T(0));
  if (to.top_keys != nullptr) {
    std::fill_n(to.top_weights, rows * to.top, T(0));
    std::fill_n(to.top_keys, rows * to.top, int64_t{-1});
  }
  const MapSlice& m = to.slice;
  if (to.map != nullptr) std::fill_n(to.map, batch * m.heads * m.queries * m.keys, T(0));
}

// row(b, h, i, column, distance, worker) for each row, where column and distance are the sums of its head and chunk,
// distance for key 0; nullptr: not wanted.
template <class T, class F>
void for_rows(int64_t batch, int64_t heads, int64_t queries, int64_t keys,
              const AttentionObserved<T>& to, Parallel& parallel, F&& row) {
  const bool column = to.column_mass != nullptr, distance = to.distances != nullptr;
  const ObservedSums sums(batch * heads, 1, queries, keys, column, distance, parallel);
  parallel.loop(sums.units * sums.chunks, 1, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t unit = task / sums.chunks, part = task % sums.chunks;
      const int64_t last = std::min(queries, (part + 1) * sums.chunk);
      for (int64_t i = part * sums.chunk; i < last; ++i)
        row(unit / heads, unit % heads, i, column ? sums.column(unit, part, 0) : nullptr,
            distance ? sums.distance(unit, part, 0) + queries - 1 - i : nullptr, worker);
    }
  });
  sums.write(to.column_mass, to.distances, parallel);
}

template <class T>
void observe_reference(const AttentionArgs<T>& a, const AttentionObserved<T>& to,
                       Parallel& parallel) {
  constexpr int64_t kRows = 7;  // z, w and what attention_row() needs
  T* scratch =
      parallel.scratch_array<T>(static_cast<size_t>(kRows * (a.keys + 8) * parallel.concurrency()));
  for_rows(
      a.batch, a.heads, a.queries, a.keys, to, parallel,
      [&](int64_t b, int64_t h, int64_t i, double* column, double* distance, int worker) {
        T *z = scratch + kRows * (a.keys + 8) * worker, *w = z + a.keys;
        const auto s = reference::attention_row(a, b, h, i, z, w, w + a.keys);
        if (s.zero) return;
        if (to.row_max != nullptr)
          to.row_max[(b * a.heads + h) * a.queries + i] =
              *std::max_element(z + s.visible.begin, z + s.visible.end);
        reference::observe_row(to, {a.heads, a.queries}, {b, h, i}, s.visible, w, column, distance);
      });
}

template <class T>
void observe_explicit(int64_t batch, int64_t heads, int64_t queries, int64_t keys,
                      const Scores4<const T>& weights, const AttentionObserved<T>& to,
                      Parallel& parallel) {
  clear(to, batch, heads, queries, keys);
  if (batch * heads * queries == 0 || keys == 0) return;
  for_rows(batch, heads, queries, keys, to, parallel,
           [&](int64_t b, int64_t h, int64_t i, double* column, double* distance, int) {
             reference::observe_row(to, {heads, queries}, {b, h, i}, {0, keys}, weights.at(b, h, i),
                                    column, distance);
           });
}

// Whether the maximum that the forward pass kept of row r is its sink, so that it does not tell the greatest score of the
// keys.
bool hidden_by_sink(const AttentionArgs<float>& a, int64_t r) {
  if (a.sinks == nullptr || a.saved[2 * r + 1] == 0) return false;
  return !(a.saved[2 * r] > a.sinks[r / a.queries % a.heads] * score_unit(a));
}

// From what the forward pass kept of each row. bias: what it left out, the same for all keys of a row.
void row_statistics(const AttentionArgs<float>& a, const Scores4<const float>& bias,
                    const AttentionObserved<float>& to, Parallel& parallel) {
  const int64_t kept = saved_per_row(a.probability.kind);
  const float unit = score_unit(a), power = make_rule(a).unit;
  const auto left_out = [&](int64_t r) {
    if (bias.data == nullptr) return 0.0f;
    const float x = *bias.at(r / a.queries / a.heads, r / a.queries % a.heads, r % a.queries);
    return x == kNever ? 0.0f : x;
  };
  // -sum of w ln w, w = 2^t / sum, without the weight of the sink.
  const auto entropy = [&](int64_t r, double max, double sum, double spread) {
    double weights = sum;
    if (a.sinks != nullptr && a.sinks[r / a.queries % a.heads] != kNever) {
      const float sink = a.sinks[r / a.queries % a.heads] * unit;
      const double t = (static_cast<double>(sink) - max) * static_cast<double>(power),
                   e = std::exp2(t);
      weights -= e;
      spread -= e > 0 ? e * t : 0;
    }
    const auto log_sum = static_cast<double>(std::log(static_cast<float>(sum)));
    return static_cast<float>((weights * log_sum - spread * kLn2) / sum);
  };
  parallel.loop(a.batch * a.heads * a.queries, 1024, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      const float *row = a.saved + kept * r, max = row[0], sum = row[1];
      if (to.row_max != nullptr)
        to.row_max[r] = sum == 0 || hidden_by_sink(a, r) ? kNever : max / unit + left_out(r);
      if (to.lse != nullptr) to.lse[r] = row_lse(row, unit) + left_out(r);
      if (to.entropy != nullptr && a.spread != nullptr && sum != 0)
        to.entropy[r] = entropy(r, static_cast<double>(max), static_cast<double>(sum),
                                static_cast<double>(a.spread[r]));
    }
  });
}

// The second pass.
class Second {
 public:
  // packed: as the keys were in the first pass, so that the scores have the same bits.
  Second(const AttentionArgs<float>& a, const AttentionObserved<float>& to, bool packed,
         Parallel& parallel)
      : a_(a),
        to_(to),
        table_(table()),
        rule_(make_rule(a)),
        panel_(table_.gemm_layout().panel),
        softmax_(a.probability.kind == Probability::softmax),
        step_(softmax_ ? block_keys(a) : round_up(a.keys, panel_)),
        sums_(a.batch * a.kv_heads, a.heads / a.kv_heads, a.queries, a.keys,
              to.column_mass != nullptr, to.distances != nullptr, parallel),
        packed_(packed),
        tile_(std::min(kTileRowsMax, round_up(sums_.rows, 6))),
        heads_(sums_.most_heads(tile_)),
        places_(a.queries + a.keys - 1 + kRoom) {}

  void run(Parallel& parallel) {
    const int64_t panels = packed_ ? pad16(round_up(a_.keys, panel_) * a_.head_dim) : 0;
    const int64_t threads = parallel.concurrency();
    // Enough units: each thread packs the keys of its own. Otherwise keys are packed together first.
    const bool apart = threads == 1 || sums_.units >= 2 * threads;
    const int64_t each = pad16(observe_scratch(tile_, a_.head_dim, step_)) + sums_size();
    float* packed = parallel.scratch_array<float>(
        static_cast<size_t>(panels * (apart ? threads : sums_.units)) + 1);
    float* scratch = parallel.scratch_array<float>(static_cast<size_t>(each * threads));
    std::fill_n(scratch, each * threads, 0.0f);
    if (apart) {
      parallel.loop(sums_.units, 1, [&](int64_t begin, int64_t end, int worker) {
        for (int64_t unit = begin; unit < end; ++unit) {
          float* own = packed + worker * panels;
          pack(unit, 0, a_.keys, own);
          for (int64_t part = 0; part < sums_.chunks; ++part)
            chunk(unit, part, own, scratch + worker * each);
        }
      });
    } else {
      const int64_t pieces = divide_up(a_.keys, panel_);
      parallel.loop(sums_.units * pieces, 4, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t first = i % pieces * panel_;
          pack(i / pieces, first, std::min(a_.keys, first + panel_), packed + i / pieces * panels);
        }
      });
      parallel.loop(sums_.units * sums_.chunks, 1, [&](int64_t begin, int64_t end, int worker) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t unit = i / sums_.chunks;
          chunk(unit, i % sums_.chunks, packed + unit * panels, scratch + worker * each);
        }
      });
    }
    sums_.write(to_.column_mass, to_.distances, parallel);
  }

 private:
  static constexpr int64_t kRoom = 32;  // behind a row of sums: whole vectors are added to it

  // Floats of the sums of a tile, of every head that it can meet.
  [[nodiscard]] int64_t column_size() const {
    return to_.column_mass == nullptr ? 0 : pad16(a_.keys + kRoom);
  }
  [[nodiscard]] int64_t distance_size() const {
    return to_.distances == nullptr ? 0 : pad16(places_);
  }
  [[nodiscard]] int64_t sums_size() const { return heads_ * (column_size() + distance_size()); }

  // Keys [first, last) that some query sees.
  void pack(int64_t unit, int64_t first, int64_t last, float* panels) const {
    if (!packed_) return;
    const int64_t b = unit / a_.kv_heads, g = unit % a_.kv_heads;
    const KeyRange seen = all_visible_keys(a_, b);
    first = std::max(first, seen.begin / panel_ * panel_);
    last = std::min(last, seen.end);
    if (first < last)
      pack_panels(table_, panel_, a_.k.at(b, g, 0), a_.k.row, a_.head_dim, first, last, panels);
  }

  void chunk(int64_t unit, int64_t part, const float* panels, float* scratch) const {
    const int64_t last = std::min(sums_.rows, (part + 1) * sums_.chunk);
    for (int64_t r = part * sums_.chunk; r < last; r += tile_)
      tile(unit, part, r, std::min(last, r + tile_), panels, scratch);
  }

  // scratch: sums, all 0 before and after; then that of the kernel.
  void tile(int64_t unit, int64_t part, int64_t begin, int64_t end, const float* panels,
            float* scratch) const {
    const int64_t b = unit / a_.kv_heads, g = unit % a_.kv_heads;
    AttentionRow row[kTileRowsMax];
    ObservedRow told[kTileRowsMax];
    fill_rows(a_, nullptr, b, g, begin, end, row);
    if (softmax_) drop_zero_rows(a_, end - begin, row);
    if (!describe(b, g, begin, end, row, told, scratch)) return;
    AttentionTile t{};
    t.rule = &rule_;
    t.rows = end - begin;
    t.row = row;
    t.head_dim = a_.head_dim, t.value_dim = 0, t.keys = a_.keys;
    t.k_panels = packed_ ? panels : nullptr;
    t.k = a_.k.at(b, g, 0), t.k_row = a_.k.row;
    t.step = step_;
    t.first = 0, t.last = a_.keys;
    t.scratch = scratch + sums_size();
    const ObservedTile o{told, softmax_, to_.top, to_.slice.key, to_.slice.key + to_.slice.keys};
    table_.attention_observe(t, o);
    add_sums(unit, part, begin, end, row, scratch);
  }

  // False: nobody asks about these rows.
  bool describe(int64_t b, int64_t g, int64_t begin, int64_t end, AttentionRow* row,
                ObservedRow* told, float* sums) const {
    const int64_t group = a_.heads / a_.kv_heads, first = sums_.first_head(begin);
    const MapSlice& m = to_.slice;
    bool any = to_.column_mass != nullptr || to_.distances != nullptr || to_.top_keys != nullptr;
    for (int64_t r = begin; r < end; ++r) {
      const int64_t h = g * group + r / a_.queries, i = r % a_.queries;
      const int64_t at = (b * a_.heads + h) * a_.queries + i, head = r / a_.queries - first;
      ObservedRow& o = told[r - begin];
      o = {};
      if (softmax_) {
        o.max = a_.saved[2 * at];
        o.inverse = 1.0f / a_.saved[2 * at + 1];
      }
      row[r - begin].saved = nullptr;
      if (to_.row_max != nullptr && hidden_by_sink(a_, at)) {
        o.row_max = to_.row_max + at;
        any = true;
      }
      if (to_.column_mass != nullptr) o.column = sums + head * column_size();
      if (to_.distances != nullptr)
        o.distance = sums + heads_ * column_size() + head * distance_size() + a_.queries - 1 - i;
      if (to_.top_keys != nullptr) {
        o.top_weight = to_.top_weights + at * to_.top;
        o.top_key = to_.top_keys + at * to_.top;
      }
      if (to_.map == nullptr || h < m.head || h >= m.head + m.heads || i < m.query ||
          i >= m.query + m.queries)
        continue;
      o.map = to_.map + (((b * m.heads + h - m.head) * m.queries + i - m.query) * m.keys - m.key);
      any = true;
    }
    return any;
  }

  // Adds the sums of a tile to those of its chunk and clears them.
  void add_sums(int64_t unit, int64_t part, int64_t begin, int64_t end, const AttentionRow* row,
                float* sums) const {
    if (sums_size() == 0) return;
    const int64_t first = sums_.first_head(begin);
    const auto add = [](float* from, int64_t n, double* to) {
      for (int64_t j = 0; j < n; ++j) to[j] += static_cast<double>(from[j]), from[j] = 0;
    };
    for (int64_t r = begin; r < end;) {
      const int64_t head = sums_.first_head(r), next = std::min(end, (head + 1) * a_.queries);
      KeyRange keys{a_.keys, 0}, places{places_, 0};
      for (; r < next; ++r) {
        const AttentionRow& x = row[r - begin];
        if (x.begin >= x.end) continue;
        const int64_t place = a_.queries - 1 - r % a_.queries;
        keys = {std::min(keys.begin, x.begin), std::max(keys.end, x.end)};
        places = {std::min(places.begin, place + x.begin), std::max(places.end, place + x.end)};
      }
      float* distances = sums + heads_ * column_size() + (head - first) * distance_size();
      if (keys.begin >= keys.end) continue;
      if (to_.column_mass != nullptr)
        add(sums + (head - first) * column_size() + keys.begin, keys.end - keys.begin,
            sums_.column(unit, part, head) + keys.begin);
      if (to_.distances != nullptr)
        add(distances + places.begin, places.end - places.begin,
            sums_.distance(unit, part, head) + places.begin);
    }
  }

  const AttentionArgs<float>& a_;
  const AttentionObserved<float>& to_;
  const KernelTable& table_;
  const AttentionRule rule_;
  const int64_t panel_;
  const bool softmax_;
  const int64_t step_;
  const ObservedSums sums_;
  const bool packed_;
  const int64_t tile_, heads_, places_;
};

// The call itself, and all that it tells from whole rows of weights.
template <class T>
void call_and_observe(AttentionArgs<T> a, const AttentionObserved<T>& to, Parallel& parallel) {
  const bool own = a.lse.data != nullptr;
  if (to.lse != nullptr && !own) a.lse = {to.lse, a.heads * a.queries, a.queries, 1, 0};
  attention(a, parallel);
  const int64_t rows = a.batch * a.heads * a.queries;
  for (int64_t r = 0; to.lse != nullptr && own && r < rows; ++r)
    to.lse[r] = *a.lse.at(r / a.queries / a.heads, r / a.queries % a.heads, r % a.queries);
  clear(to, a.batch, a.heads, a.queries, a.keys);
  if (rows > 0 && a.keys > 0) observe_reference(a, to, parallel);
}

}  // namespace

void attention_observed(AttentionArgs<double> a, const AttentionObserved<double>& to,
                        Parallel& parallel) {
  call_and_observe(a, to, parallel);
}

void attention_observed(AttentionArgs<float> a, const AttentionObserved<float>& to,
                        Parallel& parallel) {
  const int64_t rows = a.batch * a.heads * a.queries;
  if (!use_kernels() || rows == 0 || a.keys == 0) return call_and_observe(a, to, parallel);
  const bool softmax = a.probability.kind == Probability::softmax;
  const bool weights = a.map.data != nullptr && a.map_stage == MapStage::weights;
  if (a.saved == nullptr)
    a.saved = parallel.scratch_array<float>(
        static_cast<size_t>(saved_per_row(a.probability.kind) * rows));
  a.spread = to.entropy;
  attention(a, parallel);
  AttentionArgs<float> computed = a;
  if (!weights) computed.map = {};
  if (!softmax || weights) a.spread = nullptr;  // it is the entropy
  const auto left_out = bias_tells_nothing(a) ? a.bias : Scores4<const float>{};
  row_statistics(a, left_out, to, parallel);
  AttentionObserved<float> rest = to;
  rest.lse = rest.entropy = rest.row_max = nullptr;
  clear(rest, a.batch, a.heads, a.queries, a.keys);
  std::vector<int64_t> hidden;  // rows whose maximum is not known yet
  for (int64_t r = 0; to.row_max != nullptr && a.sinks != nullptr && r < rows; ++r)
    if (hidden_by_sink(a, r)) hidden.push_back(r);
  if (!hidden.empty()) rest.row_max = to.row_max;
  if (rest.rows_alone() && rest.row_max == nullptr) return;
  AttentionArgs<float> again = with_contiguous_masks(a, parallel);
  again.map = {};
  again.lse = {};
  again.spread = nullptr;
  again.dropout = 0;
  again.v = {};
  widen_keys(again, parallel);
  Second(again, rest, !reads_keys_unpacked(computed), parallel).run(parallel);
  for (const int64_t r : hidden) to.row_max[r] /= score_unit(a);
}

void observe_weights(int64_t batch, int64_t heads, int64_t queries, int64_t keys,
                     const Scores4<const float>& weights, const AttentionObserved<float>& to,
                     Parallel& parallel) {
  observe_explicit(batch, heads, queries, keys, weights, to, parallel);
}
void observe_weights(int64_t batch, int64_t heads, int64_t queries, int64_t keys,
                     const Scores4<const double>& weights, const AttentionObserved<double>& to,
                     Parallel& parallel) {
  observe_explicit(batch, heads, queries, keys, weights, to, parallel);
}

}  // namespace attn::kernels
