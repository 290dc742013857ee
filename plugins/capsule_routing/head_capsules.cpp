// SPDX-License-Identifier: Apache-2.0
#include "head_capsules.hpp"

#include <attn/sdk/dispatch.hpp>
#include <attn/sdk/matmul.hpp>

#include <algorithm>
#include <cmath>

#include "agreement.hpp"
#include "kernels/rows.hpp"

ATTN_SDK_DISPATCH(capsule, Kernels, kernels)

namespace capsule {
namespace {

enum Port { kQuery, kKey, kSums, kBias, kRoutingSlope, kSharingSlope };
enum Result { kAdded, kCoefficients };
enum Attribute { kIterations = kProbabilityAttributes, kSquashEpsilon, kAddCapsule };

struct Extents {
  int64_t b, h, q, k, d;
};
Extents extents(const OpCall& c) {
  const attn_view &q = *c.in(kQuery), &k = *c.in(kKey);
  return {q.shape[0], q.shape[1], q.shape[2], k.shape[2], q.shape[3]};
}

template <class T>
const RowKernels<T>& kernels_of(const char* level) {
  if constexpr (sizeof(T) == sizeof(float))
    return kernels(level).f32;
  else
    return kernels(level).f64;
}

// One matrix for each head.
template <class T>
struct Heads {
  T* data;
  int64_t head, row, column;
};
template <class T>
Heads<T> heads_of(const attn_view& v, int64_t b) {
  return {element<T>(v, b), v.stride[1], v.stride[2], v.stride[3]};
}
template <class T>
Heads<T> transposed(const Heads<T>& x) {
  return {x.data, x.head, x.column, x.row};
}

// y = a b for each of `heads` heads: (m, k) (k, n). y: column 1.
template <class T>
void product(const OpCall& c, int64_t heads, int64_t m, int64_t n, int64_t k,
             const Heads<const T>& a, const Heads<const T>& b, const Heads<T>& y) {
  if constexpr (sizeof(T) == sizeof(float)) {
    c.kernels().matmul(c.raw().ctx, heads, m, n, k, 1.0F, a.data, a.head, a.row, a.column, b.data,
                       b.head, b.row, b.column, y.data, y.head, y.row, 0);
  } else {
    constexpr int64_t kRows = 64;  // of a task
    const int64_t tasks = (m + kRows - 1) / kRows;
    c.loop(heads * tasks, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t h = task / tasks, i = task % tasks * kRows;
        matmul_serial<T>(c.kernels(), std::min(kRows, m - i), n, k,
                         {a.data + h * a.head + i * a.row, a.row, a.column},
                         {b.data + h * b.head, b.row, b.column},
                         {y.data + h * y.head + i * y.row, y.row});
      }
    });
  }
}

// Dense scores (B, H, Q, K) of all heads.
template <class T>
void scores(const OpCall& c, T* to) {
  const Extents e = extents(c);
  for (int64_t b = 0; b < e.b; ++b)
    product<T>(c, e.h, e.q, e.k, e.d, heads_of<const T>(*c.in(kQuery), b),
               transposed(heads_of<const T>(*c.in(kKey), b)),
               {to + b * e.h * e.q * e.k, e.q * e.k, e.k, 1});
}

// to += the products of the gradients ds of the scores, or of their transposes, with `other`.
template <class T>
void add_products(const OpCall& c, const attn_view* to, const T* ds, const attn_view& other,
                  bool transpose) {
  if (!to) return;
  const Extents e = extents(c);
  attn_view sum = *to;
  sum.data = c.scratch_array<T>(static_cast<size_t>(size_of(sum)) + 1);
  set_dense_strides(sum);
  for (int64_t b = 0; b < e.b; ++b) {
    const Heads<const T> s{ds + b * e.h * e.q * e.k, e.q * e.k, e.k, 1};
    product<T>(c, e.h, sum.shape[2], e.d, other.shape[2], transpose ? transposed(s) : s,
               heads_of<const T>(other, b), heads_of<T>(sum, b));
  }
  StridedRows<2>({to, &sum}).template each<T>(c, [](T& y, T x) { y += x; });
}

// A view of the same numbers with contiguous columns.
template <class T>
attn_view contiguous(const OpCall& c, const attn_view& v) {
  if (v.stride[3] == 1 || v.shape[3] == 1) return v;
  attn_view out = v;
  out.data = c.scratch_array<T>(static_cast<size_t>(size_of(v)) + 1);
  set_dense_strides(out);
  StridedRows<2>({&out, &v}).template each<T>(c, [](T& y, T x) { y = x; });
  return out;
}

// Memory of one worker.
template <class T>
struct Desk {
  double *gram, *dgram, *gamma, *dgamma, *column;
  Agreement::Memory rounds;
  T *gamma_t, *mix, *cap, *dcap, *lanes;

  Desk(Arena& a, const Extents& e, const Agreement& agreement)
      : gram(a.take<double>(e.h * e.h)),
        dgram(a.take<double>(e.h * e.h)),
        gamma(a.take<double>(e.h)),
        dgamma(a.take<double>(e.h)),
        column(a.take<double>(7 * e.h)),
        rounds(agreement.memory(a)),
        gamma_t(a.take<T>(e.h)),
        mix(a.take<T>(e.h * e.h)),
        cap(a.take<T>(e.k)),
        dcap(a.take<T>(e.k)),
        lanes(a.take<T>(3 * kLanes * e.h)) {}
};

// share() and share_back() of the kernels for probabilities other than softmax: column by column, in double.
template <class T>
class ColumnShare {
 public:
  ColumnShare(const ProbabilityRows<double>& weigh, int64_t heads, const Sharing<T>& s,
              double* memory)
      : weigh_(weigh), n_(heads), s_(s), z_(memory), w_(z_ + n_), dz_(w_ + n_), rest_(dz_ + n_) {}

  void share(const HeadRows<T>& r) {
    for (int64_t j = 0; j < r.n; ++j) {
      weigh_column(j);
      for (int64_t g = 0; g < n_; ++g)
        r.rows[g * r.stride + j] = static_cast<T>(w_[g]) * s_.cap[j] + (s_.add ? s_.cap[j] : T(0));
    }
  }
  // Returns the gradient of the slope.
  double share_back(const HeadRows<const T>& dout, T* dcap, double* totals) {
    double dslope = 0;
    for (int64_t j = 0; j < dout.n; ++j) {
      weigh_column(j);
      const auto c = static_cast<double>(s_.cap[j]);
      double total = 0;
      for (int64_t g = 0; g < n_; ++g) {
        const auto d = static_cast<double>(dout.rows[g * dout.stride + j]);
        total += d * (w_[g] + (s_.add ? 1 : 0));
        w_[g] = d * c;  // of the weight
      }
      dslope += weigh_.backward(n_, z_, w_, dz_, rest_);
      for (int64_t g = 0; g < n_; ++g) {
        total += dz_[g] * static_cast<double>(s_.sums[g]);
        totals[g] += dz_[g] * c;
        totals[n_ + g] += dz_[g];
      }
      dcap[j] = static_cast<T>(total);
    }
    return dslope;
  }

 private:
  void weigh_column(int64_t j) {
    for (int64_t g = 0; g < n_; ++g)
      z_[g] = static_cast<double>(s_.cap[j] * s_.sums[g] + s_.bias[g]);
    weigh_.forward(1, n_, z_, 0, w_, 0);
  }
  const ProbabilityRows<double>& weigh_;
  int64_t n_;
  const Sharing<T>& s_;
  double *z_, *w_, *dz_, *rest_;
};

// What forward and gradient have in common.
template <class T>
struct Job {
  Extents e;
  bool shares, add, softmax;
  Agreement agreement;
  ProbabilityRows<double> sharing;
  const RowKernels<T>& kernels;
  T *sums, *bias;  // of the aggregation, dense; zeros where there is none
  WorkerMemory memory;
  int64_t rows_of_task;

  explicit Job(const OpCall& c)
      : e(extents(c)),
        shares(c.in(kSums) != nullptr),
        add(c.flag(kAddCapsule)),
        softmax(probability_options(c).kind == ProbabilityKind::softmax),
        agreement(c, c.in(kRoutingSlope), e.h, c.integer(kIterations), c.real(kSquashEpsilon)),
        sharing(c, c.in(kSharingSlope)),
        kernels(kernels_of<T>(c.raw().engine->cpu_level())),
        sums(c.scratch_array<T>(static_cast<size_t>(2 * e.h))),
        bias(sums + e.h),
        memory(c, [&](Arena& a) { Desk<T>(a, e, agreement); }),
        rows_of_task(std::max<int64_t>(1, 8192 / std::max<int64_t>(1, e.h * e.k))) {
    for (int64_t g = 0; g < e.h; ++g) {
      sums[g] = c.in(kSums) ? *element<T>(*c.in(kSums), g) : T(0);
      bias[g] = c.in(kBias) ? *element<T>(*c.in(kBias), g) : T(0);
    }
  }
  // f(desk, row) for the queries of all examples.
  template <class F>
  void each_row(const OpCall& c, F&& f) const {
    c.loop(e.b * e.q, rows_of_task, [&](int64_t begin, int64_t end, int worker) {
      Arena arena = memory[worker];
      const Desk<T> desk(arena, e, agreement);
      for (int64_t row = begin; row < end; ++row) f(desk, row);
    });
  }
  // The scores of one query.
  [[nodiscard]] HeadRows<T> rows(T* scores, int64_t row) const {
    const int64_t b = row / e.q, i = row % e.q;
    return {e.h, e.k, e.q * e.k, scores + b * e.h * e.q * e.k + i * e.k};
  }
  [[nodiscard]] Sharing<T> sharing_of(const Desk<T>& d) const { return {d.cap, sums, bias, add}; }

  // cap of these rows, and gamma.
  void capsule(const HeadRows<T>& r, const Desk<T>& d) const {
    kernels.gram(r, d.gram);
    double squares = 0;
    for (int64_t h = 0; h < e.h; ++h) squares += d.gram[h * e.h + h];
    // Squares of scores beyond 1e19 leave the range of float; `reference` sums up in double.
    if (!std::isfinite(squares)) kernels_of<T>("reference").gram(r, d.gram);
    agreement.forward(d.gram, d.rounds, d.gamma);
    for (int64_t h = 0; h < e.h; ++h) d.gamma_t[h] = static_cast<T>(d.gamma[h]);
    kernels.combine(r, d.gamma_t, d.cap);
  }
  // The coefficients of all rounds of the capsule just made.
  void write_coefficients(const Desk<T>& d, int64_t row, T* to) const {
    const int64_t rounds = agreement.rounds();
    for (int64_t t = 0; t < rounds; ++t)
      for (int64_t h = 0; h < e.h; ++h)
        to[((row / e.q * rounds + t) * e.h + h) * e.q + row % e.q] =
            static_cast<T>(agreement.coefficients(d.rounds, t)[h]);
  }
  // The rows of one query become what every head is given.
  void share(const HeadRows<T>& r, const Desk<T>& d) const {
    const Sharing<T> s = sharing_of(d);
    if (softmax)
      kernels.share(r, s);
    else
      ColumnShare<T>(sharing, e.h, s, d.column).share(r);
  }
  // The scores of one query become their gradient; dout: that of the output. total: sums, bias, both slopes.
  void gradient(const HeadRows<T>& r, const Desk<T>& d, const HeadRows<const T>& dout,
                double* total) const {
    const Sharing<T> s = sharing_of(d);
    capsule(r, d);
    if (!shares)
      std::copy_n(dout.rows, e.k, d.dcap);
    else if (softmax)
      kernels.share_back(dout, s, d.dcap, total, d.lanes);
    else
      total[2 * e.h + 1] =
          ColumnShare<T>(sharing, e.h, s, d.column).share_back(dout, d.dcap, total);
    kernels.dots(r, d.dcap, d.dgamma);
    total[2 * e.h] = agreement.backward(d.gram, d.rounds, d.dgamma, d.dgram);
    for (int64_t i = 0; i < e.h; ++i)
      for (int64_t j = 0; j < e.h; ++j)
        d.mix[i * e.h + j] = static_cast<T>(d.dgram[i * e.h + j] + d.dgram[j * e.h + i]);
    kernels.mix(r, d.gamma_t, d.dcap, d.mix, d.lanes);
  }
};

template <class T>
T* scores_memory(const OpCall& c) {
  const Extents e = extents(c);
  return c.scratch_array<T>(static_cast<size_t>(e.b * e.h * e.q * e.k) + 1);
}

template <class T>
void add_vector(const attn_view* to, const double* from, int64_t n) {
  for (int64_t i = 0; to && i < n; ++i)
    data<T>(*to)[to->rank ? i * to->stride[0] : 0] += static_cast<T>(from[i]);
}

void check_vector(const OpCall& c, int port, const char* what, int64_t extent) {
  const attn_view* v = c.in(port);
  if (v && size_of(*v) != extent)
    fail("{} has shape {}; expected {} numbers", what, shape_text(*v), extent);
}

}  // namespace

void head_capsules::shape(OpCall c) {
  const attn_view &q = *c.in(kQuery), &k = *c.in(kKey);
  if (q.rank != 4 || k.rank != 4 || q.shape[0] != k.shape[0] || q.shape[1] != k.shape[1] ||
      q.shape[3] != k.shape[3])
    fail("q {} and k {} do not belong together; expected (batch, head, position, size)",
         shape_text(q), shape_text(k));
  const Extents e = extents(c);
  check_vector(c, kSums, "sums", e.h);
  check_vector(c, kBias, "bias", e.h);
  check_vector(c, kRoutingSlope, "the slope of routing", 1);
  check_vector(c, kSharingSlope, "the slope of sharing", 1);
  if (c.integer(0) < 0 || c.integer(0) >= kProbabilityKinds)
    fail("probability kind {} is unknown", c.integer(0));
  if (c.integer(kIterations) < 1) fail("iterations must be positive");
  c.out_shape(kAdded, q.dtype, {e.b, c.in(kSums) ? e.h : 1, e.q, e.k});
  c.out_shape(kCoefficients, q.dtype, {e.b, c.integer(kIterations), e.h, e.q});
}

template <class T>
void head_capsules::forward(OpCall c) {
  const Job<T> job(c);
  T* out = c.out(kAdded) ? data<T>(*c.out(kAdded)) : nullptr;
  T* coefficients = c.out(kCoefficients) ? data<T>(*c.out(kCoefficients)) : nullptr;
  T* memory = job.shares && out ? out : scores_memory<T>(c);
  scores<T>(c, memory);
  job.each_row(c, [&](const Desk<T>& d, int64_t row) {
    const HeadRows<T> r = job.rows(memory, row);
    job.capsule(r, d);
    if (coefficients) job.write_coefficients(d, row, coefficients);
    if (!out) return;
    if (job.shares)
      job.share(r, d);
    else
      std::copy_n(d.cap, r.n, out + row * r.n);
  });
}

template <class T>
void head_capsules::vjp(OpCall c) {
  if (!c.dout(kAdded)) return;
  const Job<T> job(c);
  const Extents& e = job.e;
  const attn_view dout = contiguous<T>(c, *c.dout(0));
  T* memory = scores_memory<T>(c);
  scores<T>(c, memory);
  // One line of totals a query, added up in their order.
  const int64_t line = 2 * e.h + 2, lines = e.b * e.q;
  double* totals = c.scratch_array<double>(static_cast<size_t>(line * lines) + 1);
  std::fill_n(totals, line * lines + 1, 0.0);
  job.each_row(c, [&](const Desk<T>& d, int64_t row) {
    const T* dy = data<T>(dout) + row / e.q * dout.stride[0] + row % e.q * dout.stride[2];
    job.gradient(job.rows(memory, row), d, {e.h, e.k, dout.stride[1], dy}, totals + row * line);
  });
  for (int64_t row = 1; row < lines; ++row)
    for (int64_t i = 0; i < line; ++i) totals[i] += totals[row * line + i];
  if (lines > 0) {
    add_vector<T>(c.din(kSums), totals, e.h);
    add_vector<T>(c.din(kBias), totals + e.h, e.h);
    add_vector<T>(c.din(kRoutingSlope), totals + 2 * e.h, 1);
    add_vector<T>(c.din(kSharingSlope), totals + 2 * e.h + 1, 1);
  }
  add_products<T>(c, c.din(kQuery), memory, *c.in(kKey), false);
  add_products<T>(c, c.din(kKey), memory, *c.in(kQuery), true);
}

attn_cost head_capsules::cost(OpCall c) {
  const Extents e = extents(c);
  const auto pairs = static_cast<double>(e.b * e.q * e.k), h = static_cast<double>(e.h);
  const double element = c.element_size();
  return {sizeof(attn_cost), 0, pairs * h * (2 * static_cast<double>(e.d) + h + 12),
          element * (pairs * (c.in(kSums) ? h : 1) +
                     static_cast<double>(size_of(*c.in(kQuery)) + size_of(*c.in(kKey))))};
}

template void head_capsules::forward<float>(OpCall);
template void head_capsules::forward<double>(OpCall);
template void head_capsules::vjp<float>(OpCall);
template void head_capsules::vjp<double>(OpCall);

}  // namespace capsule
