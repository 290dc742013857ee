// SPDX-License-Identifier: Apache-2.0
#include "core/program/derive.hpp"

#include <cstddef>

namespace attn::program {
namespace {

class Reverse {
 public:
  Reverse(Dag& dag, int32_t root)
      : dag_(dag), adjoints_(static_cast<size_t>(root) + 1), matters_(adjoints_.size()) {
    for (int32_t n = 0; n <= root; ++n) matters_[static_cast<size_t>(n)] = leads_on(n);
  }

  Derivative run(int32_t root) {
    give(root, dag_.truth(true), dag_.real(1));
    Derivative result;
    for (int32_t n = root; n >= 0; --n) {
      const Adjoint a = adjoints_[static_cast<size_t>(n)];
      if (a.value < 0) continue;
      const Node node = dag_[n];
      if (node.op == Op::variable) {
        result.ds = ended(a);
      } else if (node.op == Op::read) {
        result.reads.push_back({n, ended(a)});
      } else {
        through(n, node, a);
      }
    }
    return result;
  }

 private:
  struct Adjoint {
    int32_t condition = -1, value = -1;
  };

  // Whether n is a real number that depends on the score or on a table of real numbers.
  [[nodiscard]] bool leads_on(int32_t n) const {
    const Node& node = dag_[n];
    if (node.type != Type::real) return false;
    if (node.op == Op::variable || node.op == Op::read) return true;
    for (int i = 0; i < node.operands; ++i)
      if (matters_[static_cast<size_t>(node.in[i])]) return true;
    return false;
  }
  int32_t ended(const Adjoint& a) { return dag_.choose(a.condition, a.value, dag_.real(0)); }

  void give(int32_t n, int32_t condition, int32_t value) {
    if (!matters_[static_cast<size_t>(n)]) return;
    Adjoint& a = adjoints_[static_cast<size_t>(n)];
    if (a.value < 0) {
      a = {condition, value};
    } else if (a.condition == condition) {
      a.value = dag_.binary(Op::add, a.value, value);
    } else {
      const int32_t mine = ended(a), other = ended({condition, value});
      a = {dag_.binary(Op::either, a.condition, condition), dag_.binary(Op::add, mine, other)};
    }
  }

  void through(int32_t n, const Node& node, const Adjoint& a) {
    const int32_t x = node.in[0], y = node.in[1], g = a.value, when = a.condition;
    const auto times = [&](int32_t u, int32_t v) { return dag_.binary(Op::multiply, u, v); };
    const auto minus = [&](int32_t u, int32_t v) { return dag_.binary(Op::subtract, u, v); };
    const auto negative = [&](int32_t u) { return dag_.unary(Op::negate, u); };
    const auto also = [&](int32_t c) { return dag_.binary(Op::both, when, c); };
    const auto one_side = [&](int32_t first) {
      give(x, also(first), g);
      give(y, also(dag_.unary(Op::negation, first)), g);
    };
    const int32_t one = dag_.real(1);
    switch (node.op) {
      case Op::negate:
        return give(x, when, negative(g));
      case Op::add:
        give(x, when, g);
        return give(y, when, g);
      case Op::subtract:
        give(x, when, g);
        return give(y, when, negative(g));
      case Op::multiply:
        if (matters_[static_cast<size_t>(x)]) give(x, when, times(g, y));
        if (matters_[static_cast<size_t>(y)]) give(y, when, times(g, x));
        return;
      case Op::min:
        return one_side(dag_.binary(Op::less, x, y));
      case Op::max:
        return one_side(dag_.binary(Op::less, y, x));
      case Op::absolute: {
        const int32_t zero = dag_.real(0);
        const int32_t below = dag_.choose(dag_.binary(Op::less, x, zero), negative(g), zero);
        return give(x, when, dag_.choose(dag_.binary(Op::less, zero, x), g, below));
      }
      case Op::divide:
        if (matters_[static_cast<size_t>(x)]) give(x, when, dag_.binary(Op::divide, g, y));
        if (matters_[static_cast<size_t>(y)])
          give(y, when, negative(dag_.binary(Op::divide, times(g, n), y)));
        return;
      case Op::sqrt:
        return give(x, when, dag_.binary(Op::divide, times(g, dag_.real(0.5)), n));
      case Op::exp:
        return give(x, when, times(g, n));
      case Op::log:
        return give(x, when, dag_.binary(Op::divide, g, x));
      case Op::tanh:
        return give(x, when, times(g, times(minus(one, n), dag_.binary(Op::add, one, n))));
      case Op::sigmoid:
        return give(x, when, times(g, times(n, minus(one, n))));
      case Op::choose:
        give(y, also(x), g);
        return give(node.in[2], also(dag_.unary(Op::negation, x)), g);
      default:
        return;  // floor, and what has no gradient
    }
  }

  Dag& dag_;
  std::vector<Adjoint> adjoints_;
  std::vector<char> matters_;
};

}  // namespace

Derivative derive(Dag& dag, int32_t root) { return Reverse(dag, root).run(root); }

}  // namespace attn::program
