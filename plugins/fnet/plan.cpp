// SPDX-License-Identifier: Apache-2.0
#include "plan.hpp"

#include <algorithm>
#include <utility>

#include "roots.hpp"

namespace attn::fnet {

namespace {

// Of a factorisation; 8 first, so that a power of two takes few passes, but 16 = 4 * 4.
constexpr int64_t kRadices[] = {8, 4, 2, 3, 5, 7, 11, 13};

int64_t next_radix(int64_t rest) {
  if (rest == 16) return 4;
  for (const int64_t p : kRadices)
    if (rest % p == 0) return p;
  return 0;
}

bool is_smooth(int64_t n) {
  while (n > 1) {
    const int64_t p = next_radix(n);
    if (p == 0) return false;
    n /= p;
  }
  return true;
}

// Smallest 2^a 3^b 5^c that is at least `least`.
int64_t convolution_length(int64_t least) {
  int64_t best = 1;
  while (best < least) best *= 2;
  for (int64_t five = 1; five < best; five *= 5)
    for (int64_t three = five; three < best; three *= 3) {
      int64_t m = three;
      while (m < least) m *= 2;
      best = std::min(best, m);
    }
  return best;
}

// One piece of scratch memory, handed out from its front.
class Memory {
 public:
  Memory(const sdk::OpCall& c, int64_t bytes)
      : at_(c.scratch_array<unsigned char>(static_cast<size_t>(bytes))) {}
  template <class T>
  T* take(int64_t n) {
    T* p = reinterpret_cast<T*>(at_);
    at_ += (n * static_cast<int64_t>(sizeof(T)) + 63) / 64 * 64;
    return p;
  }

 private:
  unsigned char* at_;
};

// What all tables of a length take, convolution or not: 2 (m + 64) twiddles, 2 m spectrum and 2 n chirp; in double
// twice 2 m roots, 4 n roots, 2 (m + 64) twiddles and 4 m stretches; and the ends of twelve pieces.
template <class T>
int64_t table_bytes(int64_t n) {
  const int64_t m = work_length(n), own = sizeof(T), exact = sizeof(double);
  return own * (4 * m + 2 * n + 128) +
         exact * (6 * m + 4 * n + 128 + 4 * m * kLanes<double>)+12 * 64;
}

template <class T>
T* copy_roots(int64_t n, const double* from, int64_t step, T* to) {
  for (int64_t k = 0; k < n; ++k) {
    to[2 * k] = static_cast<T>(from[2 * k * step]);
    to[2 * k + 1] = static_cast<T>(from[2 * k * step + 1]);
  }
  return to + 2 * n;
}

// The passes of a length without large prime factors.
template <class T>
void add_passes(Plan<T>& plan, Memory& memory) {
  const int64_t length = plan.length;
  double* roots = memory.take<double>(2 * length);
  fill_roots(length, roots);
  // (p - 1) m twiddles a pass add up to length - 1; the roots of 8 passes' radices come to less than 64.
  T* tables = memory.take<T>(2 * (length + 64));
  const T* own_roots[14] = {};
  int64_t n = length, s = 1;
  while (n > 1) {
    const int64_t p = next_radix(n), m = n / p;
    if (!own_roots[p]) {
      own_roots[p] = tables;
      tables = copy_roots(p, roots, length / p, tables);
    }
    Pass<T>& pass = plan.pass[plan.passes++];
    pass = {p, m, s, tables, own_roots[p]};
    for (int64_t q = 0; q < m; ++q)
      for (int64_t t = 1; t < p; ++t) tables = copy_roots(1, roots + 2 * q * t * s, 1, tables);
    n = m;
    s *= p;
  }
}

template <class T>
int run_passes(const Plan<T>& plan, const Loops<T>& loops, int64_t lanes, const Work<T>& work,
               int side) {
  for (int i = 0; i < plan.passes; ++i, side ^= 1)
    loops.pass(plan.pass[i], lanes, work.re[side], work.im[side], work.re[side ^ 1],
               work.im[side ^ 1]);
  return side;
}

// The chirp, and the spectrum of what the sequences are convolved with.
template <class T>
void add_convolution(Plan<T>& plan, Memory& memory) {
  const int64_t n = plan.n, m = plan.length;
  double* roots = memory.take<double>(4 * n);
  fill_roots(2 * n, roots);
  T* chirp = memory.take<T>(2 * n);
  // One sequence, in as many lanes as the loops need; the other lanes are zeros.
  constexpr int64_t kOne = kLanes<double>;
  double* planes = memory.take<double>(4 * m * kOne);
  std::fill_n(planes, 4 * m * kOne, 0.0);
  const Work<double> work{{planes, planes + 2 * m * kOne},
                          {planes + m * kOne, planes + 3 * m * kOne}};
  for (int64_t j = 0, at = 0; j < n; ++j) {  // at = j j modulo 2 n
    const double re = roots[2 * at], im = roots[2 * at + 1];
    chirp[2 * j] = static_cast<T>(re);
    chirp[2 * j + 1] = static_cast<T>(im);
    for (const int64_t to : {j, j == 0 ? 0 : m - j}) {
      work.re[0][to * kOne] = re;
      work.im[0][to * kOne] = -im;
    }
    at = (at + 2 * j + 1) % (2 * n);
  }
  Plan<double> exact;
  exact.n = exact.length = m;
  add_passes(exact, memory);
  const int side = run_passes(exact, loops<double>("reference"), kOne, work, 0);
  T* spectrum = memory.take<T>(2 * m);
  for (int64_t k = 0; k < m; ++k) {
    spectrum[2 * k] = static_cast<T>(work.re[side][k * kOne] / static_cast<double>(m));
    spectrum[2 * k + 1] = static_cast<T>(work.im[side][k * kOne] / static_cast<double>(m));
  }
  plan.chirp = chirp;
  plan.spectrum = spectrum;
}

}  // namespace

int64_t work_length(int64_t n) { return convolution_length(2 * n - 1); }

template <class T>
Plan<T> make_plan(int64_t n, const sdk::OpCall& c) {
  Memory memory(c, table_bytes<T>(n));
  Plan<T> plan;
  plan.n = n;
  plan.length = is_smooth(n) ? n : work_length(n);
  add_passes(plan, memory);
  if (plan.length != n) add_convolution(plan, memory);
  return plan;
}

template <class T>
int transform(const Plan<T>& plan, const Loops<T>& loops, int64_t lanes, const Work<T>& work) {
  if (!plan.chirp) return run_passes(plan, loops, lanes, work, 0);
  const int64_t rest = (plan.length - plan.n) * lanes;
  loops.multiply(plan.n, lanes, plan.chirp, work.re[0], work.im[0]);
  std::fill_n(work.re[0] + plan.n * lanes, rest, T(0));
  std::fill_n(work.im[0] + plan.n * lanes, rest, T(0));
  int side = run_passes(plan, loops, lanes, work, 0);
  loops.multiply(plan.length, lanes, plan.spectrum, work.re[side], work.im[side]);
  // Backwards: the forward transform with real and imaginary parts in each other's place.
  const Work<T> swapped{{work.im[0], work.im[1]}, {work.re[0], work.re[1]}};
  side = run_passes(plan, loops, lanes, swapped, side);
  loops.multiply(plan.n, lanes, plan.chirp, work.re[side], work.im[side]);
  return side;
}

template Plan<float> make_plan(int64_t, const sdk::OpCall&);
template Plan<double> make_plan(int64_t, const sdk::OpCall&);
template int transform(const Plan<float>&, const Loops<float>&, int64_t, const Work<float>&);
template int transform(const Plan<double>&, const Loops<double>&, int64_t, const Work<double>&);

}  // namespace attn::fnet
