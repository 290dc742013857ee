// SPDX-License-Identifier: Apache-2.0
//
// The vit type's own operator: a table of relative positions spread over all pairs of a sequence. `prefix` tokens come
// first, those of a grid of `width` columns behind them, row by row. Floating tensors of any strides; pure; [call-thread]
#pragma once

#include <attn/sdk/plugin.hpp>
#include <attn/sdk/score_programs.hpp>
#include <attn/sdk/strided.hpp>

#include <cstdint>

namespace attn::vit {

using namespace attn::sdk;

enum class Rows : int64_t { grid, grid_and_prefix, buckets };

// Which row of its table a pair of tokens has.
struct Places {
  Rows rows;
  int64_t height, width, prefix, buckets, farthest;

  [[nodiscard]] int64_t count() const {
    if (rows == Rows::buckets) return buckets;
    return (2 * height - 1) * (2 * width - 1) + (rows == Rows::grid_and_prefix ? 3 : 0);
  }
  // -1: none, the pair has no bias.
  [[nodiscard]] int64_t row(int64_t query, int64_t key) const {
    if (rows == Rows::buckets) return programs::t5_bucket(key - query, buckets, farthest, true);
    const int64_t q = query - prefix, k = key - prefix;
    if (q < 0 || k < 0) {
      if (rows == Rows::grid) return -1;
      return count() - (q >= 0 ? 2 : k >= 0 ? 3 : 1);
    }
    const int64_t down = q / width - k / width, right = q % width - k % width;
    return (down + height - 1) * (2 * width - 1) + right + width - 1;
  }
};

// table (rows, H) -> (H, tokens, tokens)
struct bias {
  static constexpr const char* name = "vit.bias";
  static constexpr const char* doc = "a table of relative positions for every pair of a sequence";
  static constexpr uint32_t version = 1, inputs = 1, outputs = 1;
  static constexpr std::array attributes{int_attribute("rows", 0),    int_attribute("height", 1),
                                         int_attribute("width", 1),   int_attribute("prefix", 0),
                                         int_attribute("buckets", 4), int_attribute("farthest", 2),
                                         int_attribute("tokens", 1)};

  static void shape(OpCall c) {
    const attn_view& t = *c.in(0);
    const Places p = places(c);
    const int64_t n = c.integer(6);
    const bool fits = p.height >= 1 && p.width >= 1 && p.prefix >= 0 && p.buckets >= 4 &&
                      p.farthest > p.buckets / 4 && n >= 0 &&
                      (p.rows == Rows::buckets || n <= p.prefix + p.height * p.width);
    if (!fits || t.rank != 2 || t.shape[0] != p.count())
      fail("table of shape {} does not suit {} tokens, {} of them before a grid of {} x {}",
           shape_text(t), n, p.prefix, p.height, p.width);
    c.out_shape(0, t.dtype, {t.shape[1], n, n});
  }
  template <class T>
  static void forward(OpCall c) {
    run<T>(c, *c.in(0), *c.out(0), [](T* entry, T& pair) { pair = entry ? *entry : T(0); });
  }
  template <class T>
  static void vjp(OpCall c) {
    if (c.dout(0) && c.din(0))
      run<T>(c, *c.din(0), *c.dout(0), [](T* entry, T pair) {
        if (entry) *entry += pair;
      });
  }

 private:
  static Places places(const OpCall& c) {
    return {static_cast<Rows>(c.integer(0)),
            c.integer(1),
            c.integer(2),
            c.integer(3),
            c.integer(4),
            c.integer(5)};
  }
  static constexpr int64_t kGrain = 4096;  // pairs of a task
  // f(entry or nullptr, pair) for all pairs. Heads share no entry, so they may run side by side.
  template <class T, class F>
  static void run(const OpCall& c, const attn_view& table, const attn_view& pairs, F&& f) {
    const Places p = places(c);
    const int64_t n = c.integer(6);
    auto* rows = c.scratch_array<int64_t>(static_cast<size_t>(n * n) + 1);
    c.loop(n, 1 + kGrain / (n + 1), [&](int64_t begin, int64_t end, int32_t) {
      for (int64_t i = begin; i < end; ++i)
        for (int64_t j = 0; j < n; ++j) rows[i * n + j] = p.row(i, j);
    });
    c.loop(table.shape[1], 1 + kGrain / (n * n + 1), [&](int64_t begin, int64_t end, int32_t) {
      for (int64_t h = begin; h < end; ++h)
        for (int64_t i = 0; i < n; ++i)
          for (int64_t j = 0; j < n; ++j) {
            const int64_t row = rows[i * n + j];
            f(row < 0 ? nullptr : element<T>(table, row, h), *element<T>(pairs, h, i, j));
          }
    });
  }
};

}  // namespace attn::vit
