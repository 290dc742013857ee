// SPDX-License-Identifier: Apache-2.0
//
// The forward pass of softmax over keys with products of bfloat16 (bf16.hpp). A group of 32 rows goes through scores,
// softmax and values block by block; scores, their softmax and sums are float32, by the kernels of the level.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <string>

#include "core/kernels/attention_driver.hpp"
#include "core/kernels/bf16.hpp"
#include "core/threads/notes.hpp"

namespace attn::kernels::driver {
namespace {

constexpr int64_t kGroup = 2 * kBf16Rows;
constexpr float kNever = -std::numeric_limits<float>::infinity();

// One call: sizes in floats, each rounded up to 64 bytes.
struct Bf16 {
  const AttentionArgs<float>& a;
  const AttentionRule& rule;
  const Bf16Table& bf16;
  const KernelTable& table;
  std::atomic<bool>* spoilt;

  [[nodiscard]] int64_t group() const { return a.heads / a.kv_heads; }
  [[nodiscard]] int64_t rows() const { return group() * a.queries; }
  [[nodiscard]] int64_t step() const { return block_keys(a); }
  [[nodiscard]] int64_t o_row() const { return pad16(a.value_dim); }
  [[nodiscard]] int64_t ld() const { return tile_stride(step()); }
  // A panel of values ends with zeros for a step that begins at its last key.
  [[nodiscard]] int64_t v_panel() const { return bf16_panel_size(a.keys + kBf16Step); }
  [[nodiscard]] int64_t k_size() const { return pad16(a.keys) / 16 * bf16_panel_size(a.head_dim); }
  [[nodiscard]] int64_t v_size() const { return pad16(a.value_dim) / 16 * v_panel(); }
  [[nodiscard]] int64_t packed_size() const { return k_size() + v_size(); }
  // Queries, weights of a block, scores of a block, sums of values.
  [[nodiscard]] int64_t q_size() const { return kGroup * bf16_depth(a.head_dim) / 2; }
  [[nodiscard]] int64_t p_size() const { return kGroup * bf16_depth(step()) / 2; }
  [[nodiscard]] int64_t scratch_size() const {
    return q_size() + p_size() + kGroup * (ld() + o_row());
  }

  // Panels of 16 keys from `first` on, or of 16 columns of values.
  void pack_keys(int64_t b, int64_t g, int64_t first, uint32_t* to) const {
    bf16.pack_pairs(a.head_dim, std::min<int64_t>(16, a.keys - first), a.k.at(b, g, first), 1,
                    a.k.row, to + first / 16 * bf16_panel_size(a.head_dim));
  }
  void pack_values(int64_t b, int64_t g, int64_t first, uint32_t* to) const {
    uint32_t* panel = to + k_size() + first / 16 * v_panel();
    bf16.pack_pairs(a.keys, std::min<int64_t>(16, a.value_dim - first), a.v.at(b, g, 0) + first,
                    a.v.row, 1, panel);
    std::fill(panel + bf16_panel_size(a.keys), panel + v_panel(), 0u);
  }
  void pack(int64_t b, int64_t g, uint32_t* to) const {
    for (int64_t j = 0; j < a.keys; j += 16) pack_keys(b, g, j, to);
    for (int64_t j = 0; j < a.value_dim; j += 16) pack_values(b, g, j, to);
  }

  void finish(const AttentionRow& row, const float* o, float max, float sum, float spread) const {
    if (row.begin >= row.end) {
      std::fill_n(row.o, a.value_dim, 0.0f);
      max = sum = spread = 0;
    } else {
      const float inverse = 1.0f / sum;
      table.binary(BinaryKind::mul, a.value_dim, o, 1, &inverse, 0, row.o);
      if (spoilt != nullptr && !all_finite(row.o, a.value_dim))
        spoilt->store(true, std::memory_order_relaxed);
    }
    if (row.saved != nullptr) row.saved[0] = max, row.saved[1] = sum;
    if (row.spread != nullptr) *row.spread = spread;
  }

  // At most kGroup rows against packed keys and values.
  void run_group(const AttentionRow* row, int64_t n, const uint32_t* packed, float* scratch) const {
    auto* q = reinterpret_cast<uint16_t*>(scratch);
    auto* p = reinterpret_cast<uint16_t*>(scratch + q_size());
    float* s = scratch + q_size() + p_size();
    float* o = s + kGroup * ld();
    const int64_t depth = bf16_depth(a.head_dim), whole = (n + 15) / 16 * 16;
    float max[kGroup], sum[kGroup], spread[kGroup] = {};
    int64_t begin = a.keys, end = 0;
    for (int64_t r = 0; r < whole; ++r) {
      const AttentionRow& x = row[std::min(r, n - 1)];
      bf16.pack_row(a.head_dim, x.q, rule.scale, q + r / 16 * 16 * depth + r % 16 * kBf16Step);
      if (r >= n) continue;
      max[r] = x.sink == kNever ? -std::numeric_limits<float>::max() : x.sink;
      sum[r] = x.sink == kNever ? 0.0f : 1.0f;
      if (x.begin >= x.end) continue;
      begin = std::min(begin, x.begin), end = std::max(end, x.end);
    }
    for (int64_t base = begin / step() * step(); base < end; base += step()) {
      const int64_t from = std::max(begin, base), limit = std::min(end, base + step());
      const int64_t first = from / 16 * 16, last = round_up(limit, 16), keys = last - first;
      const bool starts = base <= begin;
      bf16.block({.m = whole,
                  .n = keys,
                  .k = depth,
                  .a = q,
                  .a_group = 16 * depth,
                  .b = packed + first / 16 * bf16_panel_size(a.head_dim),
                  .b_panel = bf16_panel_size(a.head_dim),
                  .c = s,
                  .c_row = ld()});
      table.attention_softmax({.rule = &rule,
                               .row = row,
                               .rows = n,
                               .base = first,
                               .begin = from - first,
                               .end = limit - first,
                               .s = s,
                               .ld = ld(),
                               .max = max,
                               .sum = sum,
                               .spread = rule.has_spread ? spread : nullptr,
                               .o = starts ? nullptr : o,
                               .o_row = o_row()});
      const int64_t size = bf16_group_size(keys);
      for (int64_t r = 0; r < n; r += 16)
        bf16.pack_rows(std::min<int64_t>(16, n - r), keys, s + r * ld(), ld(), 1, 1.0f,
                       p + r / 16 * size);
      bf16.block({.m = whole,
                  .n = o_row(),
                  .k = bf16_depth(keys),
                  .a = p,
                  .a_group = size,
                  .b = packed + k_size() + first / 2 * kBf16Columns,
                  .b_panel = v_panel(),
                  .c = o,
                  .c_row = o_row(),
                  .accumulate = !starts});
    }
    for (int64_t r = 0; r < n; ++r) finish(row[r], o + r * o_row(), max[r], sum[r], spread[r]);
  }

  void run_rows(int64_t b, int64_t g, int64_t first, int64_t last, const uint32_t* packed,
                float* scratch) const {
    AttentionRow row[kGroup];
    for (int64_t r = first; r < last; r += kGroup) {
      const int64_t n = std::min(kGroup, last - r);
      fill_rows(a, nullptr, b, g, r, r + n, row);
      run_group(row, n, packed, scratch);
    }
  }
};

}  // namespace

bool takes_bf16(const AttentionArgs<float>& a, const Parallel& parallel) {
  return uses_bf16(parallel) && a.probability.kind == Probability::softmax &&
         a.map.data == nullptr && a.program == nullptr && a.k_rows.kind == StorageKind::float32 &&
         a.v_rows.kind == StorageKind::float32 && a.keys > 0 && !reads_keys_unpacked(a);
}

void attention_bf16(const AttentionArgs<float>& a, const AttentionRule& rule,
                    std::atomic<bool>* spoilt, Parallel& parallel) {
  const Bf16 c{a, rule, *bf16_table(), table(), spoilt};
  const int64_t units = a.batch * a.kv_heads, rows = c.rows(), threads = parallel.concurrency();
  const int64_t size = c.packed_size(), each = c.scratch_size();
  if (threads == 1 || units >= 2 * threads) {
    if (parallel.notes != nullptr)
      parallel.notes->add(std::string(c.bf16.way) + ", heads as tasks");
    float* scratch = parallel.scratch_array<float>(static_cast<size_t>((size + each) * threads));
    parallel.loop(units, 1, [&](int64_t begin, int64_t end, int worker) {
      float* own = scratch + worker * (size + each);
      auto* packed = reinterpret_cast<uint32_t*>(own);
      for (int64_t unit = begin; unit < end; ++unit) {
        const int64_t b = unit / a.kv_heads, g = unit % a.kv_heads;
        c.pack(b, g, packed);
        c.run_rows(b, g, 0, rows, packed, own + size);
      }
    });
    return;
  }
  if (parallel.notes != nullptr)
    parallel.notes->add(std::string(c.bf16.way) + ", groups of rows as tasks");
  auto* packed = parallel.scratch_array<uint32_t>(static_cast<size_t>(size * units));
  float* scratch = parallel.scratch_array<float>(static_cast<size_t>(each * threads));
  const int64_t k_panels = divide_up(a.keys, 16), panels = k_panels + divide_up(a.value_dim, 16);
  parallel.loop(units * panels, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t unit = i / panels, j = i % panels;
      const int64_t b = unit / a.kv_heads, g = unit % a.kv_heads;
      if (j < k_panels)
        c.pack_keys(b, g, 16 * j, packed + unit * size);
      else
        c.pack_values(b, g, 16 * (j - k_panels), packed + unit * size);
    }
  });
  // Those with most keys first, as in attention.cpp.
  const int64_t tiles = divide_up(rows, kGroup);
  parallel.loop(units * tiles, 1, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t unit = task % units, r = (tiles - 1 - task / units) * kGroup;
      c.run_rows(unit / a.kv_heads, unit % a.kv_heads, r, std::min(rows, r + kGroup),
                 packed + unit * size, scratch + worker * each);
    }
  });
}

}  // namespace attn::kernels::driver
