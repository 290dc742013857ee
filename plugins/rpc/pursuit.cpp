// SPDX-License-Identifier: Apache-2.0
#include "pursuit.hpp"

#include <attn/sdk/dispatch.hpp>
#include <attn/sdk/strided.hpp>

#include <algorithm>

#include "masks.hpp"
#include "shrinkage.hpp"

ATTN_SDK_DISPATCH(rpc, MatrixKernels, matrix_kernels)

namespace rpc {

namespace {

enum Attribute { kAxes, kLambda, kTau, kSweeps };

PursuitRule rule_of(const OpCall& c) { return {c.real(kTau), c.real(kLambda), c.integer(kSweeps)}; }

// Doubles of the record of one matrix.
int64_t record_size(const PursuitRule& rule, int64_t n) {
  return static_cast<int64_t>(Arena::measure([&](Arena& a) { Record(n, rule.sweeps, a); }) /
                              sizeof(double));
}

// Where the record of a matrix is.
enum class Keeping { none, saved, worker };

// The matrices of a run, and the memory of its workers.
class Job {
 public:
  Job(const OpCall& c, Keeping keeping)
      : z_(*c.in(0)),
        heads_(z_.shape[1]),
        n_(z_.shape[2]),
        keeping_(keeping),
        rule_(rule_of(c)),
        saved_(keeping == Keeping::saved ? data<double>(*c.saved(0)) : nullptr),
        record_size_(record_size(rule_, n_)),
        kernels_{matrix_kernels(c.raw().engine->cpu_level()), c.kernels()},
        masks_(c, c.in(1), z_.shape[0], heads_, n_, c.integers(kAxes)),
        memory_(c, [&](Arena& a) { Unit(*this, 0, a); }) {}
  [[nodiscard]] int64_t units() const { return z_.shape[0] * heads_; }

  // One matrix: the present tokens, the pursuit over them.
  struct Unit {
    int64_t index, size = 0, ld = 0;
    int64_t* tokens;
    double *x, *y;  // two matrices more
    Pursuit pursuit;
    Unit(const Job& job, int64_t at, Arena& a)
        : index(at),
          tokens(a.take<int64_t>(job.n_)),
          x(a.take<double>(job.n_ * padded(job.n_))),
          y(a.take<double>(job.n_ * padded(job.n_))),
          pursuit(job.pursuit(at, a)) {}
  };
  // Fills the matrix of a unit with the scores that take part, and zeros.
  template <class T>
  Unit open(int64_t index, int worker) const {
    Arena memory = memory_[worker];
    Unit u(*this, index, memory);
    u.size = masks_.present(index, u.tokens);
    u.ld = padded(u.size);
    double* a = u.pursuit.a();
    std::fill_n(a, u.size * u.ld, 0.0);
    each(u, [&](int64_t at, int64_t i, int64_t j) {
      a[at] = static_cast<double>(*entry<T>(z_, index, i, j));
    });
    return u;
  }
  // f(place in a matrix of the pursuit, i, j) for the entries that take part.
  template <class F>
  void each(const Unit& u, F&& f) const {
    for (int64_t r = 0; r < u.size; ++r)
      for (int64_t s = 0; s < u.size; ++s)
        if (masks_.kept(u.index, u.tokens[r], u.tokens[s]))
          f(r * u.ld + s, u.tokens[r], u.tokens[s]);
  }
  // f(i, j) for the others, whose raw scores remain.
  template <class F>
  void others(const Unit& u, F&& f) const {
    int64_t r = 0;
    for (int64_t i = 0; i < n_; ++i) {
      const bool here = r < u.size && u.tokens[r] == i;
      if (here) ++r;
      int64_t s = 0;
      for (int64_t j = 0; j < n_; ++j) {
        const bool there = s < u.size && u.tokens[s] == j;
        if (there) ++s;
        if (!(here && there && masks_.kept(u.index, i, j))) f(i, j);
      }
    }
  }
  // Entry (i, j) of matrix `index` of v (B, H, n, n).
  template <class T>
  T* entry(const attn_view& v, int64_t index, int64_t i, int64_t j) const {
    return element<T>(v, index / heads_, index % heads_, i, j);
  }

 private:
  [[nodiscard]] Pursuit pursuit(int64_t index, Arena& memory) const {
    Arena saved(saved_ + index * record_size_);
    Arena* record = keeping_ == Keeping::saved ? &saved : &memory;
    return {kernels_, rule_, n_, memory, keeping_ == Keeping::none ? nullptr : record};
  }

  const attn_view& z_;
  int64_t heads_, n_;
  Keeping keeping_;
  PursuitRule rule_;
  double* saved_;
  int64_t record_size_;
  Kernels kernels_;
  Masks masks_;
  WorkerMemory memory_;
};

}  // namespace

void pursuit::shape(OpCall c) {
  const attn_view& z = *c.in(0);
  if (z.rank != 4 || z.shape[2] != z.shape[3])
    fail("z has shape {}; expected (batch, head, n, n)", shape_text(z));
  if (c.in(1)) Masks::check(*c.in(1), z.shape[0], z.shape[1], z.shape[2], c.integers(kAxes));
  if (!(c.real(kLambda) > 0) || !(c.real(kTau) > 0)) fail("lambda and tau must be positive");
  if (c.integer(kSweeps) < 1) fail("sweeps must be positive");
  c.out_like(0, z);
  const int64_t units = z.shape[0] * z.shape[1];
  const int64_t record = record_size(rule_of(c), z.shape[2]);
  const bool keep = record <= kMostKept / 8 / std::max<int64_t>(units, 1);
  c.saved_shape(0, ATTN_F64, {keep ? units * record : 0});
}

template <class T>
void pursuit::forward(OpCall c) {
  const bool keep = c.saved(0) && size_of(*c.saved(0)) > 0;
  const Job job(c, keep ? Keeping::saved : Keeping::none);
  const attn_view &z = *c.in(0), &out = *c.out(0);
  // Entries that take no part have neither.
  const auto part = [&](const char* name) {
    attn_view v = out;
    set_dense_strides(v);
    v.data = nullptr;
    if (c.observes(name)) v.data = c.scratch_array<T>(static_cast<size_t>(size_of(v)) + 1);
    if (v.data) std::fill_n(data<T>(v), size_of(v), T(0));
    return v;
  };
  const attn_view low_rank = part("low_rank"), sparse = part("sparse");
  c.loop(job.units(), 1, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t unit = begin; unit < end; ++unit) {
      Job::Unit u = job.open<const T>(unit, worker);
      u.pursuit.forward(u.size, u.ld, u.x);
      if (low_rank.data || sparse.data)
        job.each(u, [&](int64_t at, int64_t i, int64_t j) {
          const double l = u.pursuit.low_rank()[at];
          if (low_rank.data) *job.entry<T>(low_rank, unit, i, j) = static_cast<T>(l);
          if (sparse.data) *job.entry<T>(sparse, unit, i, j) = static_cast<T>(u.x[at] - l);
        });
      job.each(u, [&](int64_t at, int64_t i, int64_t j) {
        *job.entry<T>(out, unit, i, j) = static_cast<T>(u.x[at]);
      });
      job.others(u, [&](int64_t i, int64_t j) {
        *job.entry<T>(out, unit, i, j) = *job.entry<const T>(z, unit, i, j);
      });
    }
  });
  if (low_rank.data) c.observe("low_rank", low_rank);
  if (sparse.data) c.observe("sparse", sparse);
}

template <class T>
void pursuit::vjp(OpCall c) {
  if (!c.dout(0) || !c.din(0)) return;
  const bool kept = size_of(*c.saved(0)) > 0;
  const Job job(c, kept ? Keeping::saved : Keeping::worker);
  const attn_view &dout = *c.dout(0), &din = *c.din(0);
  c.loop(job.units(), 1, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t unit = begin; unit < end; ++unit) {
      Job::Unit u = job.open<const T>(unit, worker);
      if (!kept) u.pursuit.forward(u.size, u.ld, u.x);
      std::fill_n(u.x, u.size * u.ld, 0.0);
      job.each(u, [&](int64_t at, int64_t i, int64_t j) {
        u.x[at] = static_cast<double>(*job.entry<const T>(dout, unit, i, j));
      });
      u.pursuit.backward(u.size, u.ld, u.x, u.y);
      job.each(u, [&](int64_t at, int64_t i, int64_t j) {
        *job.entry<T>(din, unit, i, j) += static_cast<T>(u.y[at]);
      });
      job.others(u, [&](int64_t i, int64_t j) {
        *job.entry<T>(din, unit, i, j) += *job.entry<const T>(dout, unit, i, j);
      });
    }
  });
}

attn_cost pursuit::cost(OpCall c) {
  const attn_view& z = *c.in(0);
  const auto n = static_cast<double>(z.shape[2]);
  const double element = c.element_size();
  // A product, a reduction to three diagonals, its rotations and the vectors above tau, in each sweep.
  return {sizeof(attn_cost), 0,
          static_cast<double>(z.shape[0] * z.shape[1] * c.integer(kSweeps)) * 10 * n * n * n,
          2 * element * static_cast<double>(size_of(z))};
}

template void pursuit::forward<float>(OpCall);
template void pursuit::forward<double>(OpCall);
template void pursuit::vjp<float>(OpCall);
template void pursuit::vjp<double>(OpCall);

}  // namespace rpc
