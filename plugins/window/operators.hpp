// SPDX-License-Identifier: Apache-2.0
//
// The window type's own operators: cut a sequence into the windows of a square grid, put windows back,
// and spread the table of relative positions over all pairs of a window.
//
// Grid: token t of N lies at (t div s, t mod s), s the smallest integer with s * s >= N. The grid grows
// below and to the right to p = w ceil(s / w) rows and columns, and falls into (p / w)^2 windows, row by
// row; cell (i, j) of a window is its position i w + j. Cells without a token are padding. Every cell is a key; the
// cells that may hold tokens, the first rows() by columns() of a window, are queries. Where there are fewer of these, the
// cells behind them are all alike, so that one can stand for them: windows are rows() by columns() cells and that one.
// Liu et al. 2021, section 3.2.
//
// In zigzag the grid of s by s is walked along its anti-diagonals, up and down in turn, and windows are w w cells of that walk
// one after the other, the last ones padding: all cells are queries, and nothing stands for others.
// Floating tensors of any strides; pure; [call-thread]
#pragma once

#include <attn/sdk/plugin.hpp>
#include <attn/sdk/strided.hpp>

#include <algorithm>
#include <cmath>

namespace attn::window {

using namespace attn::sdk;

struct Grid {
  int64_t tokens, side, window, across;  // N, s, w, p / w
  bool zigzag;

  Grid(int64_t n, int64_t w, bool walk = false) : tokens(n), side(1), window(w), zigzag(walk) {
    // Doubling and halving: exact for every n, where a rounded root is not.
    while (side * side < n) side *= 2;
    for (int64_t step = side / 2; step > 0; step /= 2)
      if ((side - step) * (side - step) >= n) side -= step;
    across = (side + w - 1) / w;
  }
  [[nodiscard]] int64_t windows() const {
    return zigzag ? (side * side + cells() - 1) / cells() : across * across;
  }
  [[nodiscard]] int64_t cells() const { return window * window; }
  // Of each window: fewer than w where the whole grid is smaller than one window.
  [[nodiscard]] int64_t rows() const {
    return zigzag ? window : std::min(window, (tokens + side - 1) / side);
  }
  [[nodiscard]] int64_t columns() const { return zigzag ? window : std::min(window, side); }
  // The window of a token.
  [[nodiscard]] int64_t window_of(int64_t token) const {
    const int64_t row = token / side, column = token % side;
    return zigzag ? step(row, column) / cells() : row / window * across + column / window;
  }

  // What a tensor (windows, cells, C) holds of a window: all of it, its first rows() by columns(), or one cell more.
  struct Part {
    int64_t rows, columns, more;
  };
  [[nodiscard]] Part part(int64_t held) const {
    if (held == cells()) return {window, window, 0};
    return {rows(), columns(), held - rows() * columns()};
  }
  // token(cell, first token, how many) for the runs of tokens of a window, and padding(cell, how many)
  // for the cells between them. Both by position in the part.
  template <class Tokens, class Padding>
  void runs(int64_t index, const Part& part, Tokens&& token, Padding&& padding) const {
    if (zigzag) {
      for (int64_t cell = 0; cell < cells(); ++cell) {
        const int64_t at = token_of(index * cells() + cell);
        at < tokens ? token(cell, at, int64_t{1}) : padding(cell, int64_t{1});
      }
      return;
    }
    const int64_t top = index / across * window, left = index % across * window;
    for (int64_t i = 0; i < part.rows; ++i) {
      const int64_t first = (top + i) * side + left;
      int64_t n = top + i < side ? std::min(part.columns, side - left) : 0;
      n = std::clamp<int64_t>(tokens - first, 0, n);
      if (n > 0) token(i * part.columns, first, n);
      if (n < part.columns) padding(i * part.columns + n, part.columns - n);
    }
    if (part.more > 0) padding(part.rows * part.columns, part.more);
  }

 private:
  // Steps of the walk to a cell of the grid. Behind the longest diagonal it is the walk from the other end.
  [[nodiscard]] int64_t step(int64_t row, int64_t column) const {
    const int64_t diagonal = row + column;
    if (diagonal >= side) return side * side - 1 - step(side - 1 - row, side - 1 - column);
    return diagonal * (diagonal + 1) / 2 + (diagonal % 2 == 1 ? row : column);
  }
  // The token of a step; N or more: none.
  [[nodiscard]] int64_t token_of(int64_t steps) const {
    if (steps >= side * side) return tokens;
    const bool far = steps >= side * (side + 1) / 2;
    const int64_t near = far ? side * side - 1 - steps : steps;
    auto diagonal = static_cast<int64_t>(std::sqrt(2.0 * static_cast<double>(near)));
    while (diagonal * (diagonal + 1) / 2 > near) --diagonal;
    while ((diagonal + 1) * (diagonal + 2) / 2 <= near) ++diagonal;
    const int64_t along = near - diagonal * (diagonal + 1) / 2,
                  row = diagonal % 2 == 1 ? along : diagonal - along, column = diagonal - row;
    return far ? (side - 1 - row) * side + side - 1 - column : row * side + column;
  }
};

// Windows of a task: some 32768 elements.
inline int64_t grain(int64_t elements) {
  return std::max<int64_t>(1, 32768 / std::max<int64_t>(elements, 1));
}

// f(element of a window, element of the sequence) for all tokens, and padding(row) for the other cells of windows.
// windows: (batch (p / w)^2, cells, C), of whole windows or of parts; sequence: (B, N, C), B
// the batch, or 1 and repeated. One task has all examples of what is repeated.
template <class T, class F, class Padding>
void each_token(const OpCall& c, const Grid& g, const attn_view& windows, const attn_view& sequence,
                F&& f, Padding&& padding) {
  const int64_t n = windows.shape[2], total = windows.shape[0];
  const Grid::Part part = g.part(windows.shape[1]);
  const bool repeated = sequence.shape[0] == 1;
  const int64_t tasks = repeated ? std::min(total, g.windows()) : total;
  c.loop(tasks, grain(windows.shape[1] * n), [&](int64_t begin, int64_t end, int32_t) {
    for (int64_t task = begin; task < end; ++task)
      for (int64_t i = task; i < total; i += tasks)
        g.runs(
            i % g.windows(), part,
            [&](int64_t cell, int64_t token, int64_t count) {
              const int64_t b = repeated ? 0 : i / g.windows();
              for (int64_t k = 0; k < count; ++k)
                for_line(n, f, line<T>(windows, i, cell + k), line<T>(sequence, b, token + k));
            },
            [&](int64_t cell, int64_t count) {
              for (int64_t k = 0; k < count; ++k) padding(line<T>(windows, i, cell + k));
            });
  });
}
template <class T, class F>
void each_token(const OpCall& c, const Grid& g, const attn_view& windows, const attn_view& sequence,
                F&& f) {
  each_token<T>(c, g, windows, sequence, f, [](Line<T>) {});
}

inline attn_cost cost_of_copy(const OpCall& c) {
  const double element = c.element_size();
  return {sizeof(attn_cost), 0, 0,
          element * static_cast<double>(size_of(*c.in(0)) + size_of(*c.out(0)))};
}

// x (B, N, C) -> (batch (p / w)^2, cells, C). Padding cells hold `fill` (C), zeros without it. batch: of
// the result; 0: B; another one repeats an x of batch 1. cells: 0: w w; or rows() columns(), or one more.
struct partition {
  static constexpr const char* name = "window.partition";
  static constexpr const char* doc = "cuts a sequence (batch, seq, c) into windows of its grid";
  static constexpr uint32_t version = 1, inputs = 2, outputs = 1, required = 1;
  static constexpr attn_param attributes[] = {int_attribute("window", 1), int_attribute("batch", 0),
                                              int_attribute("cells", 0),
                                              bool_attribute("zigzag", false)};

  static void shape(OpCall c) {
    const attn_view& x = *c.in(0);
    if (x.rank != 3) fail("x must be (batch, seq, c), got shape {}", shape_text(x));
    if (c.integer(0) < 1) fail("window must be positive");
    const int64_t batch = c.integer(1) ? c.integer(1) : x.shape[0];
    if (batch != x.shape[0] && x.shape[0] != 1)
      fail("x of shape {} has another batch than {}", shape_text(x), batch);
    if (const attn_view* fill = c.in(1))
      if (fill->rank != 1 || fill->shape[0] != x.shape[2] || fill->dtype != x.dtype)
        fail("fill of shape {} does not suit x of shape {}", shape_text(*fill), shape_text(x));
    const Grid g(x.shape[1], c.integer(0), c.flag(3));
    const int64_t cells = c.integer(2) ? c.integer(2) : g.cells(),
                  behind = cells - g.rows() * g.columns();
    if (cells != g.cells() && behind != 0 && behind != 1)
      fail("cells is {}; windows of {} tokens have {}, or {} and one more", cells, g.tokens,
           g.cells(), g.rows() * g.columns());
    c.out_shape(0, x.dtype, {batch * g.windows(), cells, x.shape[2]});
  }

  template <class T>
  static void forward(OpCall c) {
    const attn_view& x = *c.in(0);
    const Grid g(x.shape[1], c.integer(0), c.flag(3));
    T zero = 0;
    const Line<T> fill = c.in(1) ? line<T>(*c.in(1)) : Line<T>{&zero, 0};
    const auto copy = [](T& to, T from) { to = from; };
    each_token<T>(c, g, *c.out(0), x, copy,
                  [&](Line<T> cell) { for_line(x.shape[2], copy, cell, fill); });
  }

  template <class T>
  static void vjp(OpCall c) {
    if (!c.dout(0)) return;
    const attn_view& dy = *c.dout(0);
    const Grid g(c.in(0)->shape[1], c.integer(0), c.flag(3));
    if (c.din(0)) each_token<T>(c, g, dy, *c.din(0), [](T from, T& to) { to += from; });
    if (!c.din(1)) return;
    // Tasks share the elements of the fill.
    const Line<T> dfill = line<T>(*c.din(1));
    c.loop(dy.shape[2], 16, [&](int64_t begin, int64_t end, int32_t) {
      for (int64_t i = 0; i < dy.shape[0]; ++i)
        g.runs(
            i % g.windows(), g.part(dy.shape[1]), [](auto...) {},
            [&](int64_t cell, int64_t count) {
              for (int64_t k = 0; k < count; ++k)
                for (int64_t j = begin; j < end; ++j) dfill[j] += line<T>(dy, i, cell + k)[j];
            });
    });
  }

  static attn_cost cost(OpCall c) { return cost_of_copy(c); }
};

// x (B (p / w)^2, rows columns, C), the queries of each window (or w w cells), -> (B, tokens, C).
struct reverse {
  static constexpr const char* name = "window.reverse";
  static constexpr const char* doc = "puts windows back into a sequence (batch, seq, c)";
  static constexpr uint32_t version = 1, inputs = 1, outputs = 1;
  static constexpr attn_param attributes[] = {
      int_attribute("window", 1), int_attribute("tokens", 1), bool_attribute("zigzag", false)};

  static void shape(OpCall c) {
    const attn_view& x = *c.in(0);
    if (c.integer(0) < 1 || c.integer(1) < 1) fail("window and tokens must be positive");
    const Grid g(c.integer(1), c.integer(0), c.flag(2));
    if (x.rank != 3 || (x.shape[1] != g.cells() && x.shape[1] != g.rows() * g.columns()) ||
        x.shape[0] % g.windows() != 0)
      fail("x of shape {} does not hold the windows of {} tokens", shape_text(x), g.tokens);
    c.out_shape(0, x.dtype, {x.shape[0] / g.windows(), g.tokens, x.shape[2]});
  }
  template <class T>
  static void forward(OpCall c) {
    each_token<T>(c, Grid(c.integer(1), c.integer(0), c.flag(2)), *c.in(0), *c.out(0),
                  [](T from, T& to) { to = from; });
  }
  template <class T>
  static void vjp(OpCall c) {
    if (!c.dout(0) || !c.din(0)) return;
    each_token<T>(c, Grid(c.integer(1), c.integer(0), c.flag(2)), *c.din(0), *c.dout(0),
                  [](T& to, T from) { to += from; });
  }
  static attn_cost cost(OpCall c) { return cost_of_copy(c); }
};

// The first rows and columns of a window: attributes of the two operators below.
struct Corner {
  int64_t window, rows, columns;
  static constexpr std::array attributes{int_attribute("window", 1), int_attribute("rows", 1),
                                         int_attribute("columns", 1)};
  explicit Corner(const OpCall& c)
      : window(c.integer(0)), rows(c.integer(1)), columns(c.integer(2)) {}
  [[nodiscard]] bool fits() const {
    return window >= 1 && rows >= 1 && rows <= window && columns >= 1 && columns <= window;
  }
  [[nodiscard]] int64_t size() const { return rows * columns; }
};

// x (B, H, w w, C) -> (B, H, rows columns, C): the cells of the first rows and columns of each window.
struct corner {
  static constexpr const char* name = "window.corner";
  static constexpr const char* doc = "the first rows and columns of windows (batch, head, cell, c)";
  static constexpr uint32_t version = 1, inputs = 1, outputs = 1;
  static constexpr auto attributes = Corner::attributes;

  static void shape(OpCall c) {
    const attn_view& x = *c.in(0);
    const Corner k(c);
    if (x.rank != 4 || !k.fits() || x.shape[2] != k.window * k.window)
      fail("x of shape {} has no {} x {} cells of windows of {}", shape_text(x), k.rows, k.columns,
           k.window);
    c.out_shape(0, x.dtype, {x.shape[0], x.shape[1], k.size(), x.shape[3]}, {0, 2, 1, 3});
  }
  template <class T>
  static void forward(OpCall c) {
    run<T>(c, *c.in(0), *c.out(0), [](T from, T& to) { to = from; });
  }
  template <class T>
  static void vjp(OpCall c) {
    if (c.dout(0) && c.din(0)) run<T>(c, *c.din(0), *c.dout(0), [](T& to, T from) { to += from; });
  }

 private:
  // f(element among all cells, the same element of the corner)
  template <class T, class F>
  static void run(const OpCall& c, const attn_view& all, const attn_view& some, F&& f) {
    const Corner k(c);
    const int64_t heads = all.shape[1], n = all.shape[3];
    c.loop(all.shape[0] * heads, grain(k.size() * n), [&](int64_t begin, int64_t end, int32_t) {
      for (int64_t i = begin; i < end; ++i)
        for (int64_t q = 0; q < k.size(); ++q) {
          const int64_t cell = q / k.columns * k.window + q % k.columns;
          for_line(n, f, line<T>(all, i / heads, i % heads, cell),
                   line<T>(some, i / heads, i % heads, q));
        }
    });
  }
};

// table ((2w - 1)^2, H) -> (H, rows columns, w w): entry (h, a, b) is the table's for the distance from key b to
// query a (eq. 4), queries counted as corner does.
struct position_bias {
  static constexpr const char* name = "window.position_bias";
  static constexpr const char* doc = "the table of relative positions for every pair of a window";
  static constexpr uint32_t version = 1, inputs = 1, outputs = 1;
  static constexpr auto attributes = Corner::attributes;

  static void shape(OpCall c) {
    const attn_view& t = *c.in(0);
    const Corner k(c);
    const int64_t w = k.window;
    if (!k.fits() || t.rank != 2 || t.shape[0] != (2 * w - 1) * (2 * w - 1))
      fail("table of shape {} does not suit windows of {}", shape_text(t), w);
    c.out_shape(0, t.dtype, {t.shape[1], k.size(), w * w});
  }
  template <class T>
  static void forward(OpCall c) {
    run<T>(c, *c.in(0), *c.out(0), [](T entry, T& pair) { pair = entry; });
  }
  template <class T>
  static void vjp(OpCall c) {
    if (c.dout(0) && c.din(0))
      run<T>(c, *c.din(0), *c.dout(0), [](T& entry, T pair) { entry += pair; });
  }

 private:
  // f(entry, pair) for all pairs. Heads share no entry, so they may run side by side.
  template <class T, class F>
  static void run(const OpCall& c, const attn_view& table, const attn_view& pairs, F&& f) {
    const Corner k(c);
    const int64_t w = k.window;
    c.loop(table.shape[1], grain(k.size() * w * w), [&](int64_t begin, int64_t end, int32_t) {
      for (int64_t h = begin; h < end; ++h)
        for (int64_t a = 0; a < k.size(); ++a)
          for (int64_t b = 0; b < w * w; ++b) {
            const int64_t down = a / k.columns - b / w, right = a % k.columns - b % w;
            f(*element<T>(table, (down + w - 1) * (2 * w - 1) + right + w - 1, h),
              *element<T>(pairs, h, a, b));
          }
    });
  }
};

// table ((2w - 1)^2, H) -> (H, rows columns, rows columns + 1): position_bias of the keys of the corner, and of one key
// that stands for all cells behind it, log sum over them of e^entry: equal keys whose scores differ by their entries.
struct counted_bias {
  static constexpr const char* name = "window.counted_bias";
  static constexpr const char* doc = "position_bias with one key for the padding behind the corner";
  static constexpr uint32_t version = 1, inputs = 1, outputs = 1;
  static constexpr auto attributes = Corner::attributes;

  static void shape(OpCall c) {
    position_bias::shape(c);
    const Corner k(c);
    c.out_shape(0, c.in(0)->dtype, {c.in(0)->shape[1], k.size(), k.size() + 1});
  }
  template <class T>
  static void forward(OpCall c) {
    each<T>(c, *c.out(0), [&](const Row<T>& row, Line<T> out) {
      row.corner([&](int64_t key, int64_t place) { out[key] = row.entry[place]; });
      out[row.k.size()] = static_cast<T>(row.log_sum_behind());
    });
  }
  template <class T>
  static void vjp(OpCall c) {
    if (!c.dout(0) || !c.din(0)) return;
    each<T>(c, *c.dout(0), [&](const Row<T>& row, Line<T> dout) {
      const Line<T> to = {element<T>(*c.din(0), 0, row.head), c.din(0)->stride[0]};
      row.corner([&](int64_t key, int64_t place) { to[place] += dout[key]; });
      const double whole = row.log_sum_behind(), slope = static_cast<double>(dout[row.k.size()]);
      if (whole == -INFINITY) return;
      const bool near = row.most - whole < kFar;
      const double share = near ? slope * std::exp(row.most - whole) : 0;
      row.behind([&](int64_t first, int64_t n) {
        for (int64_t at = first; at < first + n; ++at)
          to[at] +=
              static_cast<T>(near ? share * row.powers[at]
                                  : slope * std::exp(static_cast<double>(row.entry[at]) - whole));
      });
    });
  }

 private:
  static constexpr double kFar =
      400;  // of logarithms: powers still tell entries so far below the largest apart
  // The entries of one head, and the places in them of the keys of one query.
  template <class T>
  struct Row {
    Corner k;
    int64_t head, query;
    Line<T> entry;
    double most;           // of the entries
    const double* powers;  // e^(entry - most)
    // Of a key at (down, right), for the query.
    [[nodiscard]] int64_t place(int64_t down, int64_t right) const {
      const int64_t w = k.window;
      return (query / k.columns - down + w - 1) * (2 * w - 1) + query % k.columns - right + w - 1;
    }
    template <class F>
    void corner(F&& f) const {
      for (int64_t key = 0; key < k.size(); ++key) f(key, place(key / k.columns, key % k.columns));
    }
    // f(first place, how many) of the cells behind the corner, which lie side by side, a row of the window at a time.
    template <class F>
    void behind(F&& f) const {
      for (int64_t i = 0; i < k.window; ++i) {
        const int64_t from = i < k.rows ? k.columns : 0;
        if (from < k.window) f(place(i, k.window - 1), k.window - from);
      }
    }
    [[nodiscard]] double log_sum_behind() const {
      double sum = 0;
      behind([&](int64_t first, int64_t n) {
        double part[4] = {};
        int64_t j = 0;
        for (; j + 4 <= n; j += 4)
          for (int u = 0; u < 4; ++u) part[u] += powers[first + j + u];
        for (; j < n; ++j) part[0] += powers[first + j];
        sum += (part[0] + part[1]) + (part[2] + part[3]);
      });
      if (sum > std::exp(-kFar)) return most + std::log(sum);
      // All of them far below the largest entry: by the largest of their own.
      double top = -INFINITY;
      sum = 0;
      const auto each = [&](auto f) {
        behind([&](int64_t first, int64_t n) {
          for (int64_t at = first; at < first + n; ++at) f(static_cast<double>(entry[at]));
        });
      };
      each([&](double x) { top = std::max(top, x); });
      if (top == -INFINITY) return top;
      each([&](double x) { sum += std::exp(x - top); });
      return top + std::log(sum);
    }
  };
  // body(row, line of pairs) for all heads and queries; heads side by side.
  template <class T, class F>
  static void each(const OpCall& c, const attn_view& pairs, F&& body) {
    const Corner k(c);
    const attn_view& table = *c.in(0);
    const int64_t n = table.shape[0], heads = table.shape[1];
    double* powers = c.scratch_array<double>(static_cast<size_t>(n * heads));
    c.loop(heads, grain(k.size() * k.window * k.window), [&](int64_t begin, int64_t end, int32_t) {
      for (int64_t h = begin; h < end; ++h) {
        const Line<T> entry = {element<T>(table, 0, h), table.stride[0]};
        double* own = powers + h * n;
        // Distances of keys from queries of the corner.
        const auto each_place = [&](auto f) {
          for (int64_t i = 0; i < k.window + k.rows - 1; ++i)
            for (int64_t j = 0; j < k.window + k.columns - 1; ++j) f(i * (2 * k.window - 1) + j);
        };
        double most = -INFINITY;
        each_place([&](int64_t at) { most = std::max(most, static_cast<double>(entry[at])); });
        each_place([&](int64_t at) { own[at] = std::exp(static_cast<double>(entry[at]) - most); });
        for (int64_t q = 0; q < k.size(); ++q)
          body(Row<T>{k, h, q, entry, most, own}, line<T>(pairs, h, q));
      }
    });
  }
};

}  // namespace attn::window
