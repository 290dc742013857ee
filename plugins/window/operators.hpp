// SPDX-License-Identifier: Apache-2.0
//
// The window type's own operators: cut a sequence into the windows of a square grid, put windows back,
// and spread the table of relative positions over all pairs of a window.
//
// Grid: token t of N lies at (t div s, t mod s), s the smallest integer with s * s >= N. The grid grows
// below and to the right to p = w ceil(s / w) rows and columns, and falls into (p / w)^2 windows, row by
// row; cell (i, j) of a window is its position i w + j. Cells without a token are padding. Every cell is a key; the
// cells that may hold tokens, the first rows() by columns() of a window, are queries.
// Liu et al. 2021, section 3.2. Floating tensors of any strides; pure; [call-thread]
#pragma once

#include <attn/sdk/plugin.hpp>

#include <algorithm>

namespace attn::window {

using namespace attn::sdk;

struct Grid {
  int64_t tokens, side, window, across;  // N, s, w, p / w

  Grid(int64_t n, int64_t w) : tokens(n), side(1), window(w) {
    // Doubling and halving: exact for every n, where a rounded root is not.
    while (side * side < n) side *= 2;
    for (int64_t step = side / 2; step > 0; step /= 2)
      if ((side - step) * (side - step) >= n) side -= step;
    across = (side + w - 1) / w;
  }
  [[nodiscard]] int64_t windows() const { return across * across; }
  [[nodiscard]] int64_t cells() const { return window * window; }
  // Of each window: fewer than w where the whole grid is smaller than one window.
  [[nodiscard]] int64_t rows() const { return std::min(window, (tokens + side - 1) / side); }
  [[nodiscard]] int64_t columns() const { return std::min(window, side); }

  // token(cell, first token, how many) for the runs of tokens of a window, and padding(cell, how many)
  // for the cells between them. Both by position in the window.
  template <class Tokens, class Padding>
  void runs(int64_t index, Tokens&& token, Padding&& padding) const {
    const int64_t top = index / across * window, left = index % across * window;
    for (int64_t i = 0; i < window; ++i) {
      const int64_t first = (top + i) * side + left;
      int64_t n = top + i < side ? std::min(window, side - left) : 0;
      n = std::clamp<int64_t>(tokens - first, 0, n);
      if (n > 0) token(i * window, first, n);
      if (n < window) padding(i * window + n, window - n);
    }
  }
};

// Pieces of about this many elements for each turn of a worker.
inline constexpr int64_t kGrain = 32768;

inline int64_t grain(int64_t elements) {
  return std::max<int64_t>(1, kGrain / std::max<int64_t>(elements, 1));
}

// Rows of a matrix inside a tensor (block, row, element).
template <class T>
struct Rows {
  T* data;
  int64_t block, row, element;
  explicit Rows(const attn_view& v)
      : data(sdk::data<T>(v)), block(v.stride[0]), row(v.stride[1]), element(v.stride[2]) {}
  [[nodiscard]] T* at(int64_t b, int64_t r) const { return data + b * block + r * row; }
};
template <class T>
void copy_row(const T* from, int64_t from_step, T* to, int64_t to_step, int64_t n) {
  if (from_step == 1 && to_step == 1)
    std::copy_n(from, n, to);
  else
    for (int64_t i = 0; i < n; ++i) to[i * to_step] = from[i * from_step];
}
template <class T>
void add_row(const T* from, int64_t from_step, T* to, int64_t to_step, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i * to_step] += from[i * from_step];
}

// x (B, N, C) -> (batch (p / w)^2, w w, C). Padding cells hold `fill` (C), zeros without it. batch: of
// the result; 0: B; another one repeats an x of batch 1.
struct cut {
  static constexpr const char* name = "window.cut";
  static constexpr const char* doc = "cuts a sequence (batch, seq, c) into windows of its grid";
  static constexpr uint32_t version = 1, inputs = 2, outputs = 1, required = 1;
  static constexpr attn_param attributes[] = {int_attribute("window", 1),
                                              int_attribute("batch", 0)};

  static void shape(OpCall c) {
    const attn_view& x = *c.in(0);
    if (x.rank != 3) fail("x must be (batch, seq, c), got shape %s", shape_text(x).c_str());
    if (c.integer(0) < 1) fail("window must be positive");
    const int64_t batch = c.integer(1) ? c.integer(1) : x.shape[0];
    if (batch != x.shape[0] && x.shape[0] != 1)
      fail("x of shape %s has another batch than %lld", shape_text(x).c_str(),
           static_cast<long long>(batch));
    if (const attn_view* fill = c.in(1))
      if (fill->rank != 1 || fill->shape[0] != x.shape[2] || fill->dtype != x.dtype)
        fail("fill of shape %s does not suit x of shape %s", shape_text(*fill).c_str(),
             shape_text(x).c_str());
    const Grid g(x.shape[1], c.integer(0));
    c.out_shape(0, x.dtype, {batch * g.windows(), g.cells(), x.shape[2]});
  }

  template <class T>
  static void forward(OpCall c) {
    const attn_view &x = *c.in(0), &y = *c.out(0);
    const Grid g(x.shape[1], c.integer(0));
    const Rows<const T> from(x);
    const Rows<T> to(y);
    const T zero = 0;
    const T* fill = c.in(1) ? data<const T>(*c.in(1)) : &zero;
    const int64_t fill_step = c.in(1) ? c.in(1)->stride[0] : 0, n = x.shape[2];
    const bool repeat = x.shape[0] == 1;
    c.loop(y.shape[0], grain(g.cells() * n), [&](int64_t begin, int64_t end, int32_t) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t b = repeat ? 0 : i / g.windows();
        g.runs(
            i % g.windows(),
            [&](int64_t cell, int64_t token, int64_t count) {
              for (int64_t k = 0; k < count; ++k)
                copy_row(from.at(b, token + k), from.element, to.at(i, cell + k), to.element, n);
            },
            [&](int64_t cell, int64_t count) {
              for (int64_t k = 0; k < count; ++k)
                copy_row(fill, fill_step, to.at(i, cell + k), to.element, n);
            });
      }
    });
  }

  template <class T>
  static void vjp(OpCall c) {
    if (!c.dout(0)) return;
    const Grid g(c.in(0)->shape[1], c.integer(0));
    const Rows<const T> from(*c.dout(0));
    const int64_t windows = c.dout(0)->shape[0], n = c.in(0)->shape[2];
    const auto nothing = [](auto...) {};
    if (const attn_view* dx = c.din(0)) {
      const Rows<T> to(*dx);
      // A repeated x gathers from every example; only one worker may then add.
      const int64_t batch = dx->shape[0], step = windows / std::max<int64_t>(batch, 1);
      const int64_t pieces = batch == windows / g.windows() ? windows : 1;
      c.loop(pieces, grain(g.cells() * n), [&](int64_t begin, int64_t end, int32_t) {
        for (int64_t i = pieces == 1 ? 0 : begin; i < (pieces == 1 ? windows : end); ++i)
          g.runs(
              i % g.windows(),
              [&](int64_t cell, int64_t token, int64_t count) {
                for (int64_t k = 0; k < count; ++k)
                  add_row(from.at(i, cell + k), from.element, to.at(i / step, token + k),
                          to.element, n);
              },
              nothing);
      });
    }
    if (const attn_view* dfill = c.din(1)) {
      T* to = data<T>(*dfill);
      const int64_t to_step = dfill->stride[0];
      c.loop(n, 16, [&](int64_t begin, int64_t end, int32_t) {
        for (int64_t i = 0; i < windows; ++i)
          g.runs(i % g.windows(), nothing, [&](int64_t cell, int64_t count) {
            for (int64_t k = 0; k < count; ++k)
              add_row(from.at(i, cell + k) + begin * from.element, from.element,
                      to + begin * to_step, to_step, end - begin);
          });
      });
    }
  }

  static attn_cost cost(OpCall c) {
    const double element = c.dtype() == ATTN_F64 ? 8 : 4;
    return {sizeof(attn_cost), 0, 0,
            element * static_cast<double>(size_of(*c.in(0)) + size_of(*c.out(0)))};
  }
};

// x (B, H, w w, C) -> (B, H, rows columns, C): the cells of the first rows and columns of each window.
struct corner {
  static constexpr const char* name = "window.corner";
  static constexpr const char* doc = "the first rows and columns of windows (batch, head, cell, c)";
  static constexpr uint32_t version = 1, inputs = 1, outputs = 1;
  static constexpr attn_param attributes[] = {int_attribute("window", 1), int_attribute("rows", 1),
                                              int_attribute("columns", 1)};

  static void shape(OpCall c) {
    const attn_view& x = *c.in(0);
    const int64_t w = c.integer(0), rows = c.integer(1), columns = c.integer(2);
    if (x.rank != 4 || w < 1 || x.shape[2] != w * w || rows < 1 || rows > w || columns < 1 ||
        columns > w)
      fail("x of shape %s has no %lld x %lld cells of windows of %lld", shape_text(x).c_str(),
           static_cast<long long>(rows), static_cast<long long>(columns),
           static_cast<long long>(w));
    c.out_shape(0, x.dtype, {x.shape[0], x.shape[1], rows * columns, x.shape[3]}, {0, 2, 1, 3});
  }
  template <class T>
  static void forward(OpCall c) {
    run<T>(c, *c.in(0), *c.out(0), false);
  }
  template <class T>
  static void vjp(OpCall c) {
    if (c.dout(0) && c.din(0)) run<T>(c, *c.din(0), *c.dout(0), true);
  }

 private:
  // all: with every cell; some: the corner. back: all += some.
  template <class T>
  static void run(const OpCall& c, const attn_view& all, const attn_view& some, bool back) {
    const int64_t w = c.integer(0), columns = c.integer(2), heads = all.shape[1], n = all.shape[3];
    c.loop(all.shape[0] * heads, grain(some.shape[2] * n),
           [&](int64_t begin, int64_t end, int32_t) {
             for (int64_t i = begin; i < end; ++i)
               for (int64_t k = 0; k < some.shape[2]; ++k) {
                 const int64_t cell = k / columns * w + k % columns;
                 T* a = data<T>(all) + i / heads * all.stride[0] + i % heads * all.stride[1] +
                        cell * all.stride[2];
                 T* s = data<T>(some) + i / heads * some.stride[0] + i % heads * some.stride[1] +
                        k * some.stride[2];
                 if (back)
                   add_row(s, some.stride[3], a, all.stride[3], n);
                 else
                   copy_row(a, all.stride[3], s, some.stride[3], n);
               }
           });
  }
};

// x (B (p / w)^2, rows columns, C), the queries of each window (or w w cells), -> (B, tokens, C).
struct join {
  static constexpr const char* name = "window.join";
  static constexpr const char* doc = "puts windows back into a sequence (batch, seq, c)";
  static constexpr uint32_t version = 1, inputs = 1, outputs = 1;
  static constexpr attn_param attributes[] = {int_attribute("window", 1),
                                              int_attribute("tokens", 1)};

  static void shape(OpCall c) {
    const attn_view& x = *c.in(0);
    if (c.integer(0) < 1 || c.integer(1) < 1) fail("window and tokens must be positive");
    const Grid g(c.integer(1), c.integer(0));
    if (x.rank != 3 || (x.shape[1] != g.cells() && x.shape[1] != g.rows() * g.columns()) ||
        x.shape[0] % g.windows() != 0)
      fail("x of shape %s does not hold the windows of %lld tokens", shape_text(x).c_str(),
           static_cast<long long>(g.tokens));
    c.out_shape(0, x.dtype, {x.shape[0] / g.windows(), g.tokens, x.shape[2]});
  }

  template <class T>
  static void forward(OpCall c) {
    const Rows<const T> from(*c.in(0));
    const Rows<T> to(*c.out(0));
    each_token(c, [&](int64_t i, int64_t cell, int64_t b, int64_t token) {
      copy_row(from.at(i, cell), from.element, to.at(b, token), to.element, c.in(0)->shape[2]);
    });
  }
  template <class T>
  static void vjp(OpCall c) {
    if (!c.dout(0) || !c.din(0)) return;
    const Rows<const T> from(*c.dout(0));
    const Rows<T> to(*c.din(0));
    each_token(c, [&](int64_t i, int64_t cell, int64_t b, int64_t token) {
      add_row(from.at(b, token), from.element, to.at(i, cell), to.element, c.in(0)->shape[2]);
    });
  }

  static attn_cost cost(OpCall c) {
    const double element = c.dtype() == ATTN_F64 ? 8 : 4;
    return {sizeof(attn_cost), 0, 0,
            element * static_cast<double>(size_of(*c.in(0)) + size_of(*c.out(0)))};
  }

 private:
  template <class F>
  static void each_token(OpCall c, F&& f) {
    const attn_view& x = *c.in(0);
    const Grid g(c.integer(1), c.integer(0));
    const int64_t across = x.shape[1] == g.cells() ? g.window : g.columns();
    c.loop(x.shape[0], grain(x.shape[1] * x.shape[2]), [&](int64_t begin, int64_t end, int32_t) {
      for (int64_t i = begin; i < end; ++i)
        g.runs(
            i % g.windows(),
            [&](int64_t cell, int64_t token, int64_t count) {
              const int64_t first = cell / g.window * across;
              for (int64_t k = 0; k < count; ++k) f(i, first + k, i / g.windows(), token + k);
            },
            [](auto...) {});
    });
  }
};

// table ((2w - 1)^2, H) -> (H, rows columns, w w): entry (h, a, b) is the table's for the distance from key b to
// query a (eq. 4), queries counted as corner does.
struct position_bias {
  static constexpr const char* name = "window.position_bias";
  static constexpr const char* doc = "the table of relative positions for every pair of a window";
  static constexpr uint32_t version = 1, inputs = 1, outputs = 1;
  static constexpr attn_param attributes[] = {int_attribute("window", 1), int_attribute("rows", 1),
                                              int_attribute("columns", 1)};

  static void shape(OpCall c) {
    const attn_view& t = *c.in(0);
    const int64_t w = c.integer(0), rows = c.integer(1), columns = c.integer(2);
    if (w < 1 || rows < 1 || rows > w || columns < 1 || columns > w || t.rank != 2 ||
        t.shape[0] != (2 * w - 1) * (2 * w - 1))
      fail("table of shape %s does not suit windows of %lld", shape_text(t).c_str(),
           static_cast<long long>(w));
    c.out_shape(0, t.dtype, {t.shape[1], rows * columns, w * w});
  }
  template <class T>
  static void forward(OpCall c) {
    const attn_view &t = *c.in(0), &y = *c.out(0);
    const T* table = data<const T>(t);
    T* out = data<T>(y);
    each_pair(c, [&](int64_t h, int64_t a, int64_t b, int64_t entry) {
      out[h * y.stride[0] + a * y.stride[1] + b * y.stride[2]] =
          table[entry * t.stride[0] + h * t.stride[1]];
    });
  }
  template <class T>
  static void vjp(OpCall c) {
    if (!c.dout(0) || !c.din(0)) return;
    const attn_view &g = *c.dout(0), &t = *c.din(0);
    const T* from = data<const T>(g);
    T* table = data<T>(t);
    each_pair(c, [&](int64_t h, int64_t a, int64_t b, int64_t entry) {
      table[entry * t.stride[0] + h * t.stride[1]] +=
          from[h * g.stride[0] + a * g.stride[1] + b * g.stride[2]];
    });
  }

 private:
  // Heads share no entry, so they may run side by side.
  template <class F>
  static void each_pair(OpCall c, F&& f) {
    const int64_t w = c.integer(0), columns = c.integer(2), queries = c.integer(1) * columns;
    c.loop(c.in(0)->shape[1], grain(queries * w * w), [&](int64_t begin, int64_t end, int32_t) {
      for (int64_t h = begin; h < end; ++h)
        for (int64_t a = 0; a < queries; ++a)
          for (int64_t b = 0; b < w * w; ++b)
            f(h, a, b, (a / columns - b / w + w - 1) * (2 * w - 1) + (a % columns - b % w + w - 1));
    });
  }
};

}  // namespace attn::window
