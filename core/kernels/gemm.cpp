// SPDX-License-Identifier: Apache-2.0
#include "core/kernels/gemm.hpp"

#include <algorithm>

#include "core/kernels/gemm_bf16.hpp"
#include "core/kernels/reference/gemm.hpp"
#include "core/kernels/table.hpp"
#include "core/threads/notes.hpp"

namespace attn::kernels {
namespace {

constexpr int64_t kRowBlock = 192;     // rows of A that stay in L2 while panels of B pass by
constexpr int64_t kDepthBlock = 1024;  // k at most: a panel of B stays in L2
constexpr int64_t kDirectRows = 24;    // up to here packing B costs more than it saves
constexpr double kSerialWork =
    1.5e5;  // multiply-adds below which a second thread is not worth waking
constexpr int64_t kReferenceRows = 8;    // rows of a task of the scalar path
constexpr int64_t kSmallMatrix = 65536;  // elements of B up to which a batch is cut by matrix

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }

// B in the form that gemm_block takes.
struct Panels {
  const float* b;
  int64_t panel, row;
  const float* tail;
  int64_t tail_row;
};

Panels packed_panels(const GemmLayout& layout, const float* packed, int64_t k, int64_t n) {
  const int64_t full = n / layout.panel;
  return {packed, layout.panel * k, layout.panel, packed + full * layout.panel * k,
          round_up(n % layout.panel, layout.width)};
}

void pack_panel(const KernelTable& t, const GemmLayout& layout, int64_t index, int64_t k, int64_t n,
                const float* b, int64_t b_row, int64_t b_col, float* dst) {
  const int64_t first = index * layout.panel;
  const int64_t columns = std::min(layout.panel, n - first);
  t.gemm_pack_panel(k, columns, round_up(columns, layout.width), b + first * b_col, b_row, b_col,
                    dst + first * k);
}

struct Range {
  int64_t begin, end;
};

// How far a product goes along k at a time.
int64_t depth_of(int64_t k) { return round_up(divide_up(k, divide_up(k, kDepthBlock)), 8); }

// One block of C from begin to end of k, on one thread. a_scratch: for a packed copy of A's block. packed_a: that copy,
// where one was made; k is then no longer than kDepthBlock.
void run_block(const KernelTable& t, const GemmLayout& layout, const Gemm& g, const Panels& b,
               Range m, Range n, Range k, float* a_scratch, const float* packed_a = nullptr) {
  const int64_t depth = depth_of(k.end - k.begin);
  for (int64_t p = k.begin; p < k.end; p += depth) {
    const bool first = p == k.begin;
    GemmBlock block{};
    block.m = m.end - m.begin;
    block.n = n.end - n.begin;
    block.k = std::min(depth, k.end - p);
    block.a = g.a + m.begin * g.a_row + p * g.a_col;
    block.a_row = g.a_row;
    block.a_col = 1;
    block.packed_a = g.a_col != 1;
    if (packed_a != nullptr) {
      block.a = packed_a;
    } else if (block.packed_a) {
      t.gemm_pack_a(block.m, block.k, block.a, g.a_row, g.a_col, a_scratch);
      block.a = a_scratch;
    }
    block.b = b.b + n.begin / layout.panel * b.panel + p * b.row;
    block.b_panel = b.panel;
    block.b_row = b.row;
    block.b_tail = b.tail + p * b.tail_row;
    block.b_tail_row = b.tail_row;
    block.c = g.c + m.begin * g.c_row + n.begin;
    block.c_row = g.c_row;
    block.alpha = g.alpha;
    block.bias = first && g.bias != nullptr ? g.bias + n.begin : nullptr;
    block.accumulate = g.accumulate || !first;
    t.gemm_block(block);
  }
}

int64_t a_scratch_size(const Gemm& g, int64_t rows) {
  return g.a_col == 1 ? 0 : round_up(rows * std::min(round_up(g.k, 8), kDepthBlock), 16);
}

// How C is cut into tasks: row blocks, and ranges of whole panels.
struct Cut {
  int64_t rows, row_blocks, columns, column_blocks;
};

// Into at least `wanted` tasks where there are so many panels; of the next few numbers of column blocks, the one whose
// tasks keep `threads` equally busy (a 16th of the time, where 15 tasks meet two threads).
Cut cut_tasks(const GemmLayout& layout, int64_t m, int64_t n, int64_t wanted, int64_t threads) {
  Cut cut{};
  cut.rows = round_up(divide_up(m, divide_up(m, kRowBlock)), 6);
  cut.row_blocks = divide_up(m, cut.rows);
  const int64_t panels = divide_up(n, layout.panel);
  const int64_t least = std::clamp<int64_t>(divide_up(wanted, cut.row_blocks), 1, panels);
  int64_t columns = 0, longest = 0;  // panels of a task, and of the thread that has most
  for (int64_t blocks = least; blocks <= std::min(panels, least + threads - 1); ++blocks) {
    const int64_t each = divide_up(panels, blocks);
    const int64_t busy = divide_up(cut.row_blocks * divide_up(panels, each), threads) * each;
    if (columns == 0 || busy < longest) columns = each, longest = busy;
  }
  cut.columns = columns * layout.panel;
  cut.column_blocks = divide_up(n, cut.columns);
  return cut;
}

// A few tiles of C and a long k, as in weight gradients of narrow layers: k is cut too, by its length alone,
// and the parts are added in order.
void multiply_split(const KernelTable& t, const GemmLayout& layout, const Gemm& g, const Panels& b,
                    int64_t parts, Parallel& parallel) {
  const int64_t depth = round_up(divide_up(g.k, parts), 8);
  parts = divide_up(g.k, depth);
  const Cut cut = cut_tasks(layout, g.m, g.n, 1, 1);
  const int64_t size = g.m * g.n;
  float* partial = parallel.scratch_array<float>(static_cast<size_t>(parts * size));
  const int64_t a_size = a_scratch_size(g, cut.rows);
  float* a_scratch =
      parallel.scratch_array<float>(static_cast<size_t>(a_size * parallel.concurrency()));
  const int64_t tiles = cut.row_blocks * cut.column_blocks;
  parallel.loop(parts * tiles, 1, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t part = task / tiles, row = task % tiles % cut.row_blocks * cut.rows;
      const int64_t column = task % tiles / cut.row_blocks * cut.columns;
      Gemm piece = g;
      piece.c = partial + part * size;
      piece.c_row = g.n;
      piece.accumulate = false;
      piece.bias = nullptr;
      run_block(t, layout, piece, b, {row, std::min(g.m, row + cut.rows)},
                {column, std::min(g.n, column + cut.columns)},
                {part * depth, std::min(g.k, (part + 1) * depth)}, a_scratch + worker * a_size);
    }
  });
  t.sum_parts(size, parts, partial, size, partial);
  for (int64_t i = 0; i < g.m; ++i) {
    for (int64_t j = 0; j < g.n; ++j) {
      float& c = g.c[i * g.c_row + j];
      float x = partial[i * g.n + j];
      if (g.accumulate) x += c;
      if (g.bias != nullptr) x += g.bias[j];
      c = x;
    }
  }
}

// A whose rows are not contiguous: every row block is packed once for all column blocks.
void multiply_transposed(const KernelTable& t, const GemmLayout& layout, const Gemm& g,
                         const Panels& b, const Cut& cut, Parallel& parallel) {
  const int64_t depth = depth_of(g.k), each = round_up(cut.rows * depth, 16);
  float* packed = parallel.scratch_array<float>(static_cast<size_t>(each * cut.row_blocks));
  for (int64_t p = 0; p < g.k; p += depth) {
    const Range k{p, std::min(g.k, p + depth)};
    parallel.loop(cut.row_blocks, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t row = i * cut.rows;
        t.gemm_pack_a(std::min(g.m - row, cut.rows), k.end - k.begin,
                      g.a + row * g.a_row + p * g.a_col, g.a_row, g.a_col, packed + i * each);
      }
    });
    Gemm slab = g;
    if (p > 0) slab.accumulate = true, slab.bias = nullptr;
    parallel.loop(cut.row_blocks * cut.column_blocks, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t i = task % cut.row_blocks, row = i * cut.rows;
        const int64_t column = task / cut.row_blocks * cut.columns;
        run_block(t, layout, slab, b, {row, std::min(g.m, row + cut.rows)},
                  {column, std::min(g.n, column + cut.columns)}, k, nullptr, packed + i * each);
      }
    });
  }
}

void multiply(const KernelTable& t, const GemmLayout& layout, const Gemm& g, const Panels& b,
              Parallel& parallel) {
  const double work =
      static_cast<double>(g.m) * static_cast<double>(g.n) * static_cast<double>(g.k);
  const int64_t threads = parallel.concurrency();
  const int64_t tiles = divide_up(g.m, kRowBlock) * divide_up(g.n, layout.panel);
  if (tiles < 8 && g.k >= 2048 && work > kSerialWork) {
    const int64_t parts = std::min<int64_t>(g.k / 512, 16);
    if (parallel.notes != nullptr) parallel.notes->add("sums in parts: few results, long sums");
    return multiply_split(t, layout, g, b, parts, parallel);
  }
  const bool serial = threads == 1 || work < kSerialWork;
  const Cut cut = serial ? cut_tasks(layout, g.m, g.n, 1, 1)
                         : cut_tasks(layout, g.m, g.n, 6 * threads, threads);
  const int64_t a_size = a_scratch_size(g, cut.rows);
  if (parallel.notes != nullptr)
    parallel.notes->add(threads == 1 ? "one thread"
                        : serial     ? "one thread: too little work for more"
                                     : std::to_string(cut.row_blocks) + " x " +
                                       std::to_string(cut.column_blocks) + " blocks");
  if (a_size != 0 && cut.column_blocks > 1)
    return multiply_transposed(t, layout, g, b, cut, parallel);
  float* a_scratch =
      a_size == 0 ? nullptr : parallel.scratch_array<float>(static_cast<size_t>(a_size * threads));
  const int64_t tasks = cut.row_blocks * cut.column_blocks;
  parallel.loop(tasks, serial ? tasks : 1, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t row = task % cut.row_blocks * cut.rows;
      const int64_t column = task / cut.row_blocks * cut.columns;
      run_block(t, layout, g, b, {row, std::min(g.m, row + cut.rows)},
                {column, std::min(g.n, column + cut.columns)}, {0, g.k},
                a_scratch + worker * a_size);
    }
  });
}

// Which part of B has to be packed before a product: nothing, the last panel, everything.
enum class Packing { none, tail, all };

Packing packing(const GemmLayout& layout, const Gemm& g) {
  if (g.packed != nullptr) return Packing::none;
  if (g.b_col != 1 || g.m > kDirectRows) return Packing::all;
  return g.n % layout.panel == 0 ? Packing::none : Packing::tail;
}

int64_t packing_size(const GemmLayout& layout, const Gemm& g) {
  switch (packing(layout, g)) {
    case Packing::none:
      return 0;
    case Packing::tail:
      return round_up(g.n % layout.panel, layout.width) * g.k;
    case Packing::all:
      return round_up(g.n, layout.width) * g.k;
  }
  return 0;
}

// The panels of B, packing into scratch what has to be; on one thread when parallel is nullptr.
Panels make_panels(const KernelTable& t, const GemmLayout& layout, const Gemm& g, float* scratch,
                   Parallel* parallel) {
  if (g.packed != nullptr) return packed_panels(layout, g.packed, g.k, g.n);
  const int64_t full = g.n / layout.panel;
  const auto pack = [&](int64_t index, float* dst) {
    pack_panel(t, layout, index, g.k, g.n, g.b, g.b_row, g.b_col, dst);
  };
  if (packing(layout, g) != Packing::all) {
    const int64_t tail_row = round_up(g.n % layout.panel, layout.width);
    if (tail_row != 0) pack(full, scratch - full * layout.panel * g.k);
    return {g.b, layout.panel, g.b_row, scratch, tail_row};
  }
  const int64_t panels = divide_up(g.n, layout.panel);
  if (parallel == nullptr || g.n * g.k < 32768) {
    for (int64_t i = 0; i < panels; ++i) pack(i, scratch);
  } else {
    parallel->loop(panels, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) pack(i, scratch);
    });
  }
  return packed_panels(layout, scratch, g.k, g.n);
}

void note(Notes& notes, const GemmLayout& layout, const Gemm& g) {
  notes.add(g.packed != nullptr                  ? "weight packed before"
            : packing(layout, g) == Packing::all ? "packs its second operand: no weight that stays"
                                                 : "operands as they are: few rows");
  notes.add_lanes(std::to_string(g.n) + " columns", g.n, layout.width);
}

template <class T>
GemmOf<T> element(const GemmOf<T>& g, int64_t i) {
  GemmOf<T> one = g;
  one.batch = 1;
  one.a += i * g.a_batch;
  if (g.packed != nullptr) {
    one.packed += i * g.b_batch;
  } else {
    one.b += i * g.b_batch;
  }
  one.c += i * g.c_batch;
  return one;
}

// Many small products: each task makes whole products, with its own copy of B.
void multiply_batch(const KernelTable& t, const GemmLayout& layout, const Gemm& g,
                    Parallel& parallel) {
  const int64_t b_size = round_up(packing_size(layout, g), 16);
  const int64_t a_size = a_scratch_size(g, g.m);
  const int64_t each = b_size + a_size;
  float* scratch =
      each == 0 ? nullptr
                : parallel.scratch_array<float>(static_cast<size_t>(each * parallel.concurrency()));
  const double work =
      static_cast<double>(g.m) * static_cast<double>(g.n) * static_cast<double>(g.k);
  const auto grain = static_cast<int64_t>(std::max(1.0, kSerialWork / std::max(work, 1.0)));
  parallel.loop(g.batch, grain, [&](int64_t begin, int64_t end, int worker) {
    float* own = scratch == nullptr ? nullptr : scratch + worker * each;
    for (int64_t i = begin; i < end; ++i) {
      const Gemm one = element(g, i);
      const Panels b = make_panels(t, layout, one, own, nullptr);
      for (int64_t row = 0; row < g.m; row += kRowBlock) {
        run_block(t, layout, one, b, {row, std::min(g.m, row + kRowBlock)}, {0, g.n}, {0, g.k},
                  own + b_size);
      }
    }
  });
}

template <class T>
void write_empty_sum(const GemmOf<T>& g) {
  for (int64_t i = 0; i < g.batch * g.m; ++i) {
    T* c = g.c + i / g.m * g.c_batch + i % g.m * g.c_row;
    for (int64_t j = 0; j < g.n; ++j)
      c[j] = (g.accumulate ? c[j] : T(0)) + (g.bias != nullptr ? g.bias[j] : T(0));
  }
}

template <class T>
void multiply_reference(const GemmOf<T>& g, Parallel& parallel) {
  const bool packed = g.packed != nullptr;
  if (parallel.notes != nullptr) parallel.notes->add(kScalarWay<T>);
  parallel.loop(g.batch * g.m, kReferenceRows, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const GemmOf<T> one = element(g, i / g.m);
      const int64_t row = i % g.m;
      reference::gemm<T>(1, g.n, g.k, g.alpha, one.a + row * g.a_row, g.a_row, g.a_col,
                         packed ? one.packed : one.b, packed ? g.n : g.b_row, packed ? 1 : g.b_col,
                         one.c + row * g.c_row, g.c_row, g.accumulate, g.bias);
    }
  });
}

}  // namespace

void gemm(const GemmOf<double>& g, Parallel& parallel) {
  if (g.m <= 0 || g.n <= 0 || g.batch <= 0) return;
  if (g.k <= 0) return write_empty_sum(g);
  multiply_reference(g, parallel);
}

void gemm(const Gemm& given, Parallel& parallel) {
  Gemm g = given;
  if (g.m <= 0 || g.n <= 0 || g.batch <= 0) return;
  if (g.k <= 0) return write_empty_sum(g);
  if (!use_kernels()) return multiply_reference(g, parallel);
  if (g.pairs != nullptr || (uses_bf16(parallel) && g.packed == nullptr && g.m > kDirectRows))
    return gemm_bf16(g, parallel);
  const KernelTable& t = table();
  const GemmLayout layout = t.gemm_layout();
  if (g.batch > 1 && g.b_batch == 0 && g.a_batch == g.m * g.a_row && g.c_batch == g.m * g.c_row) {
    g.m *= g.batch;  // one tall product
    g.batch = 1;
  }
  if (parallel.notes != nullptr) note(*parallel.notes, layout, g);
  const bool shared = g.b_batch == 0;
  if (g.batch > 1 && (!shared || packing_size(layout, g) == 0) && g.n * g.k <= kSmallMatrix) {
    if (parallel.notes != nullptr) parallel.notes->add("small products, whole ones as tasks");
    return multiply_batch(t, layout, g, parallel);
  }
  const int64_t size = packing_size(layout, g);
  float* scratch = size == 0 ? nullptr : parallel.scratch_array<float>(static_cast<size_t>(size));
  Panels b{};
  for (int64_t i = 0; i < g.batch; ++i) {
    const Gemm one = element(g, i);
    if (i == 0 || !shared) b = make_panels(t, layout, one, scratch, &parallel);
    multiply(t, layout, one, b, parallel);
  }
}

void gemm_serial(const Gemm& g) {
  if (g.m <= 0 || g.n <= 0) return;
  if (g.k <= 0) return write_empty_sum(g);
  if (!use_kernels()) {
    reference::gemm<float>(g.m, g.n, g.k, g.alpha, g.a, g.a_row, 1, g.packed, g.n, 1, g.c, g.c_row,
                           g.accumulate, g.bias);
    return;
  }
  const KernelTable& t = table();
  const GemmLayout layout = t.gemm_layout();
  const Panels b = packed_panels(layout, g.packed, g.k, g.n);
  for (int64_t row = 0; row < g.m; row += kRowBlock)
    run_block(t, layout, g, b, {row, std::min(g.m, row + kRowBlock)}, {0, g.n}, {0, g.k}, nullptr);
}

size_t packed_size(int64_t k, int64_t n) {
  if (!use_kernels()) return static_cast<size_t>(k * n);
  return static_cast<size_t>(k * round_up(n, table().gemm_layout().width));
}

int packed_tag() { return static_cast<int>(cpu::level()); }

void pack_b(int64_t k, int64_t n, const float* b, int64_t b_row, int64_t b_col, float* dst) {
  if (!use_kernels()) {
    for (int64_t p = 0; p < k; ++p) {
      for (int64_t j = 0; j < n; ++j) dst[p * n + j] = b[p * b_row + j * b_col];
    }
    return;
  }
  const KernelTable& t = table();
  const GemmLayout layout = t.gemm_layout();
  for (int64_t i = 0; i < divide_up(n, layout.panel); ++i) {
    pack_panel(t, layout, i, k, n, b, b_row, b_col, dst);
  }
}

void pack_b(int64_t k, int64_t n, const float* b, int64_t b_row, int64_t b_col, float* dst,
            Parallel& parallel) {
  if (!use_kernels() || n * k < 32768) return pack_b(k, n, b, b_row, b_col, dst);
  const KernelTable& t = table();
  const GemmLayout layout = t.gemm_layout();
  parallel.loop(divide_up(n, layout.panel), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) pack_panel(t, layout, i, k, n, b, b_row, b_col, dst);
  });
}

}  // namespace attn::kernels
