// SPDX-License-Identifier: Apache-2.0
#include "core/kernels/gemm_bf16.hpp"

#include <algorithm>
#include <string>

#include "core/kernels/bf16.hpp"
#include "core/threads/notes.hpp"

namespace attn::kernels {
namespace {

constexpr int64_t kBf16Depth = 1024;  // of k at a time at most: two panels of B are 64 KB
constexpr int64_t kRowBlock = 512;    // rows and columns of a task at most
constexpr int64_t kColumnBlock = 512;
constexpr int64_t kSlab = 1 << 21;  // numbers of A that are rounded before they are used
constexpr double kSerialWork =
    1e6;  // multiply-adds below which a second thread is not worth waking

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Panels of `count` matrices of B from the first on.
void pack(const Bf16Table& t, const Gemm& g, int64_t count, uint32_t* dst, Parallel& parallel) {
  const int64_t panels = divide_up(g.n, kBf16Columns), size = bf16_panel_size(g.k);
  const auto grain = std::max<int64_t>(1, 16384 / size);
  parallel.loop(count * panels, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t j = i % panels * kBf16Columns;
      t.pack_pairs(g.k, std::min(kBf16Columns, g.n - j), g.b + i / panels * g.b_batch + j * g.b_col,
                   g.b_row, g.b_col, dst + i * size);
    }
  });
}

// Rows [first, last) of C, whole groups, of matrix i. a: of group 0 of this part.
void multiply_rows(const Bf16Table& t, const Gemm& g, int64_t i, int64_t first, int64_t last,
                   int64_t column, int64_t columns, const uint16_t* a, const uint32_t* b) {
  const int64_t depth = bf16_depth(g.k);
  const int64_t each = bf16_depth(divide_up(depth, divide_up(depth, kBf16Depth)));
  for (int64_t p = 0; p < depth; p += each) {
    Bf16Block block{};
    block.m = last - first, block.n = columns, block.k = std::min(each, depth - p);
    block.a = a + p * kBf16Rows, block.a_group = bf16_group_size(g.k);
    block.b = b + column / kBf16Columns * bf16_panel_size(g.k) + p * kBf16Columns / 2;
    block.b_panel = bf16_panel_size(g.k);
    block.c = g.c + i * g.c_batch + first * g.c_row + column, block.c_row = g.c_row;
    block.bias = p == 0 && g.bias != nullptr ? g.bias + column : nullptr;
    block.accumulate = g.accumulate || p > 0;
    t.block(block);
  }
}

// Matrices [first, last) of the batch, whose B is at b, b_step from one to the next.
void multiply(const Bf16Table& t, const Gemm& g, int64_t first, int64_t last, const uint32_t* b,
              int64_t b_step, Parallel& parallel) {
  const int64_t size = bf16_group_size(g.k), groups = divide_up(g.m, kBf16Rows);
  const int64_t slab =
      std::min(groups * (last - first), std::max<int64_t>(kSlab / size, kRowBlock / kBf16Rows));
  uint16_t* a = parallel.scratch_array<uint16_t>(static_cast<size_t>(slab * size));
  const int64_t threads = parallel.concurrency();
  // A slab: groups [begin, end) of all that the matrices have, counted through.
  for (int64_t begin = first * groups; begin < last * groups; begin += slab) {
    const int64_t end = std::min(last * groups, begin + slab);
    const double work =
        static_cast<double>((end - begin) * kBf16Rows * g.k) * static_cast<double>(g.n);
    const bool serial = threads == 1 || work < kSerialWork;
    parallel.loop(
        end - begin, serial ? end - begin : std::max<int64_t>(1, 16384 / size),
        [&](int64_t from, int64_t to, int) {
          for (int64_t x = from; x < to; ++x) {
            const int64_t i = (begin + x) / groups, row = (begin + x) % groups * kBf16Rows;
            t.pack_rows(std::min(kBf16Rows, g.m - row), g.k, g.a + i * g.a_batch + row * g.a_row,
                        g.a_row, g.a_col, g.alpha, a + x * size);
          }
        });
    const int64_t columns =
        serial ? g.n : std::min(kColumnBlock, divide_up(divide_up(g.n, threads), 32) * 32);
    const int64_t blocks = divide_up(g.n, columns), each = kRowBlock / kBf16Rows;
    const int64_t tasks = divide_up(end - begin, each) * blocks;
    parallel.loop(tasks, serial ? tasks : 1, [&](int64_t from, int64_t to, int) {
      for (int64_t task = from; task < to; ++task) {
        const int64_t column = task % blocks * columns;
        const int64_t stop = std::min(end, begin + (task / blocks + 1) * each);
        for (int64_t x = begin + task / blocks * each; x < stop;) {  // the part of each matrix
          const int64_t i = x / groups, next = std::min(stop, (i + 1) * groups);
          multiply_rows(t, g, i, (x - i * groups) * kBf16Rows,
                        std::min(g.m, (next - i * groups) * kBf16Rows), column,
                        std::min(columns, g.n - column), a + (x - begin) * size,
                        b + (i - first) * b_step);
          x = next;
        }
      }
    });
  }
}

}  // namespace

bool uses_bf16(const Parallel& parallel) { return parallel.bfloat16 && bf16_table() != nullptr; }

size_t bf16_packed_size(int64_t k, int64_t n) {
  return static_cast<size_t>(divide_up(n, kBf16Columns) * bf16_panel_size(k));
}

void pack_bf16(int64_t k, int64_t n, const float* b, uint32_t* dst) {
  const Bf16Table& t = *bf16_table();
  for (int64_t j = 0; j < n; j += kBf16Columns, dst += bf16_panel_size(k))
    t.pack_pairs(k, std::min(kBf16Columns, n - j), b + j, n, 1, dst);
}

void gemm_bf16(const Gemm& g, Parallel& parallel) {
  const Bf16Table& t = *bf16_table();
  if (parallel.notes != nullptr)
    parallel.notes->add(t.way + std::string(g.pairs != nullptr ? ", weight packed before" : ""));
  const auto size = static_cast<int64_t>(bf16_packed_size(g.k, g.n));
  if (g.pairs != nullptr) return multiply(t, g, 0, g.batch, g.pairs, 0, parallel);
  const bool shared = g.b_batch == 0;
  const int64_t most = shared ? g.batch : std::clamp<int64_t>(kSlab / size, 1, g.batch);
  uint32_t* b = parallel.scratch_array<uint32_t>(static_cast<size_t>(shared ? size : most * size));
  if (shared) pack(t, g, 1, b, parallel);
  const size_t mark = parallel.mark();
  for (int64_t i = 0; i < g.batch; i += most) {
    Gemm part = g;
    part.b += i * g.b_batch;
    const int64_t count = std::min(most, g.batch - i);
    if (!shared) pack(t, part, count, b, parallel);
    multiply(t, g, i, i + count, b, shared ? 0 : size, parallel);
    parallel.rewind(mark);
  }
}

}  // namespace attn::kernels
