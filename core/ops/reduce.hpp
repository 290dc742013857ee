// SPDX-License-Identifier: Apache-2.0
//
// Sums along axes, for any strides, the same for any number of threads.
//
// reduce_add: to = factor * sum of `from` over the axes in `mask` (or += when accumulate). `to` has
// the rank of `from` with extent 1 (any stride) along those axes. Adds up in double. [call-thread]
#pragma once

#include "core/ops/rows.hpp"

namespace attn::ops {

namespace detail {

// The axis that lies closest in memory is kept: whole lines are added to one another. Units of work
// are (kept position, chunk of the summed positions).
template <class T>
void reduce_lines(Parallel& p, const attn_view& from, uint32_t mask, const attn_view& to,
                  double factor, bool accumulate) {
  const int last = from.rank - 1;
  const int64_t n = from.shape[last];
  Grid<2> kept;
  Grid<1> summed;
  for (int a = 0; a < last; ++a) {
    if (mask >> a & 1u)
      summed.push(from.shape[a], {from.stride[a]});
    else
      kept.push(from.shape[a], {from.stride[a], to.stride[a]});
  }
  const int64_t most = std::max<int64_t>(1, 32 / std::max<int64_t>(1, kept.size()));
  const int64_t chunks = std::min(most, Chunks(summed.size(), n).count);
  const int64_t size = (summed.size() + chunks - 1) / chunks;
  double* sums = p.scratch_array<double>(static_cast<size_t>(kept.size() * chunks * n) + 1);
  const int64_t s = from.stride[last];
  p.loop(kept.size() * chunks, std::max<int64_t>(1, kElementGrain / std::max<int64_t>(1, size * n)),
         [&](int64_t begin, int64_t end, int) {
           for (int64_t unit = begin; unit < end; ++unit) {
             double* mine = sums + unit * n;
             std::fill(mine, mine + n, 0.0);
             const T* base = data<T>(from) + kept.offsets(unit / chunks)[0];
             const int64_t first = unit % chunks * size;
             const int64_t stop = std::min(summed.size(), first + size);
             for (int64_t k = first; k < stop; ++k) {
               const T* line = base + summed.offsets(k)[0];
               if (s == 1) {
                 for (int64_t i = 0; i < n; ++i) mine[i] += line[i];
               } else {
                 for (int64_t i = 0; i < n; ++i) mine[i] += line[i * s];
               }
             }
           }
         });
  p.loop(kept.size(), std::max<int64_t>(1, kElementGrain / std::max<int64_t>(1, n)),
         [&](int64_t begin, int64_t end, int) {
           for (int64_t unit = begin; unit < end; ++unit) {
             T* out = data<T>(to) + kept.offsets(unit)[1];
             for (int64_t i = 0; i < n; ++i) {
               double total = 0;
               for (int64_t k = 0; k < chunks; ++k) total += sums[(unit * chunks + k) * n + i];
               T& y = out[i * to.stride[last]];
               y = static_cast<T>(accumulate ? y + total * factor : total * factor);
             }
           }
         });
}

// Each sum runs along memory; long ones are cut into chunks.
template <class T>
void reduce_rows(Parallel& p, const attn_view& from, uint32_t mask, const attn_view& to,
                 double factor, bool accumulate) {
  Grid<2> kept;
  Grid<1> summed;
  for (int a = 0; a < from.rank; ++a) {
    if (mask >> a & 1u)
      summed.push(from.shape[a], {from.stride[a]});
    else
      kept.push(from.shape[a], {from.stride[a], to.stride[a]});
  }
  const int64_t most = std::max<int64_t>(1, 32 / std::max<int64_t>(1, kept.size()));
  const int64_t chunks = std::clamp<int64_t>(summed.size() / kElementGrain, 1, most);
  const int64_t size = (summed.size() + chunks - 1) / chunks;
  double* sums = p.scratch_array<double>(static_cast<size_t>(kept.size() * chunks) + 1);
  const int64_t line = summed.line(), s = summed.strides()[0];
  p.loop(kept.size() * chunks, std::max<int64_t>(1, kElementGrain / std::max<int64_t>(1, size)),
         [&](int64_t begin, int64_t end, int) {
           for (int64_t unit = begin; unit < end; ++unit) {
             const T* base = data<T>(from) + kept.offsets(unit / chunks)[0];
             int64_t at = unit % chunks * size;
             const int64_t stop = std::min(summed.size(), at + size);
             double part[8] = {};
             while (at < stop) {
               const int64_t n = std::min(stop, (at / line + 1) * line) - at;
               const T* x = base + summed.offsets(at)[0];
               int64_t i = 0;
               for (; i + 8 <= n; i += 8)
                 for (int j = 0; j < 8; ++j) part[j] += x[(i + j) * s];
               for (; i < n; ++i) part[i % 8] += x[i * s];
               at += n;
             }
             sums[unit] = ((part[0] + part[1]) + (part[2] + part[3])) +
                          ((part[4] + part[5]) + (part[6] + part[7]));
           }
         });
  for (int64_t unit = 0; unit < kept.size(); ++unit) {
    double total = 0;
    for (int64_t k = 0; k < chunks; ++k) total += sums[unit * chunks + k];
    T& y = data<T>(to)[kept.offsets(unit)[1]];
    y = static_cast<T>(accumulate ? y + total * factor : total * factor);
  }
}

}  // namespace detail

template <class T>
void reduce_add(Parallel& p, const attn_view& from, uint32_t mask, const attn_view& to,
                double factor, bool accumulate) {
  if (size_of(to) == 0) return;
  const int last = from.rank - 1;
  if (last >= 0 && !(mask >> last & 1u) && from.shape[last] > 1)
    detail::reduce_lines<T>(p, from, mask, to, factor, accumulate);
  else
    detail::reduce_rows<T>(p, from, mask, to, factor, accumulate);
}

// to += factor * from, summed over the axes along which `to` was broadcast.
template <class T>
void add_broadcast_gradient(Parallel& p, const attn_view& from, const attn_view& to,
                            double factor) {
  attn_view wide = to;  // same rank as from
  wide.rank = from.rank;
  uint32_t mask = 0;
  for (int axis = from.rank - 1; axis >= 0; --axis) {
    const int i = axis - (from.rank - to.rank);
    wide.shape[axis] = i < 0 ? 1 : to.shape[i];
    wide.stride[axis] = i < 0 ? 0 : to.stride[i];
    if (wide.shape[axis] == 1 && from.shape[axis] != 1) mask |= 1u << axis;
  }
  if (mask) {
    reduce_add<T>(p, from, mask, wide, factor, true);
    return;
  }
  Grid<2>::of({&from, &wide}).run(p, kElementGrain, [&](auto o, int64_t n, auto s, int64_t, int) {
    const T* x = data<T>(from) + o[0];
    T* y = data<T>(wide) + o[1];
    const T f = static_cast<T>(factor);
    for_line(n, s, [=](int64_t i, int64_t j) { y[j] += f * x[i]; });
  });
}

}  // namespace attn::ops
