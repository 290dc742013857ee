// SPDX-License-Identifier: Apache-2.0
#include "core/kernels/compact.hpp"

#include <algorithm>

#include "core/kernels/gemm.hpp"
#include "core/kernels/table.hpp"
#include "core/tensor/narrow.hpp"

namespace attn::kernels {
namespace {

constexpr int64_t kRowBlock = 192;     // rows of A for which a panel is widened once
constexpr int64_t kDepthBlock = 512;   // rows of B that are widened at a time: 128 KB
constexpr double kSerialWork = 1.5e5;  // multiply-adds of a task at least

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

const char* panel_of(const CompactGemm& g, int64_t first) {
  return static_cast<const char*>(g.b) +
         first / kCompactColumns * compact_bytes(g.kind, g.k, kCompactColumns);
}

void multiply_few(const KernelTable& t, const CompactGemm& g, Parallel& parallel) {
  const double work = static_cast<double>(g.m * g.k * kCompactColumns);
  const auto grain = static_cast<int64_t>(std::max(1.0, kSerialWork / work));
  parallel.loop(divide_up(g.n, kCompactColumns), grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t j = begin * kCompactColumns; j < end * kCompactColumns && j < g.n;
         j += kCompactColumns)
      t.compact_panel({g.kind, g.m, std::min(kCompactColumns, g.n - j), g.k, g.a, g.a_row, g.a_col,
                       panel_of(g, j), g.c + j, g.c_row, g.bias == nullptr ? nullptr : g.bias + j});
  });
}

// A block of rows times one panel, which is widened a piece at a time.
void multiply_block(const KernelTable& t, const CompactGemm& g, int64_t row, int64_t column,
                    float* scratch) {
  const GemmLayout layout = t.gemm_layout();
  const int64_t width = compact_width(g.n, column);
  for (int64_t p = 0; p < g.k; p += kDepthBlock) {
    const int64_t depth = std::min(kDepthBlock, g.k - p);
    t.compact_unpack(g.kind, width, depth, panel_of(g, column) + compact_bytes(g.kind, p, width),
                     scratch);
    GemmBlock block{};
    block.m = std::min(kRowBlock, g.m - row);
    block.n = std::min(kCompactColumns, g.n - column);
    block.k = depth;
    block.a = g.a + row * g.a_row + p;
    block.a_row = g.a_row;
    block.a_col = 1;
    block.b = scratch;
    block.b_panel = layout.panel * depth;
    block.b_row = layout.panel;
    block.b_tail = scratch + block.n / layout.panel * block.b_panel;
    block.b_tail_row = layout.panel;
    block.c = g.c + row * g.c_row + column;
    block.c_row = g.c_row;
    block.alpha = 1;
    block.bias = p == 0 && g.bias != nullptr ? g.bias + column : nullptr;
    block.accumulate = p > 0;
    t.gemm_block(block);
  }
}

void multiply_many(const KernelTable& t, const CompactGemm& g, Parallel& parallel) {
  constexpr int64_t kScratch = kDepthBlock * kCompactColumns;
  const int64_t rows = divide_up(g.m, kRowBlock);
  float* scratch =
      parallel.scratch_array<float>(static_cast<size_t>(kScratch * parallel.concurrency()));
  parallel.loop(rows * divide_up(g.n, kCompactColumns), 1,
                [&](int64_t begin, int64_t end, int worker) {
                  for (int64_t i = begin; i < end; ++i)
                    multiply_block(t, g, i % rows * kRowBlock, i / rows * kCompactColumns,
                                   scratch + worker * kScratch);
                });
}

// B as it was before, rows side by side.
void widen_all(const CompactGemm& g, float* to) {
  for (int64_t column = 0; column < g.n; column += kCompactColumns) {
    const int64_t width = compact_width(g.n, column), columns = std::min(width, g.n - column);
    const char* from = panel_of(g, column);
    const float* scales = nullptr;
    for (int64_t p = 0; p < g.k; ++p, from += width * compact_element(g.kind)) {
      if (g.kind == StorageKind::int8 && p % kCompactGroup == 0) {
        scales = reinterpret_cast<const float*>(from);
        from += width * static_cast<int64_t>(sizeof(float));
      }
      float* row = to + p * g.n + column;
      widen(g.kind, columns, from, 1, row);
      for (int64_t j = 0; scales != nullptr && j < columns; ++j) row[j] *= scales[j];
    }
  }
}

}  // namespace

size_t compact_size(StorageKind kind, int64_t k, int64_t n) {
  const int64_t full = n / kCompactColumns;
  const int64_t rest = n % kCompactColumns == 0
                           ? 0
                           : compact_bytes(kind, k, compact_width(n, full * kCompactColumns));
  return static_cast<size_t>(full * compact_bytes(kind, k, kCompactColumns) + rest);
}

bool compact(StorageKind kind, int64_t k, int64_t n, const float* b, void* dst) {
  char* to = static_cast<char*>(dst);
  bool fits = true;
  for (int64_t column = 0; column < n; column += kCompactColumns) {
    const int64_t width = compact_width(n, column), columns = std::min(width, n - column);
    for (int64_t first = 0; first < k; first += kCompactGroup) {
      const int64_t rows = std::min(kCompactGroup, k - first);
      float line[kCompactColumns] = {}, inverse[kCompactColumns] = {};
      if (kind == StorageKind::int8) {
        uint32_t largest[kCompactColumns] = {};
        for (int64_t p = first; p < first + rows; ++p)
          for (int64_t j = 0; j < columns; ++j)
            largest[j] = std::max(largest[j], largest_magnitude(1, b + p * n + column + j));
        auto* scales = reinterpret_cast<float*>(to);
        for (int64_t j = 0; j < width; ++j) {
          const Scale s = scale_of(largest[j]);
          scales[j] = s.scale;
          inverse[j] = s.inverse;
        }
        to += width * static_cast<int64_t>(sizeof(float));
      }
      for (int64_t p = first; p < first + rows; ++p, to += width * compact_element(kind)) {
        std::copy_n(b + p * n + column, columns, line);
        if (kind == StorageKind::int8)
          quantize(width, line, inverse, 1, reinterpret_cast<int8_t*>(to));
        else
          fits = narrow(kind, width, line, reinterpret_cast<uint16_t*>(to)) && fits;
      }
    }
  }
  return fits;
}

void gemm(const CompactGemm& given, Parallel& parallel) {
  CompactGemm g = given;
  if (g.m <= 0 || g.n <= 0) return;
  if (!use_kernels() || g.k <= 0) {
    Gemm plain{g.m, g.n, g.k, g.a, g.a_row, g.a_col};
    float* b = parallel.scratch_array<float>(static_cast<size_t>(g.k * g.n) + 1);
    widen_all(g, b);
    plain.b = b, plain.b_row = g.n;
    plain.c = g.c, plain.c_row = g.c_row, plain.bias = g.bias;
    return gemm(plain, parallel);
  }
  if (g.m <= kCompactRows) return multiply_few(table(), g, parallel);
  if (g.a_col != 1) {
    float* rows = parallel.scratch_array<float>(static_cast<size_t>(g.m * g.k));
    for (int64_t i = 0; i < g.m; ++i)
      for (int64_t p = 0; p < g.k; ++p) rows[i * g.k + p] = g.a[i * g.a_row + p * g.a_col];
    g.a = rows, g.a_row = g.k, g.a_col = 1;
  }
  multiply_many(table(), g, parallel);
}

}  // namespace attn::kernels
