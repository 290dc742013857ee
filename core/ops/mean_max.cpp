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
    if (!c.dout(0) || size_of(*c.in(0)) == 0) return;
    if (!c.in(1)) {
      if (c.din(0)) gradient<T>(c, *c.in(0), *c.din(0));
      return;
    }
    factors_gradient<T>(c, *c.in(0), *c.in(1));
  }

 private:
  // dx += the gradient of mean and maximum of x.
  template <class T>
  static void gradient(const OpCall& c, const attn_view& x, const attn_view& dx) {
    const attn_view dmean = plane<T>(c, *c.dout(0), 0), dmax = plane<T>(c, *c.dout(0), 1);
    const attn_view top = wide_saved(c, *c.saved(0));
    const T factor = static_cast<T>(1 / static_cast<double>(length(c)));
    const int last = x.rank - 1;
    if (last >= 0 && !(mask(c) >> last & 1u) && x.stride[last] == 1 && dx.stride[last] == 1) {
      line_gradient<T>(c, x, dx, dmean, dmax, top, factor);
      return;
    }
    const attn_view gm = broadcast_to(dmean, x), gx = broadcast_to(dmax, x),
                    m = broadcast_to(top, x);
    const Rows<5> all({&x, &dx, &gm, &gx, &m}, mask(c));
    const Buffers<T> buffers(parallel(c), all.length(), 2);
    all.each(parallel(c), [&](auto o, int64_t, int worker) {
      const int64_t n = all.length();
      const T* row = all.inner(0).read(data<const T>(x) + o[0], buffers.get(worker));
      const T most = data<const T>(m)[o[4]];
      T ties = 0;
      for (int64_t i = 0; i < n; ++i) ties += same(row[i], most) ? T(1) : T(0);
      const T each = data<const T>(gm)[o[2]] * factor, share = data<const T>(gx)[o[3]] / ties;
      T* sums = buffers.get(worker, 1);
      for (int64_t i = 0; i < n; ++i) sums[i] = each + (same(row[i], most) ? share : T(0));
      all.inner(1).add(data<T>(dx) + o[1], sums);
    });
  }

  // The same of x times factors, row by row; what the factors get is added up afterwards.
  template <class T>
  static void factors_gradient(const OpCall& c, const attn_view& x, const attn_view& factors) {
    Parallel& p = parallel(c);
    const attn_view gm = broadcast_to(plane<T>(c, *c.dout(0), 0), x),
                    gx = broadcast_to(plane<T>(c, *c.dout(0), 1), x),
                    m = broadcast_to(wide_saved(c, *c.saved(0)), x), f = broadcast_to(factors, x);
    const T share = static_cast<T>(1 / static_cast<double>(length(c)));
    const attn_view products =
        c.din(1) ? dense_like(x, p.scratch_array<T>(static_cast<size_t>(size_of(x)))) : x;
    const Rows<7> all({&x, &f, &gm, &gx, &m, c.din(0) ? c.din(0) : &x, &products}, mask(c));
    const int64_t n = all.length();
    const Buffers<T> buffers(p, n, 4);
    all.each(p, [&](auto o, int64_t, int worker) {
      const T* row = all.inner(0).read(data<const T>(x) + o[0], buffers.get(worker));
      const T* by = all.inner(1).read(data<const T>(f) + o[1], buffers.get(worker, 1));
      const T most = data<const T>(m)[o[4]];
      T ties = 0;
      for (int64_t i = 0; i < n; ++i) ties += same(row[i] * by[i], most) ? T(1) : T(0);
      const T every = data<const T>(gm)[o[2]] * share, each = data<const T>(gx)[o[3]] / ties;
      T* d = buffers.get(worker, 2);
      for (int64_t i = 0; i < n; ++i) d[i] = every + (same(row[i] * by[i], most) ? each : T(0));
      if (c.din(1)) {
        T* to = all.inner(6).target(data<T>(products) + o[6], buffers.get(worker, 3));
        for (int64_t i = 0; i < n; ++i) to[i] = d[i] * row[i];
        all.inner(6).write(data<T>(products) + o[6], to);
      }
      if (!c.din(0)) return;
      for (int64_t i = 0; i < n; ++i) d[i] *= by[i];
      all.inner(5).add(data<T>(*c.din(0)) + o[5], d);
    });
    if (c.din(1)) add_broadcast_gradient<T>(p, products, *c.din(1), 1);
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

  // The last axis is kept: whole lines of memory meet one another. Units of work are (kept position, chunk of
  // the reduced ones).
  struct Lines {
    Grid<6> kept;
    Grid<2> reduced;
    int64_t n, chunks, size;  // of a line; chunks, and reduced positions in each
    Lines(const OpCall& c, const attn_view& x, const std::array<const attn_view*, 6>& kept_views,
          const attn_view& second) {
      for (int a = 0; a < x.rank - 1; ++a) {
        if (mask(c) >> a & 1u) {
          reduced.push(x.shape[a], {x.stride[a], second.stride[a]});
        } else {
          Grid<6>::Offsets s;
          for (size_t i = 0; i < s.size(); ++i) s[i] = kept_views[i]->stride[a];
          kept.push(x.shape[a], s);
        }
      }
      n = x.shape[x.rank - 1];
      const int64_t most = std::max<int64_t>(1, 32 / std::max<int64_t>(1, kept.size()));
      chunks = std::min(most, Chunks(reduced.size(), n).count);
      size = (reduced.size() + chunks - 1) / chunks;
    }
    // f(offsets, count, strides) for stretches of reduced positions of a chunk.
    template <class F>
    void each(int64_t chunk, F&& f) const {
      int64_t at = chunk * size;
      const int64_t stop = std::min(reduced.size(), at + size), line = reduced.line();
      while (at < stop) {
        const int64_t count = std::min(stop, (at / line + 1) * line) - at;
        f(reduced.offsets(at), count, reduced.strides());
        at += count;
      }
    }
    template <class F>
    void units(Parallel& p, F&& f) const {
      const int64_t grain = std::max<int64_t>(1, kElementGrain / std::max<int64_t>(1, size * n));
      p.loop(kept.size() * chunks, grain, [&](int64_t begin, int64_t end, int) {
        for (int64_t unit = begin; unit < end; ++unit)
          f(unit, unit % chunks, kept.offsets(unit / chunks));
      });
    }
  };

  static void lines(const OpCall& c, const attn_view& x, const attn_view& mean,
                    const attn_view& max, double share) {
    Parallel& p = parallel(c);
    const Lines l(c, x, {&x, &mean, &max, &x, &x, &x}, x);
    const auto size = static_cast<size_t>(l.kept.size() * l.chunks * l.n);
    double* sums = p.scratch_array<double>(size + 1);
    float* tops = p.scratch_array<float>(size + 1);
    l.units(p, [&](int64_t unit, int64_t chunk, const auto& o) {
      double* sum = sums + unit * l.n;
      float* top = tops + unit * l.n;
      std::fill_n(sum, l.n, 0.0);
      std::fill_n(top, l.n, -INFINITY);
      l.each(chunk, [&](const auto& at, int64_t count, const auto& step) {
        kernels::table().mean_max_lines(count, l.n, data<const float>(x) + o[0] + at[0], step[0],
                                        sum, top);
      });
    });
    const int last = x.rank - 1;
    for (int64_t k = 0; k < l.kept.size(); ++k) {
      const auto o = l.kept.offsets(k);
      for (int64_t i = 0; i < l.n; ++i) {
        double total = 0;
        float most = -INFINITY;
        for (int64_t q = k * l.chunks; q < (k + 1) * l.chunks; ++q) {
          total += sums[q * l.n + i];
          most = larger(tops[q * l.n + i], most);
        }
        data<float>(mean)[o[1] + i * mean.stride[last]] = static_cast<float>(total * share);
        data<float>(max)[o[2] + i * max.stride[last]] = most;
      }
    }
  }

  template <class T>
  static void line_gradient(const OpCall& c, const attn_view& x, const attn_view& dx,
                            const attn_view& dmean, const attn_view& dmax, const attn_view& top,
                            T factor) {
    Parallel& p = parallel(c);
    const Lines l(c, x, {&x, &dx, &dmean, &dmax, &top, &x}, dx);
    const int64_t n = l.n, last = x.rank - 1;
    // Ties of each chunk; then, for each kept position, what every pixel and what every maximum gets.
    T* ties = p.scratch_array<T>(static_cast<size_t>(l.kept.size() * l.chunks * n) + 1);
    T* shares = p.scratch_array<T>(static_cast<size_t>(l.kept.size() * 3 * n) + 1);
    for (int64_t k = 0; k < l.kept.size(); ++k)
      for (int64_t i = 0; i < n; ++i)
        shares[(3 * k + 2) * n + i] =
            data<const T>(top)[l.kept.offsets(k)[4] + i * top.stride[last]];
    l.units(p, [&](int64_t unit, int64_t chunk, const auto& o) {
      T* count = ties + unit * n;
      const T* most = shares + (unit / l.chunks * 3 + 2) * n;
      std::fill_n(count, n, T(0));
      l.each(chunk, [&](const auto& at, int64_t some, const auto& step) {
        for (int64_t r = 0; r < some; ++r) {
          const T* row = data<const T>(x) + o[0] + at[0] + r * step[0];
          for (int64_t i = 0; i < n; ++i) count[i] += same(row[i], most[i]) ? T(1) : T(0);
        }
      });
    });
    for (int64_t k = 0; k < l.kept.size(); ++k) {
      const auto o = l.kept.offsets(k);
      for (int64_t i = 0; i < n; ++i) {
        T total = 0;
        for (int64_t q = k * l.chunks; q < (k + 1) * l.chunks; ++q) total += ties[q * n + i];
        shares[3 * k * n + i] = data<const T>(dmean)[o[2] + i * dmean.stride[last]] * factor;
        shares[(3 * k + 1) * n + i] = data<const T>(dmax)[o[3] + i * dmax.stride[last]] / total;
      }
    }
    l.units(p, [&](int64_t unit, int64_t chunk, const auto& o) {
      const T* each = shares + unit / l.chunks * 3 * n;
      const T *share = each + n, *most = share + n;
      l.each(chunk, [&](const auto& at, int64_t some, const auto& step) {
        for (int64_t r = 0; r < some; ++r) {
          const T* row = data<const T>(x) + o[0] + at[0] + r * step[0];
          T* to = data<T>(dx) + o[1] + at[1] + r * step[1];
          for (int64_t i = 0; i < n; ++i)
            to[i] += each[i] + (same(row[i], most[i]) ? share[i] : T(0));
        }
      });
    });
  }
};

}  // namespace

const attn_op& op_mean_max() { return operator_table<mean_max>; }

}  // namespace attn::ops
