// SPDX-License-Identifier: Apache-2.0
//
// The vector machine of score programs: one instruction after another over lines of keys, as plain loops that the
// compiler makes vectors of. Numbers of the row come from the scalar machine, numbers of the column are computed once
// for the rows of a group. Each operation is rounded by itself, so that lanes give what scalars give; exp, log, tanh
// and sigmoid differ by a few units in the last place.
#pragma once

#include "core/kernels/simd.hpp"
#include "core/program/call.hpp"

#if defined(__clang__)
#define ATTN_LANES _Pragma("clang loop vectorize(assume_safety)")
#else
#define ATTN_LANES _Pragma("GCC ivdep")
#endif

namespace attn::kernels::simd {

// Lines lie 64 bytes further apart than their length: 4,096 bytes apart they would meet in the first-level cache.
struct ProgramLines {
  alignas(64) float real[program::kMostLines][program::kLine + 16];
  alignas(64) int32_t whole[program::kMostLines][program::kLine + 16];
};

// Keys [key, key + n) of one row, or the n keys of a list.
struct ProgramRun {
  const program::Call& call;
  const program::Slot<float>* row;
  ProgramLines& lines;
  float* s;
  int64_t key, n;
  const int32_t* keys;  // nullptr: key, key + 1, ...
};

ATTN_INLINE bool is_row(program::Operand x) { return x < program::kScores; }

// An operand: a line, or one number for all keys.
template <class X>
struct ProgramOperand {
  const X* line;
  X one;
};
ATTN_INLINE ProgramOperand<float> real_operand(const ProgramRun& m, program::Operand x) {
  if (is_row(x)) return {nullptr, m.row[program::row_step(x)].f};
  return {x == program::kScores ? m.s : m.lines.real[x], 0.0f};
}
ATTN_INLINE ProgramOperand<int32_t> whole_operand(const ProgramRun& m, program::Operand x) {
  if (is_row(x)) return {nullptr, static_cast<int32_t>(m.row[program::row_step(x)].i)};
  return {m.lines.whole[x], 0};
}
// Truth values in lanes are 0 and -1.
ATTN_INLINE ProgramOperand<int32_t> truth_operand(const ProgramRun& m, program::Operand x) {
  const ProgramOperand<int32_t> o = whole_operand(m, x);
  return {o.line, -o.one};
}

template <class X, class R, class F>
ATTN_INLINE void each_key(int64_t n, R* out, const X* a, F f) {
  ATTN_LANES
  for (int64_t i = 0; i < n; ++i) out[i] = f(a[i]);
}
// At least one of the operands is a line.
template <class X, class R, class F>
ATTN_INLINE void each_key(int64_t n, R* out, ProgramOperand<X> x, ProgramOperand<X> y, F f) {
  const X *a = x.line, *b = y.line, u = x.one, v = y.one;
  if (b == nullptr) {
    ATTN_LANES
    for (int64_t i = 0; i < n; ++i) out[i] = f(a[i], v);
  } else if (a == nullptr) {
    ATTN_LANES
    for (int64_t i = 0; i < n; ++i) out[i] = f(u, b[i]);
  } else {
    ATTN_LANES
    for (int64_t i = 0; i < n; ++i) out[i] = f(a[i], b[i]);
  }
}

template <class X>
ATTN_INLINE void copy_operand(int64_t n, X* out, ProgramOperand<X> x) {
  const X* a = x.line;
  const X u = x.one;
  if (a == nullptr) {
    for (int64_t i = 0; i < n; ++i) out[i] = u;
  } else {
    ATTN_LANES
    for (int64_t i = 0; i < n; ++i) out[i] = a[i];
  }
}
template <class X>
ATTN_INLINE void choose_keys(int64_t n, X* out, ProgramOperand<int32_t> c, ProgramOperand<X> x,
                             ProgramOperand<X> y) {
  if (c.line == nullptr) return copy_operand(n, out, c.one != 0 ? x : y);
  const int32_t* when = c.line;
  const X *a = x.line, *b = y.line, u = x.one, v = y.one;
  if (a == nullptr && b == nullptr) {
    ATTN_LANES
    for (int64_t i = 0; i < n; ++i) out[i] = when[i] != 0 ? u : v;
  } else if (a == nullptr) {
    ATTN_LANES
    for (int64_t i = 0; i < n; ++i) {
      const X other = b[i];
      out[i] = when[i] != 0 ? u : other;
    }
  } else if (b == nullptr) {
    ATTN_LANES
    for (int64_t i = 0; i < n; ++i) {
      const X own = a[i];
      out[i] = when[i] != 0 ? own : v;
    }
  } else {
    ATTN_LANES
    for (int64_t i = 0; i < n; ++i) {
      const X own = a[i], other = b[i];
      out[i] = when[i] != 0 ? own : other;
    }
  }
}

template <class Arch, class F>
ATTN_INLINE void each_vector(int64_t n, float* out, const float* a, F f) {
  constexpr int64_t W = kWidth<Arch>;
  int64_t i = 0;
  for (; i + W <= n; i += W) store<Arch>(out + i, f(load<Arch>(a + i)));
  if (i < n) store_first<Arch>(out + i, f(load_first<Arch>(a + i, n - i)), n - i);
}
// factor * f(a / divisor), as program::is_function() has it.
template <class Arch, class F>
ATTN_INLINE void each_function(const ProgramRun& m, const program::Instruction& x, float* out,
                               F f) {
  using V = Vec<Arch>;
  const float* a = real_operand(m, x.in[0]).line;
  const V factor(x.in[2] == program::kNothing ? 1.0f : real_operand(m, x.in[2]).one);
  if (x.in[1] == program::kNothing)
    return each_vector<Arch>(m.n, out, a, [&](V v) { return factor * f(v); });
  const V divisor(real_operand(m, x.in[1]).one);
  each_vector<Arch>(m.n, out, a, [&](V v) { return factor * f(v / divisor); });
}

// x rounded down by y, and the rest: through double, which holds both exactly. The quotient may be one off.
struct Quotient {
  int32_t quotient, remainder;
};
ATTN_INLINE Quotient quotient_of(int32_t x, int32_t y, double inverse) {
  const auto d = static_cast<double>(y);
  auto q = static_cast<double>(static_cast<int32_t>(static_cast<double>(x) * inverse));
  double r = static_cast<double>(x) - q * d;
  const double less = r < 0 ? 1.0 : 0.0;
  q -= less, r += less * d;
  const double more = r >= d ? 1.0 : 0.0;
  q += more, r -= more * d;
  return {static_cast<int32_t>(q), static_cast<int32_t>(r)};
}
template <bool kRemainder>
ATTN_INLINE void divide_keys(int64_t n, int32_t* out, ProgramOperand<int32_t> x,
                             ProgramOperand<int32_t> y) {
  const auto part = [](Quotient q) { return kRemainder ? q.remainder : q.quotient; };
  if (y.line == nullptr && x.line != nullptr) {
    const int32_t* a = x.line;
    const int32_t d = y.one;
    if ((d & (d - 1)) == 0) {
      const int32_t shift = __builtin_ctz(static_cast<unsigned>(d));
      ATTN_LANES
      for (int64_t i = 0; i < n; ++i) out[i] = kRemainder ? a[i] & (d - 1) : a[i] >> shift;
      return;
    }
    const double inverse = 1.0 / static_cast<double>(d);
    ATTN_LANES
    for (int64_t i = 0; i < n; ++i) out[i] = part(quotient_of(a[i], d, inverse));
    return;
  }
  each_key(n, out, x, y, [&](int32_t a, int32_t b) {
    return part(quotient_of(a, b, 1.0 / static_cast<double>(b)));
  });
}

template <class X>
ATTN_INLINE void compare_keys(program::Op op, int64_t n, int32_t* out, ProgramOperand<X> x,
                              ProgramOperand<X> y) {
  switch (op) {
    case program::Op::less:
      return each_key(n, out, x, y, [](X a, X b) { return a < b ? -1 : 0; });
    case program::Op::less_equal:
      return each_key(n, out, x, y, [](X a, X b) { return a <= b ? -1 : 0; });
    case program::Op::equal:
      return each_key(n, out, x, y, [](X a, X b) { return a == b ? -1 : 0; });
    default:
      return each_key(n, out, x, y, [](X a, X b) { return a != b ? -1 : 0; });
  }
}

template <class X>
ATTN_INLINE void read_keys(const ProgramRun& m, const program::Instruction& x, X* out) {
  const X* data = static_cast<const X*>(m.call.table[x.table].data);
  const int64_t n = m.n;
  if (m.keys != nullptr && x.op != program::Op::fetch) {
    const X* from = data + m.row[program::row_step(x.in[0])].i;
    const int32_t* key = m.keys;
    const int32_t step = x.op == program::Op::ascending ? 1 : -1;
    ATTN_LANES
    for (int64_t i = 0; i < n; ++i) out[i] = from[step * key[i]];
  } else if (x.op == program::Op::ascending) {
    const X* from = data + (m.row[program::row_step(x.in[0])].i + m.key);
    ATTN_LANES
    for (int64_t i = 0; i < n; ++i) out[i] = from[i];
  } else if (x.op == program::Op::descending) {
    const X* from = data + (m.row[program::row_step(x.in[0])].i - m.key);
    ATTN_LANES
    for (int64_t i = 0; i < n; ++i) out[i] = from[-i];
  } else {
    const int32_t* index = m.lines.whole[x.in[0]];
    ATTN_LANES
    for (int64_t i = 0; i < n; ++i) out[i] = data[index[i]];
  }
}

template <class Arch>
__attribute__((noinline)) void run_whole(const ProgramRun& m, const program::Instruction& x) {
  using program::Op;
  int32_t* out = m.lines.whole[x.out];
  const int64_t n = m.n;
  const auto in = [&](int i) { return whole_operand(m, x.in[i]); };
  switch (x.op) {
    case Op::variable: {
      if (m.keys != nullptr) return copy_operand(n, out, ProgramOperand<int32_t>{m.keys, 0});
      const auto key = static_cast<int32_t>(m.key);
      for (int64_t i = 0; i < n; ++i) out[i] = key + static_cast<int32_t>(i);
      return;
    }
    case Op::fetch:
    case Op::ascending:
    case Op::descending:
      return read_keys(m, x, out);
    case Op::negate:
      return each_key(n, out, in(0).line, [](int32_t a) { return -a; });
    case Op::absolute:
      return each_key(n, out, in(0).line, [](int32_t a) { return a < 0 ? -a : a; });
    case Op::add:
      return each_key(n, out, in(0), in(1), [](int32_t a, int32_t b) { return a + b; });
    case Op::subtract:
      return each_key(n, out, in(0), in(1), [](int32_t a, int32_t b) { return a - b; });
    case Op::multiply:
      return each_key(n, out, in(0), in(1), [](int32_t a, int32_t b) { return a * b; });
    case Op::min:
      return each_key(n, out, in(0), in(1), [](int32_t a, int32_t b) { return a < b ? a : b; });
    case Op::max:
      return each_key(n, out, in(0), in(1), [](int32_t a, int32_t b) { return a > b ? a : b; });
    case Op::quotient:
      return divide_keys<false>(n, out, in(0), in(1));
    case Op::remainder:
      return divide_keys<true>(n, out, in(0), in(1));
    default:
      return choose_keys(n, out, truth_operand(m, x.in[0]), in(1), in(2));
  }
}

template <class Arch>
__attribute__((noinline)) void run_truth(const ProgramRun& m, const program::Instruction& x) {
  using program::Op;
  int32_t* out = m.lines.whole[x.out];
  const int64_t n = m.n;
  const auto in = [&](int i) { return truth_operand(m, x.in[i]); };
  switch (x.op) {
    case Op::both:
      return each_key(n, out, in(0), in(1), [](int32_t a, int32_t b) { return a & b; });
    case Op::either:
      return each_key(n, out, in(0), in(1), [](int32_t a, int32_t b) { return a | b; });
    case Op::negation:
      return each_key(n, out, in(0).line, [](int32_t a) { return ~a; });
    case Op::choose:
      return choose_keys(n, out, in(0), in(1), in(2));
    default:
      if (x.operands == program::Type::real)
        return compare_keys(x.op, n, out, real_operand(m, x.in[0]), real_operand(m, x.in[1]));
      return compare_keys(x.op, n, out, whole_operand(m, x.in[0]), whole_operand(m, x.in[1]));
  }
}

template <class Arch>
__attribute__((noinline)) void run_real(const ProgramRun& m, const program::Instruction& x) {
  using program::Op;
  using V = Vec<Arch>;
  float* out = x.out == program::kScores ? m.s : m.lines.real[x.out];
  const int64_t n = m.n;
  const auto in = [&](int i) { return real_operand(m, x.in[i]); };
  switch (x.op) {
    case Op::variable:
      return copy_operand(n, out, in(0));
    case Op::fetch:
    case Op::ascending:
    case Op::descending:
      return read_keys(m, x, out);
    case Op::to_real:
      return each_key(n, out, whole_operand(m, x.in[0]).line,
                      [](int32_t a) { return static_cast<float>(a); });
    case Op::negate:
      return each_key(n, out, in(0).line, [](float a) { return -a; });
    case Op::absolute:
      return each_key(n, out, in(0).line, [](float a) { return __builtin_fabsf(a); });
    case Op::add:
      return each_key(n, out, in(0), in(1), [](float a, float b) { return a + b; });
    case Op::subtract:
      return each_key(n, out, in(0), in(1), [](float a, float b) { return a - b; });
    case Op::multiply:
      return each_key(n, out, in(0), in(1), [](float a, float b) { return a * b; });
    case Op::divide:
      return each_key(n, out, in(0), in(1), [](float a, float b) { return a / b; });
    case Op::min:
      return each_key(n, out, in(0), in(1), [](float a, float b) { return a < b ? a : b; });
    case Op::max:
      return each_key(n, out, in(0), in(1), [](float a, float b) { return a > b ? a : b; });
    case Op::sqrt:
      return each_key(n, out, in(0).line, [](float a) { return __builtin_sqrtf(a); });
    case Op::floor:
      return each_function<Arch>(m, x, out, [](V a) { return xsimd::floor(a); });
    case Op::exp:
      return each_function<Arch>(m, x, out, [](V a) { return xsimd::exp(a); });
    case Op::log:
      return each_function<Arch>(m, x, out, [](V a) { return xsimd::log(a); });
    case Op::tanh:
      return each_function<Arch>(m, x, out, [](V a) { return xsimd::tanh(a); });
    case Op::sigmoid:
      return each_function<Arch>(m, x, out,
                                 [](V a) { return V(1.0f) / (V(1.0f) + xsimd::exp(V(0.0f) - a)); });
    default:
      return choose_keys(n, out, truth_operand(m, x.in[0]), in(1), in(2));
  }
}

template <class Arch>
ATTN_INLINE void run_code(const ProgramRun& m, const program::Instruction* code, int32_t count) {
  for (int32_t i = 0; i < count; ++i) {
    const program::Instruction& x = code[i];
    if (x.type == program::Type::real)
      run_real<Arch>(m, x);
    else if (x.type == program::Type::whole)
      run_whole<Arch>(m, x);
    else
      run_truth<Arch>(m, x);
  }
}

// A row that a program is run on: keys [first, first + n) of it, s their scores.
struct ProgramRow {
  int64_t b, h, q;
  float* s;
};

// Runs code over keys [first, first + n) of up to kTileRows rows, or over the n keys of a list, at most kLine at a time.
// done(row, run, offset) gets each piece, s already `offset` further. Columns are computed once for rows of one head.
template <class Arch, class F>
ATTN_INLINE void run_program(const program::Call& call, const program::Code& code,
                             const ProgramRow* row, int64_t rows, int64_t first, int64_t n,
                             ProgramLines& lines, F&& done, const int32_t* keys = nullptr) {
  constexpr int32_t kKept = 48;
  program::Slot<float> kept[kTileRows][kKept];
  program::Slot<float> many[program::kMostDerived];
  const bool keep = code.row_count <= kKept;
  for (int64_t r = 0; keep && r < rows; ++r)
    program::compute_row(code, call, row[r].b, row[r].h, row[r].q, kept[r]);
  for (int64_t offset = 0; offset < n; offset += program::kLine) {
    const int64_t count = n - offset < program::kLine ? n - offset : program::kLine;
    for (int64_t r = 0; r < rows; ++r) {
      if (!keep) program::compute_row(code, call, row[r].b, row[r].h, row[r].q, many);
      const ProgramRun m{call,
                         keep ? kept[r] : many,
                         lines,
                         row[r].s + offset,
                         first + offset,
                         count,
                         keys == nullptr ? nullptr : keys + offset};
      if (r == 0 || (code.columns_by_head && row[r].h != row[r - 1].h))
        run_code<Arch>(m, code.columns, code.column_count);
      run_code<Arch>(m, code.lanes, code.lane_count);
      done(r, m, offset);
    }
  }
}

// Rows of scores, in place.
template <class Arch>
__attribute__((noinline)) void program_scores(const program::Call& call, const ProgramRow* row,
                                              int64_t rows, int64_t first, int64_t n,
                                              const int32_t* keys = nullptr) {
  ProgramLines lines;
  const program::Operand out = call.score.outputs[0];
  run_program<Arch>(
      call, call.score, row, rows, first, n, lines,
      [&](int64_t, const ProgramRun& m, int64_t) {
        if (out != program::kScores) copy_operand(m.n, m.s, real_operand(m, out));
      },
      keys);
}

// -infinity where the rest of the mask rule hides a key.
template <class Arch>
__attribute__((noinline)) void program_hide(const program::Call& call, const ProgramRow* row,
                                            int64_t rows, int64_t first, int64_t n) {
  ProgramLines lines;
  const program::Operand out = call.rest.outputs[0];
  run_program<Arch>(call, call.rest, row, rows, first, n, lines,
                    [&](int64_t, const ProgramRun& m, int64_t) {
                      const ProgramOperand<float> s{m.s, 0.0f}, never{nullptr, -__builtin_inff()};
                      choose_keys(m.n, m.s, truth_operand(m, out), s, never);
                    });
}

// Whether the rest of the mask rule leaves a key, as bytes of 0 and 1, those of rows `stride` apart.
template <class Arch>
__attribute__((noinline)) void program_keep(const program::Call& call, const ProgramRow* row,
                                            int64_t rows, int64_t first, int64_t n, uint8_t* keep,
                                            int64_t stride) {
  ProgramLines lines;
  const program::Operand out = call.rest.outputs[0];
  run_program<Arch>(call, call.rest, row, rows, first, n, lines,
                    [&](int64_t r, const ProgramRun& m, int64_t offset) {
                      const ProgramOperand<int32_t> x = truth_operand(m, out);
                      uint8_t* to = keep + r * stride + offset;
                      for (int64_t i = 0; x.line == nullptr && i < m.n; ++i)
                        to[i] = x.one != 0 ? 1 : 0;
                      if (x.line == nullptr) return;
                      const int32_t* line = x.line;
                      ATTN_LANES
                      for (int64_t i = 0; i < m.n; ++i) to[i] = static_cast<uint8_t>(line[i] & 1);
                    });
}

// The same of one row.
template <class Arch>
void program_bytes(const program::Call& call, int64_t b, int64_t h, int64_t q, int64_t first,
                   int64_t n, uint8_t* keep) {
  float none[program::kLine];  // a rule reads no score
  const ProgramRow row{b, h, q, none};
  for (int64_t offset = 0; offset < n; offset += program::kLine) {
    const int64_t count = n - offset < program::kLine ? n - offset : program::kLine;
    program_keep<Arch>(call, &row, 1, first + offset, count, keep + offset, 0);
  }
}

// Of one row: s, the scores that the program saw, is overwritten; dz, their gradients after it, become those before it;
// gradients of tables are added to dtables. A gradient of 0 stays 0 whatever it meets.
template <class Arch>
__attribute__((noinline)) void program_back(const program::Call& call, const ProgramBack& back,
                                            const ProgramRow& row, int64_t first, int64_t n,
                                            float* dz) {
  ProgramLines lines;
  const auto times = [](float d, float f) { return d == 0 ? 0.0f : d * f; };
  run_program<Arch>(call, call.back, &row, 1, first, n, lines,
                    [&](int64_t, const ProgramRun& m, int64_t offset) {
                      float* d = dz + offset;
                      alignas(64) float own[program::kLine];
                      for (int32_t i = 0; i < back.read_count; ++i) {
                        const program::GradRead& read = back.reads[i];
                        float* to = back.dtables[read.table];
                        if (to == nullptr) continue;
                        each_key(m.n, own, ProgramOperand<float>{d, 0.0f},
                                 real_operand(m, call.back.outputs[read.factor]), times);
                        const program::Operand at = call.back.outputs[read.index];
                        if (read.way == program::GradRead::scattered) {
                          const int32_t* index = m.lines.whole[at];
                          for (int64_t j = 0; j < m.n; ++j) to[index[j]] += own[j];
                          continue;
                        }
                        to += m.row[program::row_step(at)].i;
                        if (read.way == program::GradRead::row) {
                          float sum = 0;
                          for (int64_t j = 0; j < m.n; ++j) sum += own[j];
                          *to += sum;
                        } else if (read.way == program::GradRead::ascending) {
                          ATTN_LANES
                          for (int64_t j = 0; j < m.n; ++j) to[m.key + j] += own[j];
                        } else {
                          to -= m.key;
                          ATTN_LANES
                          for (int64_t j = 0; j < m.n; ++j) to[-j] += own[j];
                        }
                      }
                      if (back.ds >= 0) {
                        each_key(m.n, d, ProgramOperand<float>{d, 0.0f},
                                 real_operand(m, call.back.outputs[back.ds]), times);
                      } else if (!back.score_counts) {
                        for (int64_t j = 0; j < m.n; ++j) d[j] = 0;
                      }
                    });
}

}  // namespace attn::kernels::simd
