// SPDX-License-Identifier: Apache-2.0
#include "core/program/program.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>

#include "core/error/error.hpp"
#include "core/program/derive.hpp"

namespace attn::program {
namespace {

constexpr size_t kMostLowered = 4 * kMostDerived;

// An expression as k times +1, -1 or 0, and the rest, which is a number of the row.
struct Affine {
  int slope = 0;
  int32_t rest = -1;
  bool is = false;
};

class Maker {
 public:
  Maker(Program& p, Dag& dag) : p_(p), dag_(dag) {}

  void rule(int32_t root) {
    p_.written_rule = dag_.steps({root});
    std::vector<int32_t> conditions, written;
    split(root, conditions);
    int32_t rest = dag_.truth(true);
    for (const int32_t c : conditions)
      if (!limit(c, written)) rest = dag_.binary(Op::both, rest, c);
    p_.written_bounds = dag_.steps(written);
    const bool left = dag_[rest].op != Op::constant || dag_[rest].whole == 0;
    if (left) p_.written_rest = dag_.steps({rest});
    dag_.allow(kMostLowered);
    p_.rule = dag_.steps({lowered(root)});
    std::vector<int32_t> bounds;
    for (const int32_t n : written) bounds.push_back(lowered(n));
    p_.bounds = dag_.steps(bounds);
    if (left) p_.rest = dag_.steps({lowered(rest)});
    for (const Steps* s : {&p_.rule, &p_.bounds, &p_.rest, &p_.written_rest, &p_.written_bounds})
      if (s->steps.size() > kMostNodes) throw std::length_error("too many steps");
    p_.rest_lanes = make_lanes(p_.rest);
  }

  void score(int32_t root) {
    p_.written_score = dag_.steps({root});
    dag_.allow(kMostDerived);
    const Derivative d = derive(dag_, root);
    dag_.allow(kMostLowered);
    p_.score = dag_.steps({lowered(root)});
    p_.score_lanes = make_lanes(p_.score);
    std::vector<int32_t> outputs{lowered(root)};
    const auto output = [&](int32_t n) {
      outputs.push_back(n);
      return static_cast<int32_t>(outputs.size()) - 1;
    };
    p_.score_counts = d.ds >= 0 && !dag_[d.ds].is_real(0);
    if (p_.score_counts && !dag_[d.ds].is_real(1)) p_.ds = output(lowered(d.ds));
    for (const ReadFactor& r : d.reads) {
      if (dag_[r.factor].is_real(0)) continue;
      const int32_t read = lowered(r.read);
      const Node n = dag_[read];
      const int32_t factor = output(lowered(r.factor));
      const GradRead::Way way = n.op == Op::ascending    ? GradRead::ascending
                                : n.op == Op::descending ? GradRead::descending
                                : dag_[n.in[0]].row()    ? GradRead::row
                                                         : GradRead::scattered;
      p_.reads.push_back({way, n.table, factor, output(n.in[0])});
    }
    p_.back = dag_.steps(outputs);
    for (const Steps* s : {&p_.score, &p_.back})
      if (s->steps.size() > kMostDerived) throw std::length_error("too many steps");
    p_.back_lanes = make_lanes(p_.back);
  }

 private:
  // The conditions that all have to hold.
  void split(int32_t n, std::vector<int32_t>& out) {
    std::vector<int32_t> open{n};
    while (!open.empty()) {
      const int32_t x = open.back();
      open.pop_back();
      if (dag_[x].op != Op::both) {
        if (!split_distance(x, open)) out.push_back(x);
        continue;
      }
      open.push_back(dag_[x].in[1]);
      open.push_back(dag_[x].in[0]);
    }
  }

  // |x| <= y, where x moves with the key, is two conditions: x <= y and -x <= y.
  bool split_distance(int32_t n, std::vector<int32_t>& open) {
    const Node c = dag_[n];
    if ((c.op != Op::less && c.op != Op::less_equal) || dag_[c.in[0]].op != Op::absolute)
      return false;
    const int32_t x = dag_[c.in[0]].in[0];
    if (affine(x).slope == 0) return false;
    open.push_back(dag_.binary(c.op, dag_.unary(Op::negate, x), c.in[1]));
    open.push_back(dag_.binary(c.op, x, c.in[1]));
    return true;
  }

  // Whether real numbers have a part in n: their kind is known in a call only.
  [[nodiscard]] bool is_exact(int32_t n) const {
    const Steps all = dag_.steps({n});
    return std::none_of(all.steps.begin(), all.steps.end(),
                        [](const Node& x) { return x.type == Type::real; });
  }

  Affine affine(int32_t n) {
    const Node x = dag_[n];
    if (x.row()) return {0, n, true};
    if (x.op == Op::variable && x.variable == Variable::k) return {1, dag_.whole(0), true};
    if (x.op == Op::negate) {
      const Affine a = affine(x.in[0]);
      return a.is ? Affine{-a.slope, dag_.unary(Op::negate, a.rest), true} : Affine{};
    }
    if (x.op != Op::add && x.op != Op::subtract) return {};
    const Affine a = affine(x.in[0]), b = affine(x.in[1]);
    const int slope = x.op == Op::add ? a.slope + b.slope : a.slope - b.slope;
    if (!a.is || !b.is || slope < -1 || slope > 1) return {};
    return {slope, dag_.binary(x.op, a.rest, b.rest), true};
  }

  // Takes a condition out of the rule where it bounds the keys of a row.
  bool limit(int32_t n, std::vector<int32_t>& out) {
    const Node x = dag_[n];
    if (!is_exact(n)) return false;
    const auto add = [&](Bound::Kind kind, int32_t value) {
      p_.limits.push_back({kind, static_cast<int32_t>(out.size())});
      out.push_back(value);
      return true;
    };
    if (x.row()) return add(Bound::only_if, n);
    if (x.op != Op::less && x.op != Op::less_equal) return false;
    const Affine a = affine(x.in[0]), b = affine(x.in[1]);
    const int slope = a.slope - b.slope;
    if (!a.is || !b.is || (slope != 1 && slope != -1)) return false;
    // slope k + a.rest < b.rest, or <=
    const int32_t one = dag_.whole(x.op == Op::less ? 0 : 1);
    const int32_t room = dag_.binary(Op::subtract, b.rest, a.rest);
    if (slope == 1) return add(Bound::until, dag_.binary(Op::add, room, one));
    const int32_t more = dag_.whole(x.op == Op::less ? 1 : 0);
    return add(Bound::from, dag_.binary(Op::subtract, more, room));
  }

  // With the elements of tables by number, as machines read them.
  int32_t lowered(int32_t n) {
    if (static_cast<size_t>(n) < lowered_.size() && lowered_[static_cast<size_t>(n)] >= 0)
      return lowered_[static_cast<size_t>(n)];
    // In order, so that nothing recurs deeply.
    const int32_t first = static_cast<int32_t>(lowered_.size());
    lowered_.resize(static_cast<size_t>(std::max(n + 1, first)), -1);
    for (int32_t i = 0; i <= n; ++i)
      if (lowered_[static_cast<size_t>(i)] < 0) lowered_[static_cast<size_t>(i)] = lower(i);
    return lowered_[static_cast<size_t>(n)];
  }
  int32_t lower(int32_t n) {
    Node x = dag_[n];
    std::array<int32_t, kMostAxes> in{};
    bool changed = x.op == Op::read;
    for (int i = 0; i < x.operands; ++i) {
      in[static_cast<size_t>(i)] = lowered_[static_cast<size_t>(x.in[i])];
      changed = changed || in[static_cast<size_t>(i)] != x.in[i];
    }
    if (!changed) return n;
    if (x.op == Op::read) return lower_read(x, in);
    if (x.op == Op::choose) return dag_.choose(in[0], in[1], in[2]);
    return x.operands == 1 ? dag_.unary(x.op, in[0]) : dag_.binary(x.op, in[0], in[1]);
  }
  int32_t lower_read(const Node& x, const std::array<int32_t, kMostAxes>& in) {
    int32_t index = dag_.whole(0);
    bool rows = true;  // all indices but the last are numbers of the row
    for (int i = 0; i + 1 < x.operands; ++i) {
      const int32_t own = in[static_cast<size_t>(i)];
      index = dag_.binary(Op::add, index, dag_.binary(Op::multiply, own, dag_.extent(x.table, i)));
      rows = rows && dag_[own].row();
    }
    if (x.operands == 0) return dag_.fetch(Op::fetch, x.table, x.type, index);
    const int32_t last = in[static_cast<size_t>(x.operands) - 1];
    const Affine a = rows ? affine(last) : Affine{};
    if (a.is && a.slope != 0)
      return dag_.fetch(a.slope > 0 ? Op::ascending : Op::descending, x.table, x.type,
                        dag_.binary(Op::add, index, a.rest));
    return dag_.fetch(Op::fetch, x.table, x.type, dag_.binary(Op::add, index, last));
  }

  Program& p_;
  Dag& dag_;
  std::vector<int32_t> lowered_;
};

bool reads(const Steps& steps, Variable first, Variable last) {
  return std::any_of(steps.steps.begin(), steps.steps.end(), [&](const Node& n) {
    return n.op == Op::variable && n.variable >= first && n.variable <= last;
  });
}

void check(const Source& source) {
  int tables = 0, constants = 0;
  for (size_t i = 0; i < source.names.size(); ++i) {
    const Name& n = source.names[i];
    check_name(n.name);
    for (size_t k = 0; k < i; ++k)
      if (source.names[k].name == n.name)
        throw InvalidArgument("capture '" + n.name + "' is there twice");
    if (n.table >= 0 && n.rank > kMostAxes)
      throw InvalidArgument("capture '" + n.name + "' has " + std::to_string(n.rank) +
                            " axes; expected at most " + std::to_string(kMostAxes));
    (n.table >= 0 ? tables : constants) += 1;
  }
  if (tables > kMostTables || constants > kMostConstants)
    throw InvalidArgument("a score program has " + std::to_string(tables) + " tensors and " +
                          std::to_string(constants) + " constants; expected at most " +
                          std::to_string(kMostTables) + " and " + std::to_string(kMostConstants));
}

}  // namespace

std::shared_ptr<const Program> make_program(const Source& source) {
  check(source);
  auto p = std::make_shared<Program>();
  p->score_text = source.score;
  p->rule_text = source.mask_rule;
  p->names = source.names;
  for (const Name& n : source.names) p->tables += n.table >= 0 ? 1 : 0;
  p->has_score = !source.score.empty();
  p->has_rule = !source.mask_rule.empty();
  const auto make = [&](Kind kind, const std::string& text, auto&& use) {
    Dag dag(kMostNodes);
    const int32_t root = parse(kind, text, source.names, dag);
    try {
      Maker maker(*p, dag);
      use(maker, dag, root);
    } catch (const std::length_error&) {
      refuse(kind, text, 0, "the text asks for too much at once", "fewer operations",
             "the derivative of a score may have 2048, 32 values at a time");
    }
  };
  if (p->has_rule)
    make(Kind::mask_rule, p->rule_text, [](Maker& m, Dag& dag, int32_t root) {
      dag.allow(kMostDerived);
      m.rule(root);
    });
  if (p->has_score)
    make(Kind::score, p->score_text, [](Maker& m, Dag&, int32_t root) { m.score(root); });
  for (const Steps* s : {&p->written_rule, &p->written_score}) {
    p->reads_extents = p->reads_extents || reads(*s, Variable::Q, Variable::K);
    p->reads_example = p->reads_example || reads(*s, Variable::b, Variable::b) ||
                       reads(*s, Variable::B, Variable::B);
  }
  return p;
}

}  // namespace attn::program
