// SPDX-License-Identifier: Apache-2.0
//
// The transform as products with real tables. With C and S the cosines and sines of 2 pi a b / N,
//
//   y = P - Q,   P = C_S x C_D,   Q = S_S x S_D.
//
// P is even in both of its indices and Q is odd, and so are the sums over x: only about half of each axis is
// multiplied, an eighth of the work. x is folded into sums and differences of mirrored elements first, and y is
// unfolded from P and Q last.
#include <algorithm>
#include <cmath>

#include "fourier.hpp"
#include "roots.hpp"

namespace attn::fnet {

using namespace attn::sdk;

namespace {

// One axis: even indices 0..n / 2, and odd ones 1..(n - 1) / 2, which the odd tables begin with.
struct Axis {
  int64_t n, even, odd;
  explicit Axis(int64_t length) : n(length), even(length / 2 + 1), odd((length - 1) / 2) {}
};

template <class T>
struct Tables {
  T *cosine, *sine;  // (even, even), (odd, odd)

  Tables(const OpCall& c, const Axis& axis, T factor)
      : cosine(c.scratch_array<T>(static_cast<size_t>(axis.even * axis.even))),
        sine(c.scratch_array<T>(static_cast<size_t>(axis.odd * axis.odd) + 1)) {
    double* roots = c.scratch_array<double>(static_cast<size_t>(2 * axis.n));
    fill_roots(axis.n, roots);
    c.loop(axis.even, 16, [&](int64_t begin, int64_t end, int) {
      for (int64_t a = begin; a < end; ++a) {
        int64_t at = 0;  // a b modulo n
        for (int64_t b = 0; b < axis.even; ++b) {
          cosine[a * axis.even + b] = static_cast<T>(roots[2 * at]) * factor;
          if (a >= 1 && a <= axis.odd && b >= 1 && b <= axis.odd)
            sine[(a - 1) * axis.odd + b - 1] = static_cast<T>(-roots[2 * at + 1]) * factor;
          at += a;
          if (at >= axis.n) at -= axis.n;
        }
      }
    });
  }
};

// c[i] = a[i] b[i] for `batch` dense matrices (m, k) x (k, n); stride 0 of a: the same for all.
template <class T>
void multiply(const OpCall& c, int64_t batch, int64_t m, int64_t n, int64_t k, const T* a,
              int64_t a_batch, const T* b, int64_t b_batch, T* out) {
  if (m == 0 || n == 0 || k == 0) return;
  if constexpr (sizeof(T) == sizeof(float)) {
    c.kernels().matmul(c.raw().ctx, batch, m, n, k, 1.0F, a, a_batch, k, 1, b, b_batch, n, 1, out,
                       m * n, n, 0);
  } else {
    c.loop(batch * m, 4, [&](int64_t begin, int64_t end, int) {
      for (int64_t row = begin; row < end; ++row) {
        const T* from = a + row / m * a_batch + row % m * k;
        const T* with = b + row / m * b_batch;
        T* to = out + row * n;
        std::fill_n(to, n, T(0));
        for (int64_t i = 0; i < k; ++i)
          for (int64_t j = 0; j < n; ++j) to[j] += from[i] * with[i * n + j];
      }
    });
  }
}

// Row s of the folded input: sums into `even`, differences into `odd`, over both axes. `low` and `high` are the
// rows s and S - s, or the same row where there is no other.
template <class T>
void fold(const Axis& axis, const T* low, T low_factor, const T* high, T high_factor, T* even,
          T* odd) {
  const int64_t n = axis.n;
  const auto both = [&](int64_t i) { return low[i] * low_factor + high[i] * high_factor; };
  even[0] = both(0);
  for (int64_t i = 1; i <= axis.odd; ++i) even[i] = both(i) + both(n - i);
  if (n % 2 == 0) even[n / 2] = both(n / 2);
  if (!odd) return;
  const auto apart = [&](int64_t i) { return low[i] * low_factor - high[i] * high_factor; };
  for (int64_t i = 1; i <= axis.odd; ++i) odd[i - 1] = apart(i) - apart(n - i);
}

// Row k of y before the last factor, from row k of P and of Q (nullptr: zeros); sign -1: row k, +1: row S - k.
template <class T>
void unfold(const Axis& axis, const T* p, const T* q, T sign, T* y) {
  const int64_t n = axis.n;
  y[0] = p[0];
  if (n % 2 == 0) y[n / 2] = p[n / 2];
  for (int64_t l = 1; l <= axis.odd; ++l) {
    const T odd = q ? sign * q[l - 1] : T(0);
    y[l] = p[l] + odd;
    y[n - l] = p[l] - odd;
  }
}

template <class T>
void run(const OpCall& c, Job<T> job) {
  if (job.batch == 0 || job.s == 0 || job.d == 0) return;
  const Axis s(job.s), d(job.d);
  const Tables<T> over_d(c, d, T(1)), over_s(c, s, job.factor);
  job.factor = T(1);  // it went into the second table
  const int64_t even = s.even * d.even, odd = s.odd * d.odd, batch = job.batch;
  const auto numbers = [&](int64_t n) {
    return c.scratch_array<T>(static_cast<size_t>(batch * n) + 1);
  };
  T *folded_even = numbers(even), *folded_odd = numbers(odd);
  c.loop(batch * s.even, 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t b = i / s.even, k = i % s.even;
      const bool pair = k >= 1 && k <= s.odd;
      const int64_t other = pair ? s.n - k : k;
      const T* x = job.x + b * job.x_item;
      fold(d, x + k * job.x_row, job.in(b, k), x + other * job.x_row,
           pair ? job.in(b, other) : T(0), folded_even + b * even + k * d.even,
           pair ? folded_odd + b * odd + (k - 1) * d.odd : nullptr);
    }
  });
  // 1. Over D, all rows at once. 2. Over S, one product for each item.
  T *half_even = numbers(even), *half_odd = numbers(odd);
  multiply(c, 1, batch * s.even, d.even, d.even, folded_even, int64_t{0}, over_d.cosine, 0,
           half_even);
  multiply(c, 1, batch * s.odd, d.odd, d.odd, folded_odd, int64_t{0}, over_d.sine, 0, half_odd);
  T *p = folded_even, *q = folded_odd;
  multiply(c, batch, s.even, d.even, s.even, over_s.cosine, int64_t{0}, half_even, even, p);
  multiply(c, batch, s.odd, d.odd, s.odd, over_s.sine, int64_t{0}, half_odd, odd, q);
  // 3. Unfold.
  const int64_t row = (d.n + 15) / 16 * 16;
  T* lines = c.scratch_array<T>(static_cast<size_t>(row * std::max(1, c.concurrency())));
  c.loop(batch * s.even, 16, [&](int64_t begin, int64_t end, int worker) {
    T* line = lines + worker * row;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t b = i / s.even, k = i % s.even;
      const bool pair = k >= 1 && k <= s.odd;
      const T* even_row = p + b * even + k * d.even;
      const T* odd_row = pair ? q + b * odd + (k - 1) * d.odd : nullptr;
      unfold(d, even_row, odd_row, T(-1), line);
      put_row(job, b, k, line, false);
      if (!pair) continue;
      unfold(d, even_row, odd_row, T(1), line);
      put_row(job, b, s.n - k, line, false);
    }
  });
}

}  // namespace

template <class T>
void FourierMatrix::forward(OpCall c) {
  run(c, forward_job<T>(c));
}
template <class T>
void FourierMatrix::vjp(OpCall c) {
  if (c.din(0) && c.dout(0)) run(c, backward_job<T>(c));
}

attn_cost FourierMatrix::cost(OpCall c) {
  const attn_view& x = *c.in(0);
  const auto n = static_cast<double>(size_of(x));
  return {sizeof(attn_cost), 0, n * static_cast<double>(x.shape[1] + x.shape[2]) / 2,
          2 * n * (c.dtype() == ATTN_F64 ? 8 : 4)};
}

template void FourierMatrix::forward<float>(OpCall);
template void FourierMatrix::forward<double>(OpCall);
template void FourierMatrix::vjp<float>(OpCall);
template void FourierMatrix::vjp<double>(OpCall);

}  // namespace attn::fnet
