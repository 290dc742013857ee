// SPDX-License-Identifier: Apache-2.0
#include "core/kernels/attention.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "core/kernels/attention_driver.hpp"
#include "core/kernels/attention_notes.hpp"
#include "core/kernels/reference/attention.hpp"
#include "core/tensor/narrow.hpp"

namespace attn::kernels {
namespace {

using namespace driver;

constexpr int64_t kVeryFewRows = 4;       // rows up to which short histories are not packed
constexpr int64_t kSplitKeys = 256;       // keys of a part when few rows read many keys
constexpr int64_t kWholeFloats = 196608;  // scores of a tile that keeps whole rows: 768 KB
constexpr float kNever = -std::numeric_limits<float>::infinity();
constexpr double kSerialWork =
    1e5;  // multiply-adds below which a second thread is not worth waking

}  // namespace

bool driver::reads_keys_unpacked(const AttentionArgs<float>& a) {
  const int64_t rows = a.heads / a.kv_heads * a.queries;
  return rows <= (a.keys > kSplitKeys ? kFewRows : kVeryFewRows) &&
         a.probability.kind == Probability::softmax && a.map.data == nullptr;
}

namespace {

// Whether all rows meet the same keys, which one block holds: attention_block takes such calls. Heads that share their
// keys have rows enough of their own, or they are better off in one tile.
bool has_one_block(const AttentionArgs<float>& a) {
  return a.probability.kind == Probability::softmax && a.map.data == nullptr &&
         a.program == nullptr && a.softcap == 0 && sees_all(a) && a.mask.q == 0 &&
         a.keys <= block_keys(a) && (a.heads == a.kv_heads || a.queries >= kFewRows);
}

struct Call {
  const AttentionArgs<float>& a;
  const KernelTable& table;
  AttentionRule rule;
  int64_t panel, group, rows, units;  // rows: of a unit, that is one key/value head of one example
  bool whole, one_block;
  bool copy_values;
  std::atomic<bool>* spoilt;  // set where an output is no number; nullptr: not looked at

  // Packed keys of a unit, and the copy of its values behind them.
  [[nodiscard]] int64_t pack_size() const { return pad16(round_up(a.keys, panel) * a.head_dim); }
  [[nodiscard]] int64_t copy_size() const { return copy_values ? a.keys * pad16(a.value_dim) : 0; }
};

TileRows rows_of(const CompactRows& rows, const View4<const float>& x, int64_t b, int64_t g) {
  if (rows.kind == StorageKind::float32) return {};
  const int64_t first = b * x.b + g * x.h;
  return {rows.kind, rows.at(first), rows.scale_at(first), x.row / rows.length};
}

AttentionTile make_tile(const Call& c, int64_t b, int64_t g) {
  AttentionTile t{};
  t.rule = &c.rule;
  t.head_dim = c.a.head_dim;
  t.value_dim = c.a.value_dim;
  t.keys = c.a.keys;
  t.k_rows = rows_of(c.a.k_rows, c.a.k, b, g);
  if (c.a.k_rows.kind == StorageKind::float32) t.k = c.a.k.at(b, g, 0);
  t.k_row = c.a.k.row;
  t.v_rows = rows_of(c.a.v_rows, c.a.v, b, g);
  if (c.a.v_rows.kind == StorageKind::float32) t.v = c.a.v.at(b, g, 0);
  t.v_row = c.a.v.row;
  t.step = block_keys(c.a);
  t.first = 0;
  t.last = t.keys;
  return t;
}

// Rows [begin, end) of a unit, at most kTileRowsMax.
void run_rows(const Call& c, AttentionTile& t, int64_t b, int64_t g, int64_t begin, int64_t end) {
  AttentionRow row[kTileRowsMax];
  fill_rows(c.a, nullptr, b, g, begin, end, row);
  bool spoilt = false;
  t.rows = end - begin;
  t.row = row;
  t.spoilt = c.spoilt == nullptr ? nullptr : &spoilt;
  if (c.whole) {
    c.table.attention_whole(t);
  } else {
    c.table.attention_online(t);
  }
  if (spoilt) c.spoilt->store(true, std::memory_order_relaxed);
}

int64_t scratch_of_tile(const Call& c, int64_t rows) {
  const int64_t step = block_keys(c.a);
  if (c.whole) return pad16(whole_scratch(rows, c.a.head_dim, c.a.value_dim, c.a.keys));
  return pad16(std::max(online_scratch(rows, c.a.head_dim, c.a.value_dim, step, false),
                        c.one_block ? block_scratch(c.a.head_dim, c.a.keys) : 0));
}

int64_t most_rows(const Call& c) {
  if (!c.whole) return kTileRowsMax;
  return std::clamp<int64_t>(kWholeFloats / tile_stride(c.a.keys) / 6 * 6, 6, kTileRowsMax);
}

// Packs keys [first, last) of a unit and copies their values; panels and values: where those of key 0 would be.
void pack(const Call& c, int64_t b, int64_t g, int64_t first, int64_t last, float* panels,
          float* values) {
  pack_panels(c.table, c.panel, c.a.k.at(b, g, 0), c.a.k.row, c.a.head_dim, first, last, panels);
  if (c.copy_values) {
    copy_rows(c.table, c.a.v.at(b, g, 0), c.a.v.row, c.a.value_dim, first, last, values);
  }
}

void use_packed(const Call& c, AttentionTile& t, const float* panels, const float* values) {
  t.k_panels = panels;
  if (c.copy_values) {
    t.v = values;
    t.v_row = pad16(c.a.value_dim);
  }
}

// The panels of a unit's keys that some query sees.
struct PackedRange {
  int64_t first, last;
};
PackedRange packed_range(const Call& c, int64_t b) {
  const KeyRange seen = all_visible_keys(c.a, b);
  return {seen.begin / c.panel * c.panel, seen.end};
}

// The same of packed keys that all rows meet. next: the unit that comes after these rows; c.units: none.
void run_block(const Call& c, AttentionTile& t, int64_t b, int64_t g, int64_t begin, int64_t end,
               int64_t next) {
  const AttentionArgs<float>& a = c.a;
  uint8_t left[kTileRowsMax];
  bool spoilt = false;
  AttentionBlock x{};
  x.rule = &c.rule;
  x.keys = all_visible_keys(a, b).end;
  if (x.keys == 0) return run_rows(c, t, b, g, begin, end);
  x.head_dim = a.head_dim, x.value_dim = a.value_dim;
  x.k_panels = t.k_panels;
  x.q_row = a.q.row, x.o_row = a.o.row;
  x.v = t.v, x.v_row = t.v_row;
  x.bias_row = a.bias.q;
  x.kept = a.mask.data == nullptr || a.lengths == nullptr ? x.keys : std::min(x.keys, a.lengths[b]);
  x.scratch = t.scratch;
  x.left = left;
  x.spoilt = c.spoilt == nullptr ? nullptr : &spoilt;
  for (int64_t r = begin; r < end; r += x.rows) {  // the rows of one head after another
    const int64_t h = g * c.group + r / a.queries, i = r % a.queries;
    x.rows = std::min(a.queries - i, end - r);
    x.q = a.q.at(b, h, i);
    x.o = a.o.at(b, h, i);
    x.bias = a.bias.data == nullptr ? nullptr : a.bias.at(b, h, i);
    x.mask = a.mask.data == nullptr ? nullptr : a.mask.at(b, h, i);
    x.sink = a.sinks == nullptr ? kNever : a.sinks[h] * c.rule.bias_scale;
    x.index = dropout_index(a, b, h, i);
    x.index_row = a.all_keys > 0 ? a.all_keys : a.keys;
    const int64_t row = (b * a.heads + h) * a.queries + i;
    x.saved = a.saved == nullptr ? nullptr : a.saved + 2 * row;
    x.spread = a.spread == nullptr ? nullptr : a.spread + row;
    if (next < c.units && r + x.rows == end) {
      const int64_t nb = next / a.kv_heads, ng = next % a.kv_heads;
      x.ahead.add(a.q.at(nb, ng * c.group, 0), a.q.row, std::min(a.queries, kTileRowsMax),
                  a.head_dim);
      x.ahead.add(a.k.at(nb, ng, 0), a.k.row, x.keys, a.head_dim);
      x.ahead.add(a.v.at(nb, ng, 0), a.v.row, x.keys, a.value_dim);
    }
    if (!c.table.attention_block(x)) continue;
    // Several at once only where their bits cannot tell which they were.
    const bool alike = a.bias.data == nullptr || a.bias.q == 0;
    for (int64_t k = 0, n = 1; k < x.rows; k = n++) {
      if (left[k] == 0) continue;
      while (alike && n < x.rows && left[n] != 0) ++n;
      run_rows(c, t, b, g, r + k, r + n);
    }
  }
  if (spoilt) c.spoilt->store(true, std::memory_order_relaxed);
}

void run_tile(const Call& c, AttentionTile& t, int64_t b, int64_t g, int64_t begin, int64_t end,
              int64_t next) {
  if (c.one_block) {
    run_block(c, t, b, g, begin, end, next);
  } else {
    run_rows(c, t, b, g, begin, end);
  }
}

// Enough units: each packs its own keys and does all its rows.
void run_units(const Call& c, Parallel& parallel) {
  const int64_t packed = c.pack_size() + c.copy_size();
  const int64_t rows = tile_rows(c.rows, most_rows(c), 1);
  const int64_t each = packed + scratch_of_tile(c, rows);
  float* scratch =
      parallel.scratch_array<float>(static_cast<size_t>(each * parallel.concurrency()));
  const double work = 2.0 * static_cast<double>(c.rows * c.a.keys) *
                      static_cast<double>(c.a.head_dim + c.a.value_dim);
  const auto grain = static_cast<int64_t>(std::max(1.0, 4 * kSerialWork / std::max(work, 1.0)));
  parallel.loop(c.units, grain, [&](int64_t begin, int64_t end, int worker) {
    float* own = scratch + worker * each;
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t b = unit / c.a.kv_heads, g = unit % c.a.kv_heads;
      const PackedRange range = packed_range(c, b);
      AttentionTile t = make_tile(c, b, g);
      float* panels = own - range.first * c.a.head_dim;
      float* values = own + c.pack_size() - range.first * pad16(c.a.value_dim);
      pack(c, b, g, range.first, range.last, panels, values);
      use_packed(c, t, panels, values);
      t.scratch = own + packed;
      for (int64_t r = 0; r < c.rows; r += rows)
        run_tile(c, t, b, g, r, std::min(c.rows, r + rows),
                 r + rows < c.rows || unit + 1 == end ? c.units : unit + 1);
    }
  });
}

// Few units: keys are packed together, then tiles of all units are tasks, those with most keys first.
void run_tiles(const Call& c, Parallel& parallel) {
  const int64_t threads = parallel.concurrency();
  const int64_t size = c.pack_size() + c.copy_size();
  const int64_t rows = tile_rows(c.rows, most_rows(c), divide_up(4 * threads, c.units));
  const int64_t tiles = divide_up(c.rows, rows);
  const int64_t each = scratch_of_tile(c, rows);
  float* packed = parallel.scratch_array<float>(static_cast<size_t>(size * c.units));
  float* scratch = parallel.scratch_array<float>(static_cast<size_t>(each * threads));
  const int64_t panels = divide_up(c.a.keys, c.panel);
  parallel.loop(c.units * panels, 4, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t unit = i / panels, first = i % panels * c.panel;
      const int64_t b = unit / c.a.kv_heads, g = unit % c.a.kv_heads;
      const PackedRange range = packed_range(c, b);
      if (first < range.first || first >= range.last) continue;
      float* own = packed + unit * size;
      pack(c, b, g, first, std::min(range.last, first + c.panel), own, own + c.pack_size());
    }
  });
  parallel.loop(c.units * tiles, 1, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t unit = task % c.units, r = (tiles - 1 - task / c.units) * rows;
      const int64_t b = unit / c.a.kv_heads, g = unit % c.a.kv_heads;
      AttentionTile t = make_tile(c, b, g);
      use_packed(c, t, packed + unit * size, packed + unit * size + c.pack_size());
      t.scratch = scratch + worker * each;
      run_tile(c, t, b, g, r, std::min(c.rows, r + rows), c.units);
    }
  });
}

// Few rows read many keys (decoding): keys are not packed, every key and value is read once for all rows of the unit.
// The keys are cut at fixed places into parts that are merged in order.
void run_split(const Call& c, Parallel& parallel) {
  KeyRange seen = all_visible_keys(c.a, 0);
  for (int64_t b = 1; b < c.a.batch; ++b) {
    const KeyRange next = all_visible_keys(c.a, b);
    seen = {std::min(seen.begin, next.begin), std::max(seen.end, next.end)};
  }
  const int64_t first = seen.begin / kSplitKeys * kSplitKeys;
  const int64_t parts = std::max<int64_t>(divide_up(seen.end - first, kSplitKeys), 1);
  const int64_t part = kPartialHead + c.a.value_dim, dv = c.a.value_dim;
  const int64_t each = pad16(online_scratch(c.rows, c.a.head_dim, c.a.value_dim, kSplitKeys, true));
  float* scratch =
      parallel.scratch_array<float>(static_cast<size_t>(each * parallel.concurrency()));
  float* partial =
      parts == 1
          ? nullptr
          : parallel.scratch_array<float>(static_cast<size_t>(c.units * parts * c.rows * part));
  const double work = 2.0 * static_cast<double>(c.rows * std::min(kSplitKeys, c.a.keys)) *
                      static_cast<double>(c.a.head_dim + c.a.value_dim);
  const auto grain = static_cast<int64_t>(std::max(1.0, kSerialWork / std::max(work, 1.0)));
  parallel.loop(c.units * parts, grain, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t unit = task / parts, b = unit / c.a.kv_heads, g = unit % c.a.kv_heads;
      AttentionTile t = make_tile(c, b, g);
      t.step = kSplitKeys;
      t.scratch = scratch + worker * each;
      if (partial != nullptr) {
        t.first = first + task % parts * kSplitKeys;
        t.last = std::min(t.keys, t.first + kSplitKeys);
        t.partial = partial + task * c.rows * part;
      }
      run_rows(c, t, b, g, 0, c.rows);
    }
  });
  if (partial == nullptr) return;
  parallel.loop(c.units * c.rows, 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t unit = i / c.rows, r = i % c.rows;
      const int64_t b = unit / c.a.kv_heads, h = unit % c.a.kv_heads * c.group + r / c.a.queries;
      const int64_t q = r % c.a.queries;
      const int64_t index = (b * c.a.heads + h) * c.a.queries + q;
      c.table.attention_merge(
          parts, partial + (unit * parts * c.rows + r) * part, c.rows * part, dv, c.rule.unit,
          c.a.sinks == nullptr ? kNever : c.a.sinks[h] * c.rule.bias_scale, c.a.o.at(b, h, q),
          c.a.saved == nullptr ? nullptr : c.a.saved + index * 2,
          c.a.spread == nullptr ? nullptr : c.a.spread + index);
      if (c.spoilt != nullptr && !all_finite(c.a.o.at(b, h, q), dv))
        c.spoilt->store(true, std::memory_order_relaxed);
    }
  });
}

template <class T>
void run_reference(const AttentionArgs<T>& a, Parallel& parallel) {
  if (parallel.notes != nullptr) parallel.notes->add(kScalarWay<T>);
  const auto each = static_cast<size_t>(reference::kRowArrays * (a.keys + 8));
  T* scratch = parallel.scratch_array<T>(each * static_cast<size_t>(parallel.concurrency()));
  parallel.loop(a.batch * a.heads * a.queries, 4, [&](int64_t begin, int64_t end, int worker) {
    reference::attention_rows(a, begin, end, scratch + static_cast<size_t>(worker) * each);
  });
}

// Keys or values (B, G, K, dim) in float32, where they are kept in fewer bits.
void widen_rows(const AttentionArgs<float>& a, int64_t dim, View4<const float>& x,
                CompactRows& rows, Parallel& parallel) {
  if (rows.kind == StorageKind::float32) return;
  const int64_t heads = a.kv_heads, keys = a.keys;
  float* copy =
      parallel.scratch_array<float>(static_cast<size_t>(a.batch * heads * keys * dim) + 1);
  parallel.loop(a.batch * heads * keys, 1024, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i / keys / heads * x.b + i / keys % heads * x.h + i % keys * x.row;
      const float* scale = rows.scale_at(first);
      widen(rows.kind, dim, rows.at(first), scale == nullptr ? 1 : *scale, copy + i * dim);
    }
  });
  x = {copy, heads * keys * dim, keys * dim, dim};
  rows = {};
}
void widen_rows(AttentionArgs<float>& a, Parallel& parallel) {
  widen_rows(a, a.head_dim, a.k, a.k_rows, parallel);
  widen_rows(a, a.value_dim, a.v, a.v_rows, parallel);
}

// Whether the outputs are numbers, where keys are hidden.
bool run(const AttentionArgs<float>& a, Parallel& parallel) {
  const KernelTable& t = table();
  std::atomic<bool> spoilt = false;
  Call c{a,
         t,
         make_rule(a),
         t.gemm_layout().panel,
         a.heads / a.kv_heads,
         0,
         a.batch * a.kv_heads,
         false,
         has_one_block(a),
         false,
         hides_keys(a) ? &spoilt : nullptr};
  c.rows = c.group * a.queries;
  c.copy_values = copy_pays(a.v.row, a.value_dim, c.rows);
  c.whole = a.probability.kind != Probability::softmax || a.map.data != nullptr;
  const int64_t threads = parallel.concurrency();
  const double work = static_cast<double>(c.units * c.rows) * static_cast<double>(a.keys) *
                      static_cast<double>(a.head_dim + a.value_dim);
  const bool few = reads_keys_unpacked(a);
  if (takes_bf16(a, parallel)) {
    attention_bf16(a, c.rule, c.spoilt, parallel);
    return !spoilt.load(std::memory_order_relaxed);
  }
  if (parallel.notes != nullptr) {
    note_vectors(*parallel.notes, a, t.gemm_layout(), few);
    note_program(*parallel.notes, a);
  }
  const auto note = [&](const char* way) {
    if (parallel.notes != nullptr) parallel.notes->add(way);
  };
  if (c.whole)
    note(a.map.data != nullptr ? "whole rows of scores: the map is wanted"
                               : "whole rows of scores: the probability needs them");
  if (few) {
    note("parts of the keys as tasks: few rows, keys not packed");
    run_split(c, parallel);
  } else if (threads == 1 || c.units >= 2 * threads || work < kSerialWork) {
    note(threads == 1 ? "one thread, head by head" : "heads as tasks");
    run_units(c, parallel);
  } else {
    note("tiles of rows as tasks: fewer than two heads a thread");
    run_tiles(c, parallel);
  }
  return !spoilt.load(std::memory_order_relaxed);
}

// From the maxima and sums of the rows.
void write_lse(const AttentionArgs<float>& a, Parallel& parallel) {
  const float unit = score_unit(a);
  parallel.loop(a.batch * a.heads * a.queries, 256, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      *a.lse.at(r / a.queries / a.heads, r / a.queries % a.heads, r % a.queries) =
          row_lse(a.saved + 2 * r, unit);
    }
  });
}

}  // namespace

void driver::widen_keys(AttentionArgs<float>& a, Parallel& parallel) {
  widen_rows(a, a.head_dim, a.k, a.k_rows, parallel);
}

void attention(const AttentionArgs<double>& args, Parallel& parallel) {
  run_reference(args, parallel);
}

void attention(const AttentionArgs<float>& args, Parallel& parallel) {
  const int64_t rows = args.batch * args.heads * args.queries;
  if (rows == 0) return;
  if (!use_kernels()) return run_reference(args, parallel);
  AttentionArgs<float> a = with_contiguous_masks(args, parallel);
  if (!reads_keys_unpacked(a)) widen_rows(a, parallel);
  if (a.map.data != nullptr && a.map_stage != MapStage::weights) {
    write_scores(a, parallel);
    a.map = {};
  }
  if (a.lse.data != nullptr && a.saved == nullptr)
    a.saved = parallel.scratch_array<float>(static_cast<size_t>(2 * rows));
  if (!run(a, parallel)) {
    widen_rows(a, parallel);
    AttentionArgs<float> finite = a;
    finite.v = finite_copy(a, a.v, a.value_dim, parallel);
    if (finite.v.data != a.v.data) {
      run(finite, parallel);
      add_other_values(a, parallel);
    }
  }
  if (a.lse.data != nullptr) write_lse(a, parallel);
}

}  // namespace attn::kernels
