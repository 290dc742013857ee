// SPDX-License-Identifier: Apache-2.0
#include "head_capsules.hpp"

#include <algorithm>

#include "head_rows.hpp"

namespace capsule {
namespace {

enum Port { kQuery, kKey, kSums, kBias, kRoutingSlope, kSharingSlope };
enum Attribute { kScale = kRuleAttributes, kIterations, kSquashEpsilon, kAddCapsule };

struct Extents {
  int64_t b, h, q, k, d;
};
Extents extents(const OpCall& c) {
  const attn_view &q = *c.in(kQuery), &k = *c.in(kKey);
  return {q.shape[0], q.shape[1], q.shape[2], k.shape[2], q.shape[3]};
}

// c (heads, m, n; dense) (+)= alpha times the products of a (m, k) and b (k, n), one for each head, added to c.
template <class T>
struct Product {
  int64_t heads, m, n, k;
  double alpha;
  const T* a;
  int64_t a_head, a_row, a_col;
  const T* b;
  int64_t b_head, b_row, b_col;
  T* c;
  int64_t c_head, c_row, c_col;
  bool add;

  void run(const OpCall& call) const {
    if constexpr (sizeof(T) == sizeof(float)) {
      if (c_col == 1 || n == 1) {
        call.kernels().matmul(call.raw().ctx, heads, m, n, k, static_cast<float>(alpha), a, a_head,
                              a_row, a_col, b, b_head, b_row, b_col, c, c_head, c_row, add);
        return;
      }
    }
    call.loop(heads * m, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, n * k)),
              [&](int64_t begin, int64_t end, int) {
                for (int64_t r = begin; r < end; ++r) row(r / m, r % m);
              });
  }

 private:
  void row(int64_t h, int64_t i) const {
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t p = 0; p < k; ++p)
        sum += static_cast<double>(a[h * a_head + i * a_row + p * a_col]) *
               static_cast<double>(b[h * b_head + p * b_row + j * b_col]);
      T& to = c[h * c_head + i * c_row + j * c_col];
      to = (add ? to : T(0)) + static_cast<T>(alpha * sum);
    }
  }
};

// Scores of all heads into `to` (B, H, Q, K), dense.
template <class T>
void scores(const OpCall& c, T* to) {
  const Extents e = extents(c);
  const attn_view &q = *c.in(kQuery), &k = *c.in(kKey);
  for (int64_t b = 0; b < e.b; ++b)
    Product<T>{e.h,
               e.q,
               e.k,
               e.d,
               c.real(kScale),
               data<T>(q) + b * q.stride[0],
               q.stride[1],
               q.stride[2],
               q.stride[3],
               data<T>(k) + b * k.stride[0],
               k.stride[1],
               k.stride[3],
               k.stride[2],
               to + b * e.h * e.q * e.k,
               e.q * e.k,
               e.k,
               1,
               false}
        .run(c);
}

// Memory of one worker.
template <class T>
struct Desk {
  double *gram, *rounds, *gamma, *dgamma, *dgram, *columns;
  T *gamma_t, *mix, *cap, *dcap, *lanes;

  static size_t doubles(const Extents& e, int64_t iterations) {
    return Agreement::room(e.h, iterations) + static_cast<size_t>(2 * e.h * e.h + 2 * e.h) +
           ColumnShare<T>::room(e.h);
  }
  static size_t numbers(const Extents& e) {
    return static_cast<size_t>(e.h + e.h * e.h + 2 * e.k + 48 * e.h);
  }
  Desk(const Extents& e, int64_t iterations, double* d, T* t) {
    gram = d, dgram = gram + e.h * e.h, gamma = dgram + e.h * e.h, dgamma = gamma + e.h;
    columns = dgamma + e.h, rounds = columns + ColumnShare<T>::room(e.h);
    (void)iterations;
    gamma_t = t, mix = gamma_t + e.h, cap = mix + e.h * e.h, dcap = cap + e.k, lanes = dcap + e.k;
  }
};

// sums and bias of the aggregation, dense; zeros where there is none.
template <class T>
struct Aggregation {
  T *sums, *bias;
  Aggregation(const OpCall& c, int64_t heads)
      : sums(c.scratch_array<T>(static_cast<size_t>(2 * heads))), bias(sums + heads) {
    for (int64_t g = 0; g < heads; ++g) {
      sums[g] = c.in(kSums) ? data<T>(*c.in(kSums))[g * c.in(kSums)->stride[0]] : T(0);
      bias[g] = c.in(kBias) ? data<T>(*c.in(kBias))[g * c.in(kBias)->stride[0]] : T(0);
    }
  }
};

// What forward and gradient have in common.
template <class T>
struct Job {
  Extents e;
  bool shares, add, softmax;
  Rule routing, sharing;
  Agreement agreement;
  RowMath<T> math;
  Aggregation<T> aggregation;
  T* numbers;
  double* doubles;
  int64_t iterations, rows_of_task;

  explicit Job(const OpCall& c)
      : e(extents(c)),
        shares(c.in(kSums) != nullptr),
        add(c.flag(kAddCapsule)),
        softmax(c.integer(kKind) == static_cast<int64_t>(Probability::Kind::softmax)),
        routing(rule_of(c, c.in(kRoutingSlope))),
        sharing(rule_of(c, c.in(kSharingSlope))),
        agreement(routing, e.h, c.integer(kIterations), c.real(kSquashEpsilon)),
        math(*c.raw().engine),
        aggregation(c, e.h),
        iterations(c.integer(kIterations)),
        rows_of_task(std::max<int64_t>(1, 2 * kGrain / std::max<int64_t>(1, e.h * e.k))) {
    const auto workers = static_cast<size_t>(c.concurrency());
    numbers = c.scratch_array<T>(workers * Desk<T>::numbers(e));
    doubles = c.scratch_array<double>(workers * Desk<T>::doubles(e, iterations));
  }
  [[nodiscard]] Desk<T> desk(int worker) const {
    const auto w = static_cast<size_t>(worker);
    return Desk<T>(e, iterations, doubles + w * Desk<T>::doubles(e, iterations),
                   numbers + w * Desk<T>::numbers(e));
  }
  // The rows of query i of example b.
  [[nodiscard]] HeadRowsOf<T> rows(T* scores, int64_t row) const {
    const int64_t b = row / e.q, i = row % e.q;
    return {e.h, e.k, e.q * e.k, scores + b * e.h * e.q * e.k + i * e.k};
  }
  // cap of these rows, and gamma.
  void capsule(const HeadRowsOf<T>& r, const Desk<T>& d) const {
    math.gram(r, d.gram);
    agreement.forward(d.gram, d.rounds, d.gamma);
    for (int64_t h = 0; h < e.h; ++h) d.gamma_t[h] = static_cast<T>(d.gamma[h]);
    math.combine(r, d.gamma_t, d.cap);
  }
};

template <class T>
T* scores_memory(const OpCall& c) {
  const Extents e = extents(c);
  return c.scratch_array<T>(static_cast<size_t>(e.b * e.h * e.q * e.k) + 1);
}

// The outputs' gradient with contiguous columns.
template <class T>
attn_view contiguous(const OpCall& c, const attn_view& v) {
  if (v.stride[3] == 1 || v.shape[3] == 1) return v;
  attn_view out = v;
  out.data = c.scratch_array<T>(static_cast<size_t>(size_of(v)) + 1);
  set_dense_strides(out);
  for (int64_t r = 0; r < Rows{v}.count(); ++r)
    for (int64_t j = 0; j < v.shape[3]; ++j)
      Rows{out}.at<T>(r)[j] = Rows{v}.at<T>(r)[j * v.stride[3]];
  return out;
}

template <class T>
void add_vector(const attn_view* to, const double* from, int64_t n) {
  if (!to) return;
  for (int64_t i = 0; i < n; ++i)
    data<T>(*to)[to->rank ? i * to->stride[0] : 0] += static_cast<T>(from[i]);
}

void check_vector(const OpCall& c, int port, const char* what, int64_t extent) {
  const attn_view* v = c.in(port);
  if (v && size_of(*v) != extent)
    fail("%s has shape %s; expected %lld numbers", what, shape_text(*v).c_str(),
         static_cast<long long>(extent));
}

}  // namespace

void head_capsules::shape(OpCall c) {
  const attn_view &q = *c.in(kQuery), &k = *c.in(kKey);
  if (q.rank != 4 || k.rank != 4 || q.shape[0] != k.shape[0] || q.shape[1] != k.shape[1] ||
      q.shape[3] != k.shape[3])
    fail("q %s and k %s do not belong together; expected (batch, head, position, size)",
         shape_text(q).c_str(), shape_text(k).c_str());
  const Extents e = extents(c);
  check_vector(c, kSums, "sums", e.h);
  check_vector(c, kBias, "bias", e.h);
  check_vector(c, kRoutingSlope, "the slope of routing", 1);
  check_vector(c, kSharingSlope, "the slope of sharing", 1);
  if (c.integer(kKind) < 0 ||
      c.integer(kKind) > static_cast<int64_t>(Probability::Kind::adaptive_paper))
    fail("probability kind %lld is unknown", static_cast<long long>(c.integer(kKind)));
  if (c.integer(kIterations) < 1) fail("iterations must be positive");
  c.out_shape(0, q.dtype, {e.b, c.in(kSums) ? e.h : 1, e.q, e.k});
}

template <class T>
void head_capsules::forward(OpCall c) {
  const Job<T> job(c);
  const Extents& e = job.e;
  T* out = data<T>(*c.out(0));
  T* memory = job.shares ? out : scores_memory<T>(c);
  scores<T>(c, memory);
  c.loop(e.b * e.q, job.rows_of_task, [&](int64_t begin, int64_t end, int worker) {
    const Desk<T> d = job.desk(worker);
    for (int64_t row = begin; row < end; ++row) {
      const HeadRowsOf<T> r = job.rows(memory, row);
      job.capsule(r, d);
      const T *sums = job.aggregation.sums, *bias = job.aggregation.bias;
      if (!job.shares)
        std::copy_n(d.cap, e.k, out + row * e.k);
      else if (job.softmax)
        job.math.share(r, d.cap, sums, bias, job.add);
      else
        ColumnShare<T>(job.sharing, e.h, d.columns).share(r, d.cap, sums, bias, job.add);
    }
  });
}

template <class T>
void head_capsules::vjp(OpCall c) {
  if (!c.dout(0)) return;
  const Job<T> job(c);
  const Extents& e = job.e;
  const attn_view dout = contiguous<T>(c, *c.dout(0));
  T* memory = scores_memory<T>(c);
  scores<T>(c, memory);
  // One line of totals a query, added up in their order: sums, bias, slopes.
  const int64_t line = 2 * e.h + 2, lines = e.b * e.q;
  double* totals = c.scratch_array<double>(static_cast<size_t>(line * lines) + 1);
  c.loop(lines, job.rows_of_task, [&](int64_t begin, int64_t end, int worker) {
    const Desk<T> d = job.desk(worker);
    for (int64_t row = begin; row < end; ++row) {
      const HeadRowsOf<T> r = job.rows(memory, row);
      double* total = totals + row * line;
      std::fill_n(total, line, 0.0);
      job.capsule(r, d);
      const T* dy = data<T>(dout) + row / e.q * dout.stride[0] + row % e.q * dout.stride[2];
      const T *sums = job.aggregation.sums, *bias = job.aggregation.bias;
      if (!job.shares)
        std::copy_n(dy, e.k, d.dcap);
      else if (job.softmax)
        job.math.share_back(r, d.cap, sums, bias, job.add, dy, dout.stride[1], d.dcap, total,
                            d.lanes);
      else
        total[2 * e.h + 1] =
            ColumnShare<T>(job.sharing, e.h, d.columns)
                .share_back(r, d.cap, sums, bias, job.add, dy, dout.stride[1], d.dcap, total);
      job.math.dots(r, d.dcap, d.dgamma);
      total[2 * e.h] = job.agreement.backward(d.gram, d.rounds, d.dgamma, d.dgram);
      for (int64_t i = 0; i < e.h; ++i)
        for (int64_t j = 0; j < e.h; ++j)
          d.mix[i * e.h + j] = static_cast<T>(d.dgram[i * e.h + j] + d.dgram[j * e.h + i]);
      job.math.mix(r, d.gamma_t, d.dcap, d.mix, d.lanes);
    }
  });
  for (int64_t row = 1; row < lines; ++row)
    for (int64_t i = 0; i < line; ++i) totals[i] += totals[row * line + i];
  if (lines > 0) {
    add_vector<T>(c.din(kSums), totals, e.h);
    add_vector<T>(c.din(kBias), totals + e.h, e.h);
    add_vector<T>(c.din(kRoutingSlope), totals + 2 * e.h, 1);
    add_vector<T>(c.din(kSharingSlope), totals + 2 * e.h + 1, 1);
  }
  const attn_view &q = *c.in(kQuery), &k = *c.in(kKey);
  const double alpha = c.real(kScale);
  for (int64_t b = 0; b < e.b; ++b) {
    const T* ds = memory + b * e.h * e.q * e.k;
    if (const attn_view* dq = c.din(kQuery))
      Product<T>{e.h,
                 e.q,
                 e.d,
                 e.k,
                 alpha,
                 ds,
                 e.q * e.k,
                 e.k,
                 1,
                 data<T>(k) + b * k.stride[0],
                 k.stride[1],
                 k.stride[2],
                 k.stride[3],
                 data<T>(*dq) + b * dq->stride[0],
                 dq->stride[1],
                 dq->stride[2],
                 dq->stride[3],
                 true}
          .run(c);
    if (const attn_view* dk = c.din(kKey))
      Product<T>{e.h,           e.k,
                 e.d,           e.q,
                 alpha,         ds,
                 e.q * e.k,     1,
                 e.k,           data<T>(q) + b * q.stride[0],
                 q.stride[1],   q.stride[2],
                 q.stride[3],   data<T>(*dk) + b * dk->stride[0],
                 dk->stride[1], dk->stride[2],
                 dk->stride[3], true}
          .run(c);
  }
}

attn_cost head_capsules::cost(OpCall c) {
  const Extents e = extents(c);
  const auto pairs = static_cast<double>(e.b * e.q * e.k), h = static_cast<double>(e.h);
  const double element = c.dtype() == ATTN_F64 ? 8 : 4;
  return {sizeof(attn_cost), 0, pairs * h * (2 * static_cast<double>(e.d) + h + 12),
          element * (pairs * (c.in(kSums) ? h : 1) +
                     static_cast<double>(size_of(*c.in(kQuery)) + size_of(*c.in(kKey))))};
}

template void head_capsules::forward<float>(OpCall);
template void head_capsules::forward<double>(OpCall);
template void head_capsules::vjp<float>(OpCall);
template void head_capsules::vjp<double>(OpCall);

}  // namespace capsule
