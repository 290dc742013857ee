// SPDX-License-Identifier: Apache-2.0
//
// The scalar machine: one step after another, as the language says. The oracle of the vector machines, what float64
// runs, and the source of what belongs to a row.
#include <cmath>

#include "core/program/call.hpp"

namespace attn::program {
namespace {

template <class T>
int64_t whole_step(const Node& n, const Call& call, const Point& at, const Slot<T>* s) {
  const auto x = [&](int i) { return s[n.in[i]].i; };
  switch (n.op) {
    case Op::constant:
      return n.whole;
    case Op::variable:
      switch (n.variable) {
        case Variable::b:
          return at.b;
        case Variable::h:
          return at.h;
        case Variable::q:
          return at.q;
        case Variable::k:
          return at.k;
        case Variable::B:
          return call.extents[0];
        case Variable::H:
          return call.extents[1];
        case Variable::Q:
          return call.extents[2];
        default:
          return call.extents[3];
      }
    case Op::extent:
      return call.table[n.table].stride[n.axis];
    case Op::negate:
      return -x(0);
    case Op::add:
      return x(0) + x(1);
    case Op::subtract:
      return x(0) - x(1);
    case Op::multiply:
      return x(0) * x(1);
    case Op::min:
      return x(0) < x(1) ? x(0) : x(1);
    case Op::max:
      return x(0) > x(1) ? x(0) : x(1);
    case Op::absolute:
      return x(0) < 0 ? -x(0) : x(0);
    case Op::quotient:
      return x(0) / x(1) - (x(0) % x(1) < 0 ? 1 : 0);
    case Op::remainder:
      return x(0) % x(1) + (x(0) % x(1) < 0 ? x(1) : 0);
    case Op::choose:
      return x(0) != 0 ? x(1) : x(2);
    default:
      return 0;
  }
}

template <class T>
T real_step(const Node& n, T score, const Slot<T>* s) {
  const auto x = [&](int i) { return s[n.in[i]].f; };
  switch (n.op) {
    case Op::constant:
      return static_cast<T>(n.real);
    case Op::variable:
      return score;
    case Op::to_real:
      return static_cast<T>(s[n.in[0]].i);
    case Op::negate:
      return -x(0);
    case Op::add:
      return x(0) + x(1);
    case Op::subtract:
      return x(0) - x(1);
    case Op::multiply:
      return x(0) * x(1);
    case Op::divide:
      return x(0) / x(1);
    case Op::min:
      return x(0) < x(1) ? x(0) : x(1);
    case Op::max:
      return x(0) > x(1) ? x(0) : x(1);
    case Op::absolute:
      return std::abs(x(0));
    case Op::sqrt:
      return std::sqrt(x(0));
    case Op::exp:
      return std::exp(x(0));
    case Op::log:
      return std::log(x(0));
    case Op::tanh:
      return std::tanh(x(0));
    case Op::sigmoid:
      return T(1) / (T(1) + std::exp(-x(0)));
    case Op::floor:
      return std::floor(x(0));
    case Op::choose:
      return s[n.in[0]].i != 0 ? x(1) : x(2);
    default:
      return 0;
  }
}

template <class X>
bool compare(Op op, X a, X b) {
  switch (op) {
    case Op::less:
      return a < b;
    case Op::less_equal:
      return a <= b;
    case Op::equal:
      return a == b;
    default:
      return a != b;
  }
}

template <class T>
bool truth_step(const Node* steps, const Node& n, const Slot<T>* s) {
  const auto x = [&](int i) { return s[n.in[i]].i != 0; };
  switch (n.op) {
    case Op::constant:
      return n.whole != 0;
    case Op::both:
      return x(0) && x(1);
    case Op::either:
      return x(0) || x(1);
    case Op::negation:
      return !x(0);
    case Op::choose:
      return x(0) ? x(1) : x(2);
    default:
      break;
  }
  const bool real = steps[n.in[0]].type == Type::real;
  return real ? compare(n.op, s[n.in[0]].f, s[n.in[1]].f)
              : compare(n.op, s[n.in[0]].i, s[n.in[1]].i);
}

// Element of a table that a step reads; -1: it reads none.
template <class T>
int64_t element(const Node& n, const Call& call, const Point& at, const Slot<T>* s) {
  switch (n.op) {
    case Op::read: {
      int64_t index = 0;
      for (int i = 0; i < n.operands; ++i) index += s[n.in[i]].i * call.table[n.table].stride[i];
      return index;
    }
    case Op::fetch:
      return s[n.in[0]].i;
    case Op::ascending:
      return s[n.in[0]].i + at.k;
    case Op::descending:
      return s[n.in[0]].i - at.k;
    default:
      return -1;
  }
}

template <class T>
void run(const Node* steps, size_t count, const Call& call, const Point& at, T score, Slot<T>* s) {
  Slot<T>* out = s;
  for (size_t i = 0; i < count; ++i) {
    const Node& n = steps[i];
    const int64_t from = n.table >= 0 && n.op != Op::extent ? element(n, call, at, s) : -1;
    if (from >= 0) {
      const void* data = call.table[n.table].data;
      if (n.type == Type::real)
        out->f = static_cast<const T*>(data)[from];
      else
        out->i = static_cast<const int32_t*>(data)[from];
    } else if (n.type == Type::real) {
      out->f = real_step(n, score, s);
    } else {
      out->i =
          n.type == Type::truth ? (truth_step(steps, n, s) ? 1 : 0) : whole_step(n, call, at, s);
    }
    ++out;
  }
}

}  // namespace

template <class T>
void compute(const Steps& steps, const Call& call, const Point& at, T score, Slot<T>* slots) {
  run(steps.steps.data(), steps.steps.size(), call, at, score, slots);
}

void compute_row(const Code& code, const Call& call, int64_t b, int64_t h, int64_t q,
                 Slot<float>* slots) {
  run(code.rows, static_cast<size_t>(code.row_count), call, {b, h, q, 0}, 0.0f, slots);
}

Call call_of(const Program& p) {
  Call call;
  call.program = &p;
  call.score = code_of(p.score_lanes);
  call.rest = code_of(p.rest_lanes);
  call.back = code_of(p.back_lanes);
  return call;
}

template <class T>
bool sees(const Call& call, const Point& at) {
  Slot<T> slots[kMostNodes * 2];
  const Steps& rule = call.program->rule;
  compute(rule, call, at, T(0), slots);
  return slots[rule.outputs[0]].i != 0;
}

Keys bounded(const Call& call, int64_t b, int64_t h, int64_t q, Keys keys) {
  const Program& p = *call.program;
  if (p.limits.empty()) return keys;
  // Of real numbers only the kind matters to conditions; they are computed in the kind of the tables, float at most.
  Slot<float> slots[kMostNodes * 2];
  compute(p.bounds, call, {b, h, q, 0}, 0.0f, slots);
  for (const Bound& l : p.limits) {
    const int64_t x = slots[p.bounds.outputs[static_cast<size_t>(l.output)]].i;
    if (l.kind == Bound::from && x > keys.begin) keys.begin = x;
    if (l.kind == Bound::until && x < keys.end) keys.end = x;
    if (l.kind == Bound::only_if && x == 0) keys.end = keys.begin;
  }
  if (keys.end < keys.begin) keys.end = keys.begin;
  return keys;
}

template void compute<float>(const Steps&, const Call&, const Point&, float, Slot<float>*);
template void compute<double>(const Steps&, const Call&, const Point&, double, Slot<double>*);
template bool sees<float>(const Call&, const Point&);
template bool sees<double>(const Call&, const Point&);

}  // namespace attn::program
