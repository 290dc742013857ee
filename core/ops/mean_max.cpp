// SPDX-License-Identifier: Apache-2.0
//
// Mean and maximum over axes in one pass: both poolings of an attention over channels or pixels. With factors,
// those of x times factors, which is not stored where the factors lie along the reduced memory.
#include "core/kernels/mean_max.hpp"

#include <cmath>

#include "core/kernels/table.hpp"
#include "core/ops/ops.hpp"
#include "core/ops/reduction.hpp"

namespace attn::ops {
namespace {

using kernels::larger;

template <class T>
bool same(T x, T top) {
  return x == top || (x != x && top != top);
}

struct mean_max : Reduction {
  static constexpr const char* name = "mean_max";
  static constexpr const char* doc =
      "mean and largest element of x (times factors, which broadcast to x) over axes (all when "
      "none "
      "is listed), side by side along a new last axis; NaN where there is one; equal largest "
      "elements share the gradient";
  static constexpr uint32_t inputs = 2, required = 0b01;
  static constexpr uint32_t saved = 1;  // the maxima, one for each result
  static constexpr attn_param attributes[] = {ints_attribute("axes")};

  static void shape(OpCall c) {
    check_number(c, 0, "x");
    const attn_view& x = *c.in(0);
    if (const attn_view* factors = c.in(1)) {
      check_number(c, 1, "factors");
      int64_t both[ATTN_MAX_RANK];
      const int rank = broadcast_shape(x, *factors, both);
      if (rank != x.rank || !std::equal(both, both + rank, x.shape))
        fail("factors have shape {}; expected one that broadcasts to {}", shape_text(*factors),
             shape_text(x));
    }
    int64_t extents[ATTN_MAX_RANK + 1];  // one goes, unless x is a scalar, and one comes
    size_t rank = 0;
    for (int a = 0; a < x.rank; ++a)
      if (!(mask(c) >> a & 1u)) extents[rank++] = x.shape[a];
    c.saved_shape(0, x.dtype, {extents, rank});
    extents[rank++] = 2;
    c.out_shape(0, x.dtype, {extents, rank});
    refuse_nothing(c, "mean_max");
  }

  template <class T>
  static void forward(OpCall c) {
    const attn_view& out = *c.out(0);
    if (size_of(out) == 0) return;
    const attn_view mean = plane<T>(c, out, 0), max = plane<T>(c, out, 1);
    const double share = 1 / static_cast<double>(length(c));
    if (!fast_rows<T>(c, mean, max, share)) {
      const attn_view x = c.in(1) ? product<T>(c) : *c.in(0);
      const int last = x.rank - 1;
      bool done = false;
      if constexpr (sizeof(T) == sizeof(float)) {
        done = use_kernels<T>() && last >= 0 && !(mask(c) >> last & 1u) && x.stride[last] == 1;
        if (done) lines(c, x, mean, max, share);
      }
      if (!done) plain<T>(c, x, mean, max, share);
    }
    if (attn_view* kept = c.saved(0)) {
      attn_view from = out;
      --from.rank;
      const Grid<2> grid = Grid<2>::of({kept, &from});
      const T* p = data<const T>(out) + out.stride[out.rank - 1];
      for (int64_t i = 0; i < grid.size(); ++i) {
        const auto o = grid.offsets(i);
        data<T>(*kept)[o[0]] = p[o[1]];
      }
    }
  }

  template <class T>
  static void vjp(OpCall c) {
    if (!c.dout(0) || size_of(*c.in(0)) == 0 || (!c.din(0) && !c.din(1))) return;
    if constexpr (sizeof(T) == sizeof(float))
      if (use_kernels<T>() && (lines_gradient(c) || rows_gradient(c))) return;
    gradient<T>(c);
  }

 private:
  // dx += the gradient of mean and maximum of x, times factors where there are some; what those get is added up
  // afterwards. Row by row.
  template <class T>
  static void gradient(const OpCall& c) {
    Parallel& p = parallel(c);
    const attn_view &x = *c.in(0), &factors = c.in(1) ? *c.in(1) : x;
    const attn_view gm = broadcast_to(plane<T>(c, *c.dout(0), 0), x),
                    gx = broadcast_to(plane<T>(c, *c.dout(0), 1), x),
                    m = broadcast_to(wide_saved(c, *c.saved(0)), x), f = broadcast_to(factors, x);
    const T share = static_cast<T>(1 / static_cast<double>(length(c)));
    const attn_view d =
        c.din(1) ? dense_like(x, p.scratch_array<T>(static_cast<size_t>(size_of(x)))) : x;
    const Rows<7> all({&x, &f, &gm, &gx, &m, c.din(0) ? c.din(0) : &x, &d}, mask(c));
    const int64_t n = all.length();
    const Buffers<T> buffers(p, n, 4);
    all.each(p, [&](auto o, int64_t, int worker) {
      const T* row = all.inner(0).read(data<const T>(x) + o[0], buffers.get(worker));
      const T* by =
          c.in(1) ? all.inner(1).read(data<const T>(f) + o[1], buffers.get(worker, 1)) : nullptr;
      const auto product = [&](int64_t i) { return by ? row[i] * by[i] : row[i]; };
      const T most = data<const T>(m)[o[4]];
      T ties = 0;
      for (int64_t i = 0; i < n; ++i) ties += same(product(i), most) ? T(1) : T(0);
      const T every = data<const T>(gm)[o[2]] * share, each = data<const T>(gx)[o[3]] / ties;
      T* dy = buffers.get(worker, 2);
      for (int64_t i = 0; i < n; ++i) dy[i] = every + (same(product(i), most) ? each : T(0));
      if (c.din(1)) {
        T* to = all.inner(6).target(data<T>(d) + o[6], buffers.get(worker, 3));
        std::copy_n(dy, n, to);
        all.inner(6).write(data<T>(d) + o[6], to);
      }
      if (!c.din(0)) return;
      for (int64_t i = 0; i < n && by; ++i) dy[i] *= by[i];
      all.inner(5).add(data<T>(*c.din(0)) + o[5], dy);
    });
    if (c.din(1)) add_broadcast_gradient<T>(p, {d, x}, *c.din(1), 1);
  }

  // The last axis is kept: whole lines of memory meet one another. False where it is not, or there are factors.
  static bool lines_gradient(const OpCall& c) {
    const attn_view& x = *c.in(0);
    const int last = x.rank - 1;
    if (c.in(1) || !c.din(0) || last < 0 || mask(c) >> last & 1u || x.stride[last] != 1 ||
        c.din(0)->stride[last] != 1)
      return false;
    Parallel& p = parallel(c);
    const attn_view &dx = *c.din(0), gm = broadcast_to(plane<float>(c, *c.dout(0), 0), x),
                    gx = broadcast_to(plane<float>(c, *c.dout(0), 1), x),
                    m = broadcast_to(wide_saved(c, *c.saved(0)), x);
    const Lines<5> lines({&x, &dx, &gm, &gx, &m}, 1u << last, mask(c));
    const int64_t n = lines.line();
    const auto share = static_cast<float>(1 / static_cast<double>(length(c)));
    // For each kept position: what every pixel and what every maximum gets, and the maxima.
    float* shares = p.scratch_array<float>(static_cast<size_t>(lines.kept() * 3 * n) + 1);
    float* ties = p.scratch_array<float>(static_cast<size_t>(lines.units() * n) + 1);
    const auto of = [&](int64_t kept) {
      const float* own = shares + kept * 3 * n;
      return kernels::MeanMaxShares{own, own + n, own + 2 * n};
    };
    for (int64_t k = 0; k < lines.kept(); ++k) {
      const auto o = lines.kept_offsets(k);
      for (int64_t i = 0; i < n; ++i) {
        shares[3 * k * n + i] = data<const float>(gm)[o[2] + i * gm.stride[last]] * share;
        shares[(3 * k + 2) * n + i] = data<const float>(m)[o[4] + i * m.stride[last]];
      }
    }
    lines.each_unit(p, [&](int64_t unit) {
      std::fill_n(ties + unit * n, n, 0.0f);
      lines.each_stretch(unit, [&](const auto& o, int64_t rows, const auto& row) {
        kernels::table().mean_max_ties(rows, n, data<const float>(x) + o[0], row[0],
                                       of(unit / lines.chunks()).top, ties + unit * n);
      });
    });
    for (int64_t k = 0; k < lines.kept(); ++k) {
      const auto o = lines.kept_offsets(k);
      for (int64_t i = 0; i < n; ++i) {
        float total = 0;
        for (int64_t q = k * lines.chunks(); q < (k + 1) * lines.chunks(); ++q)
          total += ties[q * n + i];
        shares[(3 * k + 1) * n + i] = data<const float>(gx)[o[3] + i * gx.stride[last]] / total;
      }
    }
    lines.each_unit(p, [&](int64_t unit) {
      lines.each_stretch(unit, [&](const auto& o, int64_t rows, const auto& row) {
        kernels::table().mean_max_lines_vjp(rows, n, data<const float>(x) + o[0], row[0],
                                            of(unit / lines.chunks()), data<float>(dx) + o[1],
                                            row[1]);
      });
    });
    return true;
  }

  // The reduced axes are contiguous memory, in x, in its gradient and in the factors; false where they are not.
  static bool rows_gradient(const OpCall& c) {
    const attn_view &x = *c.in(0), &dx = c.din(0) ? *c.din(0) : x;
    const attn_view f = broadcast_to(c.in(1) ? *c.in(1) : x, x),
                    df = c.din(1) ? broadcast_to(*c.din(1), x) : f;
    const Rows<4> sides({&x, &dx, &f, &df}, mask(c));
    for (int i = 0; i < 4; ++i)
      if (!sides.inner(i).side_by_side()) return false;
    // Rows that have the same factors add up what these get.
    uint32_t shared = 0;
    for (int a = 0; a < x.rank; ++a)
      if (!(mask(c) >> a & 1u) && (!c.in(1) || f.stride[a] == 0)) shared |= 1u << a;
    Parallel& p = parallel(c);
    const attn_view gm = broadcast_to(plane<float>(c, *c.dout(0), 0), x),
                    gx = broadcast_to(plane<float>(c, *c.dout(0), 1), x),
                    m = broadcast_to(wide_saved(c, *c.saved(0)), x);
    const Lines<7> lines({&x, &dx, &gm, &gx, &m, &f, &df}, mask(c), shared);
    const int64_t n = lines.line(), sums_size = c.din(1) ? lines.units() * n : 0;
    double* sums = p.scratch_array<double>(static_cast<size_t>(sums_size) + 1);
    std::fill_n(sums, sums_size, 0.0);
    kernels::MeanMaxRows common{};
    common.n = n;
    common.share = static_cast<float>(1 / static_cast<double>(length(c)));
    lines.each_unit(p, [&](int64_t unit) {
      lines.each_stretch(unit, [&](const auto& o, int64_t rows, const auto& row) {
        kernels::MeanMaxRows a = common;
        a.rows = rows;
        a.x = data<const float>(x) + o[0], a.x_row = row[0];
        if (c.din(0)) a.dx = data<float>(dx) + o[1], a.dx_row = row[1];
        a.dmean = data<const float>(gm) + o[2], a.dmean_row = row[2];
        a.dmax = data<const float>(gx) + o[3], a.dmax_row = row[3];
        a.top = data<const float>(m) + o[4], a.top_row = row[4];
        if (c.in(1)) a.factors = data<const float>(f) + o[5];
        if (c.din(1)) a.dfactors = sums + unit * n;
        kernels::table().mean_max_rows_vjp(a);
      });
    });
    for (int64_t unit = 0; unit < lines.units() && c.din(1); ++unit) {
      float* to = data<float>(df) + lines.kept_offsets(unit / lines.chunks())[6];
      for (int64_t i = 0; i < n; ++i) to[i] += static_cast<float>(sums[unit * n + i]);
    }
    return true;
  }

  // x times factors, dense, in scratch memory.
  template <class T>
  static attn_view product(const OpCall& c) {
    Parallel& p = parallel(c);
    const attn_view &x = *c.in(0), f = broadcast_to(*c.in(1), x);
    const attn_view t = dense_like(x, p.scratch_array<T>(static_cast<size_t>(size_of(x)) + 1));
    Grid<3>::of({&t, &x, &f}).run(p, kElementGrain, [&](auto o, int64_t n, auto s, int64_t, int) {
      T* to = data<T>(t) + o[0];
      const T *a = data<T>(x) + o[1], *b = data<T>(f) + o[2];
      for_line(n, s, [=](int64_t i, int64_t j, int64_t k) { to[i] = a[j] * b[k]; });
    });
    return t;
  }

  // Half `which` of an output, with the rank of x and stride 0 along the reduced axes.
  template <class T>
  static attn_view plane(const OpCall& c, const attn_view& out, int which) {
    attn_view v = out;
    --v.rank;
    v.data = data<T>(out) + which * out.stride[out.rank - 1];
    return wide_saved(c, v);
  }
  static attn_view wide_saved(const OpCall& c, const attn_view& v) {
    attn_view w = v;
    w.rank = c.in(0)->rank;
    int from = 0;
    for (int a = 0; a < w.rank; ++a) {
      const bool gone = mask(c) >> a & 1u;
      w.shape[a] = gone ? 1 : c.in(0)->shape[a];
      w.stride[a] = gone ? 0 : v.stride[from];
      from += gone ? 0 : 1;
    }
    return w;
  }

  template <class T>
  static void plain(const OpCall& c, const attn_view& x, const attn_view& mean,
                    const attn_view& max, double share) {
    const attn_view a = broadcast_to(mean, x), b = broadcast_to(max, x);
    const Rows<3> all({&x, &a, &b}, mask(c));
    const Buffers<T> buffers(parallel(c), all.length());
    all.each(parallel(c), [&](auto o, int64_t, int worker) {
      const T* row = all.inner(0).read(data<const T>(x) + o[0], buffers.get(worker));
      kernels::mean_max_row(all.length(), row, 1, share, data<T>(a) + o[1], data<T>(b) + o[2]);
    });
  }

  // The reduced axes are contiguous memory, in x and in the factors; false where they are not.
  template <class T>
  static bool fast_rows(const OpCall& c, const attn_view& mean, const attn_view& max,
                        double share) {
    if constexpr (sizeof(T) == sizeof(float)) {
      const attn_view &x = *c.in(0), a = broadcast_to(mean, x), b = broadcast_to(max, x);
      const attn_view f = broadcast_to(c.in(1) ? *c.in(1) : x, x);
      const Rows<4> all({&x, &a, &b, &f}, mask(c));
      if (!use_kernels<T>() || !all.inner(0).side_by_side() || !all.inner(3).side_by_side())
        return false;
      all.run(parallel(c), [&](auto o, int64_t n, auto s, int64_t, int) {
        const float* factors = c.in(1) ? data<const float>(f) + o[3] : nullptr;
        // Rows that have other factors each are runs of one.
        const int64_t runs = !factors || s[3] == 0 ? 1 : n, rows = n / runs;
        for (int64_t r = 0; r < runs; ++r)
          kernels::table().mean_max_rows(rows, all.length(), data<const float>(x) + o[0] + r * s[0],
                                         s[0], factors ? factors + r * s[3] : nullptr, share,
                                         data<float>(a) + o[1] + r * s[1],
                                         data<float>(b) + o[2] + r * s[2], s[1]);
      });
      return true;
    }
    return false;
  }

  // The last axis is kept: whole lines of memory meet one another.
  static void lines(const OpCall& c, const attn_view& x, const attn_view& mean,
                    const attn_view& max, double share) {
    Parallel& p = parallel(c);
    const int last = x.rank - 1;
    const attn_view a = broadcast_to(mean, x), b = broadcast_to(max, x);
    const Lines<3> all({&x, &a, &b}, 1u << last, mask(c));
    const int64_t n = all.line();
    const auto size = static_cast<size_t>(all.units() * n);
    double* sums = p.scratch_array<double>(size + 1);
    float* tops = p.scratch_array<float>(size + 1);
    all.each_unit(p, [&](int64_t unit) {
      double* sum = sums + unit * n;
      float* top = tops + unit * n;
      std::fill_n(sum, n, 0.0);
      std::fill_n(top, n, -INFINITY);
      all.each_stretch(unit, [&](const auto& o, int64_t rows, const auto& row) {
        kernels::table().mean_max_lines(rows, n, data<const float>(x) + o[0], row[0], sum, top);
      });
    });
    for (int64_t k = 0; k < all.kept(); ++k) {
      const auto o = all.kept_offsets(k);
      for (int64_t i = 0; i < n; ++i) {
        double total = 0;
        float most = -INFINITY;
        for (int64_t q = k * all.chunks(); q < (k + 1) * all.chunks(); ++q) {
          total += sums[q * n + i];
          most = larger(tops[q * n + i], most);
        }
        data<float>(mean)[o[1] + i * mean.stride[last]] = static_cast<float>(total * share);
        data<float>(max)[o[2] + i * max.stride[last]] = most;
      }
    }
  }
};

}  // namespace

const attn_op& op_mean_max() { return operator_table<mean_max>; }

}  // namespace attn::ops
