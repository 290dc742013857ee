// SPDX-License-Identifier: Apache-2.0
#include "core/program/dag.hpp"

#include <bit>
#include <stdexcept>

namespace attn::program {
namespace {

uint64_t hash_of(const Node& n) {
  uint64_t h = 0xcbf29ce484222325u;
  const auto mix = [&](uint64_t x) { h = (h ^ x) * 0x9e3779b97f4a7c15u, h ^= h >> 29; };
  mix(static_cast<uint64_t>(n.op) << 40 | static_cast<uint64_t>(n.type) << 32 |
      static_cast<uint64_t>(static_cast<uint8_t>(n.table)) << 16 |
      static_cast<uint64_t>(static_cast<uint8_t>(n.axis)) << 8 | static_cast<uint8_t>(n.variable));
  for (int i = 0; i < n.operands; ++i) mix(static_cast<uint64_t>(n.in[i]));
  mix(static_cast<uint64_t>(n.whole));
  mix(std::bit_cast<uint64_t>(n.real));
  return h;
}

bool same(const Node& a, const Node& b) {
  bool equal = a.op == b.op && a.type == b.type && a.table == b.table && a.axis == b.axis &&
               a.variable == b.variable && a.operands == b.operands && a.whole == b.whole &&
               std::bit_cast<uint64_t>(a.real) == std::bit_cast<uint64_t>(b.real);
  for (int i = 0; i < a.operands && equal; ++i) equal = a.in[i] == b.in[i];
  return equal;
}

int64_t floor_quotient(int64_t x, int64_t y) { return x / y - (x % y < 0 ? 1 : 0); }

bool is_comparison(Op op) { return op >= Op::less && op <= Op::not_equal; }

// Result of whole numbers; false: none within 32 bits.
bool compute(Op op, int64_t x, int64_t y, int64_t& out) {
  switch (op) {
    case Op::add:
      out = x + y;
      break;
    case Op::subtract:
      out = x - y;
      break;
    case Op::multiply:
      out = x * y;
      break;
    case Op::min:
      out = x < y ? x : y;
      break;
    case Op::max:
      out = x > y ? x : y;
      break;
    case Op::quotient:
      if (y < 1) return false;
      out = floor_quotient(x, y);
      break;
    case Op::remainder:
      if (y < 1) return false;
      out = x - floor_quotient(x, y) * y;
      break;
    case Op::less:
      out = x < y;
      break;
    case Op::less_equal:
      out = x <= y;
      break;
    case Op::equal:
      out = x == y;
      break;
    case Op::not_equal:
      out = x != y;
      break;
    default:
      return false;
  }
  return out >= -kMostWhole && out <= kMostWhole;
}

}  // namespace

int32_t Dag::make(Node n) {
  const uint64_t h = hash_of(n);
  for (auto [i, end] = found_.equal_range(h); i != end; ++i)
    if (same((*this)[i->second], n)) return i->second;
  if (nodes_.size() >= most_) throw std::length_error("too many nodes");
  for (int i = 0; i < n.operands; ++i) n.depends |= (*this)[n.in[i]].depends;
  nodes_.push_back(n);
  found_.emplace(h, size() - 1);
  return size() - 1;
}

int32_t Dag::constant(Type type, int64_t x) {
  Node n;
  n.type = type;
  n.whole = x;
  return make(n);
}
int32_t Dag::whole(int64_t x) { return constant(Type::whole, x); }
int32_t Dag::truth(bool x) { return constant(Type::truth, x ? 1 : 0); }
int32_t Dag::real(double x) {
  Node n;
  n.type = Type::real;
  n.real = x;
  return make(n);
}

int32_t Dag::variable(Variable v) {
  Node n;
  n.op = Op::variable;
  n.type = v == Variable::s ? Type::real : Type::whole;
  n.variable = v;
  if (v <= Variable::s) n.depends = static_cast<uint8_t>(1 << static_cast<int>(v));
  return make(n);
}

int32_t Dag::extent(int table, int axis) {
  Node n;
  n.op = Op::extent;
  n.table = static_cast<int8_t>(table);
  n.axis = static_cast<int8_t>(axis);
  return make(n);
}

int32_t Dag::read(int table, Type type, int operands, const int32_t* index) {
  Node n;
  n.op = Op::read;
  n.type = type;
  n.table = static_cast<int8_t>(table);
  n.operands = static_cast<int8_t>(operands);
  for (int i = 0; i < operands; ++i) n.in[i] = index[i];
  return make(n);
}

int32_t Dag::fetch(Op op, int table, Type type, int32_t index) {
  Node n;
  n.op = op;
  n.type = type;
  n.table = static_cast<int8_t>(table);
  n.operands = 1;
  n.in[0] = index;
  if (op != Op::fetch) n.depends = kOnK;
  return make(n);
}

int32_t Dag::unary(Op op, int32_t a) {
  const Node x = (*this)[a];
  if (x.op == Op::constant && x.type == Type::whole) {
    if (op == Op::negate) return whole(-x.whole);
    if (op == Op::absolute) return whole(x.whole < 0 ? -x.whole : x.whole);
  }
  if (op == Op::negation && x.op == Op::constant) return truth(x.whole == 0);
  if (op == Op::negation && x.op == Op::negation) return x.in[0];
  Node n;
  n.op = op;
  n.type = op == Op::negate || op == Op::absolute ? x.type
           : op == Op::negation                   ? Type::truth
                                                  : Type::real;
  n.operands = 1;
  n.in[0] = a;
  return make(n);
}

int32_t Dag::binary(Op op, int32_t a, int32_t b) {
  const Node x = (*this)[a], y = (*this)[b];
  const bool comparison = is_comparison(op);
  if (x.type == Type::whole) {
    int64_t result = 0;
    if (x.op == Op::constant && y.op == Op::constant && compute(op, x.whole, y.whole, result))
      return comparison ? truth(result != 0) : whole(result);
    if (op == Op::add && x.is_whole(0)) return b;
    if ((op == Op::add || op == Op::subtract) && y.is_whole(0)) return a;
    if (op == Op::multiply && x.is_whole(1)) return b;
    if (op == Op::multiply && (x.is_whole(0) || y.is_whole(1))) return a;
    if (op == Op::multiply && y.is_whole(0)) return b;
    if (op == Op::quotient && y.is_whole(1)) return a;
    if (a == b) {
      if (op == Op::subtract) return whole(0);
      if (op == Op::less || op == Op::not_equal) return truth(false);
      if (op == Op::less_equal || op == Op::equal) return truth(true);
      if (op == Op::min || op == Op::max) return a;
    }
  } else if (x.type == Type::real) {
    if (op == Op::multiply && x.is_real(1)) return b;
    if ((op == Op::multiply || op == Op::divide) && y.is_real(1)) return a;
  } else {
    if (a == b) return a;
    if (x.op == Op::constant) return (x.whole != 0) == (op == Op::both) ? b : a;
    if (y.op == Op::constant) return (y.whole != 0) == (op == Op::both) ? a : b;
  }
  Node n;
  n.op = op;
  n.type = comparison ? Type::truth : x.type;
  n.operands = 2;
  n.in[0] = a;
  n.in[1] = b;
  return make(n);
}

int32_t Dag::choose(int32_t condition, int32_t a, int32_t b) {
  const Node c = (*this)[condition];
  if (a == b) return a;
  if (c.op == Op::constant) return c.whole != 0 ? a : b;
  Node n;
  n.op = Op::choose;
  n.type = (*this)[a].type;
  n.operands = 3;
  n.in[0] = condition;
  n.in[1] = a;
  n.in[2] = b;
  return make(n);
}

void Dag::place(int32_t n, int32_t begin, int32_t end) {
  Node& node = nodes_[static_cast<size_t>(n)];
  if (node.end != 0) return;
  node.begin = begin;
  node.end = end;
}

Steps Dag::steps(const std::vector<int32_t>& outputs) const {
  std::vector<int32_t> at(nodes_.size(), -1);
  for (const int32_t n : outputs) at[static_cast<size_t>(n)] = 0;
  for (int32_t n = size() - 1; n >= 0; --n) {
    if (at[static_cast<size_t>(n)] < 0) continue;
    for (int i = 0; i < (*this)[n].operands; ++i) at[static_cast<size_t>((*this)[n].in[i])] = 0;
  }
  Steps list;
  for (int32_t n = 0; n < size(); ++n) {
    if (at[static_cast<size_t>(n)] < 0) continue;
    Node step = (*this)[n];
    for (int i = 0; i < step.operands; ++i) step.in[i] = at[static_cast<size_t>(step.in[i])];
    at[static_cast<size_t>(n)] = static_cast<int32_t>(list.steps.size());
    list.steps.push_back(step);
  }
  for (const int32_t n : outputs) list.outputs.push_back(at[static_cast<size_t>(n)]);
  return list;
}

}  // namespace attn::program
