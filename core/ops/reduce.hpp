// SPDX-License-Identifier: Apache-2.0
//
// Sums along axes, for any strides, the same for any number of threads: of a tensor, or of the product of two or three,
// which is not written down.
//
// reduce_add: to = factor * sum of `from` over the axes in `mask` (or += when accumulate). `to` has the rank of `from`
// with extent 1 (any stride) along those axes. Adds up in double; level kernels add short stretches in float first.
// [call-thread]
#pragma once

#include <array>
#include <initializer_list>

#include "core/kernels/products.hpp"
#include "core/kernels/table.hpp"
#include "core/ops/check.hpp"
#include "core/ops/lines.hpp"

namespace attn::ops {

// Factors of one shape; strides of 0 repeat an element.
struct Product {
  std::array<attn_view, 3> factors{};
  int count = 0;
  Product(const attn_view& x) : factors{x, x, x}, count(1) {}
  Product(std::initializer_list<attn_view> list) {
    for (const attn_view& v : list) factors[static_cast<size_t>(count++)] = v;
    for (auto i = static_cast<size_t>(count); i < 3; ++i) factors[i] = factors[0];
  }
  [[nodiscard]] const attn_view& first() const { return factors[0]; }
};

namespace detail {

using Four = std::array<int64_t, 4>;  // offsets or strides of three factors and of a result

// scale: a factor more, where not nullptr; there must be room for it.
inline kernels::Factors kernel_factors(const Product& f, const Four& at, const Four& row,
                                       const Four& step, const float* scale = nullptr) {
  kernels::Factors k;
  k.count = f.count;
  for (size_t i = 0; i < 3; ++i) {
    k.data[i] = data<const float>(f.factors[i]) + at[i];
    k.row[i] = row[i];
    k.step[i] = step[i];
  }
  if (scale != nullptr) k.data[k.count] = scale, k.row[k.count] = k.step[k.count] = 0, ++k.count;
  return k;
}

template <class T>
bool kernels_take(const Product& f, const Four& step) {
  bool take = use_kernels<T>();
  for (size_t i = 0; i < static_cast<size_t>(f.count); ++i)
    take = take && (step[i] == 0 || step[i] == 1);
  return take;
}

// The product at an offset.
template <class T>
T product_at(const Product& f, const Four& at) {
  T x = data<const T>(f.factors[0])[at[0]];
  for (size_t i = 1; i < static_cast<size_t>(f.count); ++i) x *= data<const T>(f.factors[i])[at[i]];
  return x;
}

// The axis that lies closest in memory is kept: whole lines are added to one another.
template <class T>
void reduce_lines(Parallel& p, const Product& from, uint32_t mask, const attn_view& to,
                  double factor, bool accumulate) {
  const int last = from.first().rank - 1;
  const auto& f = from.factors;
  const Lines<4> lines({&f[0], &f[1], &f[2], &to}, 1u << last, mask);
  const int64_t n = lines.line();
  const Four step{f[0].stride[last], f[1].stride[last], f[2].stride[last], to.stride[last]};
  const bool fast = kernels_take<T>(from, step);
  double* sums = p.scratch_array<double>(static_cast<size_t>(lines.units() * n) + 1);
  lines.each_unit(p, [&](int64_t unit) {
    double* mine = sums + unit * n;
    std::fill(mine, mine + n, 0.0);
    lines.each_stretch(unit, [&](Four at, int64_t count, const Four& row) {
      if (fast)
        return kernels::table().product_line_sums(kernel_factors(from, at, row, step), count, n,
                                                  mine);
      for (int64_t r = 0; r < count; ++r) {
        Four o = at;
        for (int64_t i = 0; i < n; ++i) {
          mine[i] += static_cast<double>(product_at<T>(from, o));
          for (size_t k = 0; k < 3; ++k) o[k] += step[k];
        }
        for (size_t k = 0; k < 3; ++k) at[k] += row[k];
      }
    });
  });
  p.loop(lines.kept(), std::max<int64_t>(1, kElementGrain / std::max<int64_t>(1, n)),
         [&](int64_t begin, int64_t end, int) {
           for (int64_t unit = begin; unit < end; ++unit) {
             T* out = data<T>(to) + lines.kept_offsets(unit)[3];
             for (int64_t i = 0; i < n; ++i) {
               double total = 0;
               for (int64_t k = 0; k < lines.chunks(); ++k)
                 total += sums[(unit * lines.chunks() + k) * n + i];
               T& y = out[i * to.stride[last]];
               y = static_cast<T>(accumulate ? y + total * factor : total * factor);
             }
           }
         });
}

// Each sum runs along memory; long ones are cut into chunks.
template <class T>
void reduce_rows(Parallel& p, const Product& from, uint32_t mask, const attn_view& to,
                 double factor, bool accumulate) {
  const auto& f = from.factors;
  Grid<4> kept, summed;
  for (int a = 0; a < from.first().rank; ++a)
    (mask >> a & 1u ? summed : kept)
        .push(from.first().shape[a],
              {f[0].stride[a], f[1].stride[a], f[2].stride[a], to.stride[a]});
  const int64_t most = std::max<int64_t>(1, 32 / std::max<int64_t>(1, kept.size()));
  const int64_t chunks = std::clamp<int64_t>(summed.size() / kElementGrain, 1, most);
  const int64_t size = (summed.size() + chunks - 1) / chunks;
  double* sums = p.scratch_array<double>(static_cast<size_t>(kept.size() * chunks) + 1);
  const int64_t line = summed.line();
  const Four step = summed.strides();
  const bool fast = kernels_take<T>(from, step);
  if (fast && chunks == 1 && line == summed.size()) {  // many rows at a time
    kept.run(p, std::max<int64_t>(1, kElementGrain / std::max<int64_t>(1, line)),
             [&](const Four& at, int64_t rows, const Four& row, int64_t first, int) {
               std::fill_n(sums + first, rows, 0.0);
               kernels::table().product_row_sums(kernel_factors(from, at, row, step), rows, line,
                                                 sums + first);
             });
  } else {
    p.loop(kept.size() * chunks, std::max<int64_t>(1, kElementGrain / std::max<int64_t>(1, size)),
           [&](int64_t begin, int64_t end, int) {
             for (int64_t unit = begin; unit < end; ++unit) {
               const Four base = kept.offsets(unit / chunks);
               int64_t at = unit % chunks * size;
               const int64_t stop = std::min(summed.size(), at + size);
               double part[8] = {};
               while (at < stop) {
                 const int64_t n = std::min(stop, (at / line + 1) * line) - at;
                 Four o = summed.offsets(at);
                 for (size_t k = 0; k < 3; ++k) o[k] += base[k];
                 if (fast)
                   kernels::table().product_row_sums(kernel_factors(from, o, {}, step), 1, n, part);
                 for (int64_t i = 0; i < n && !fast; ++i) {
                   part[i % 8] += static_cast<double>(product_at<T>(from, o));
                   for (size_t k = 0; k < 3; ++k) o[k] += step[k];
                 }
                 at += n;
               }
               sums[unit] = ((part[0] + part[1]) + (part[2] + part[3])) +
                            ((part[4] + part[5]) + (part[6] + part[7]));
             }
           });
  }
  for (int64_t unit = 0; unit < kept.size(); ++unit) {
    double total = 0;
    for (int64_t k = 0; k < chunks; ++k) total += sums[unit * chunks + k];
    T& y = data<T>(to)[kept.offsets(unit)[3]];
    y = static_cast<T>(accumulate ? y + total * factor : total * factor);
  }
}

}  // namespace detail

template <class T>
void reduce_add(Parallel& p, const Product& from, uint32_t mask, const attn_view& to, double factor,
                bool accumulate) {
  if (size_of(to) == 0) return;
  const int last = from.first().rank - 1;
  if (last >= 0 && !(mask >> last & 1u) && from.first().shape[last] > 1)
    detail::reduce_lines<T>(p, from, mask, to, factor, accumulate);
  else
    detail::reduce_rows<T>(p, from, mask, to, factor, accumulate);
}

// to += factor * from, summed over the axes along which `to` was broadcast.
template <class T>
void add_broadcast_gradient(Parallel& p, const Product& from, const attn_view& to, double factor) {
  const attn_view& whole = from.first();
  attn_view wide = to;  // same rank as from
  wide.rank = whole.rank;
  uint32_t mask = 0;
  for (int axis = whole.rank - 1; axis >= 0; --axis) {
    const int i = axis - (whole.rank - to.rank);
    wide.shape[axis] = i < 0 ? 1 : to.shape[i];
    wide.stride[axis] = i < 0 ? 0 : to.stride[i];
    if (wide.shape[axis] == 1 && whole.shape[axis] != 1) mask |= 1u << axis;
  }
  if (mask) {
    reduce_add<T>(p, from, mask, wide, factor, true);
    return;
  }
  const auto& f = from.factors;
  const auto scale = static_cast<T>(factor);
  Grid<4>::of({&f[0], &f[1], &f[2], &wide})
      .run(p, kElementGrain, [&](detail::Four o, int64_t n, const auto& s, int64_t, int) {
        if constexpr (sizeof(T) == sizeof(float))
          if (s[3] == 1 && (scale == 1 || from.count < 3) && detail::kernels_take<T>(from, s)) {
            const float* more = scale == 1 ? nullptr : &scale;
            kernels::table().product_add(detail::kernel_factors(from, o, {}, s, more), 1, n,
                                         data<float>(wide) + o[3], 0);
            return;
          }
        for (int64_t i = 0; i < n; ++i) {
          data<T>(wide)[o[3]] += scale * detail::product_at<T>(from, o);
          for (size_t k = 0; k < 4; ++k) o[k] += s[k];
        }
      });
}

}  // namespace attn::ops
