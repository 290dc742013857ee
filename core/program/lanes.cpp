// SPDX-License-Identifier: Apache-2.0
#include "core/program/lanes.hpp"

#include <algorithm>
#include <array>
#include <iterator>
#include <stdexcept>

namespace attn::program {
namespace {

bool is_score(const Node& n) { return n.op == Op::variable && n.variable == Variable::s; }

// Which lines are free, of one kind of number.
class Lines {
 public:
  Operand take() {
    for (int i = 0; i < kMostLines; ++i) {
      if (used_[i]) continue;
      used_[i] = true;
      return static_cast<Operand>(i);
    }
    throw std::length_error("too many lines");
  }
  void give(Operand line) { used_[line] = false; }

 private:
  bool used_[kMostLines] = {};
};

class Generator {
 public:
  explicit Generator(const Steps& from)
      : from_(from),
        function_(from.steps.size(), -1),
        row_at_(from.steps.size(), -1),
        line_(from.steps.size(), 0) {}

  Lanes run() {
    order_steps();
    fold_functions();
    take_rows();
    copy_scores();
    find_last_uses();
    for (size_t i = 0; i < columns_.size(); ++i) {
      lanes_.columns.push_back(placed(columns_[i], static_cast<int64_t>(i)));
      lanes_.columns_by_head = lanes_.columns_by_head || (step(columns_[i]).depends & kOnH) != 0;
    }
    for (size_t i = 0; i < order_.size(); ++i)
      lanes_.lanes.push_back(placed(order_[i], static_cast<int64_t>(columns_.size() + i)));
    give_outputs();
    return std::move(lanes_);
  }

 private:
  [[nodiscard]] const Node& step(int32_t n) const { return from_.steps[at(n)]; }
  [[nodiscard]] static size_t at(int32_t n) { return static_cast<size_t>(n); }
  Lines& lines(int32_t n) { return step(n).type == Type::real ? reals_ : others_; }

  void order_steps() {
    const int32_t first = from_.outputs[0];
    bool last = !step(first).row() && !step(first).column() && !is_score(step(first));
    for (const Node& n : from_.steps)
      for (int i = 0; i < n.operands; ++i) last = last && n.in[i] != first;
    for (size_t i = 1; i < from_.outputs.size(); ++i) last = last && from_.outputs[i] != first;
    in_place_ = last && step(first).type == Type::real;
    for (int32_t n = 0; n < static_cast<int32_t>(from_.steps.size()); ++n) {
      if (step(n).row() || is_score(step(n))) continue;
      if (step(n).column())
        columns_.push_back(n);
      else if (!(in_place_ && n == first))
        order_.push_back(n);
    }
    if (in_place_) order_.push_back(first);
  }

  // Lets functions take their neighbours along (is_function).
  void fold_functions() {
    std::vector<int> uses(from_.steps.size(), 0);
    for (const Node& n : from_.steps)
      for (int i = 0; i < n.operands; ++i) ++uses[at(n.in[i])];
    for (const int32_t n : from_.outputs) ++uses[at(n)];
    const auto lane = [&](int32_t n) { return !step(n).row() && !step(n).column(); };
    std::vector<int32_t> left;
    std::vector<bool> gone(from_.steps.size(), false);
    for (const int32_t n : order_) {
      const Node& x = step(n);
      if (is_function(x.op)) {
        const Node& before = step(x.in[0]);
        function_[at(n)] = n;
        if (before.op == Op::divide && lane(before.in[0]) && step(before.in[1]).row() &&
            uses[at(x.in[0])] == 1)
          gone[at(x.in[0])] = true;
      } else if (x.op == Op::multiply && x.type == Type::real) {
        const int side = step(x.in[0]).row() ? 1 : 0, f = x.in[side];
        if (step(x.in[1 - side]).row() && function_[at(f)] == f && uses[at(f)] == 1) {
          function_[at(n)] = f;
          gone[at(f)] = true;
        }
      }
    }
    for (const int32_t n : order_)
      if (!gone[at(n)]) left.push_back(n);
    gone_ = std::move(gone);
    order_ = std::move(left);
  }

  // The steps that the instruction of step n reads; -1: nothing.
  [[nodiscard]] std::array<int32_t, kMostAxes> inputs(int32_t n) const {
    const Node& x = step(n);
    std::array<int32_t, kMostAxes> in;
    in.fill(-1);
    const int32_t f = function_[at(n)];
    if (f < 0) {
      std::copy_n(x.in, x.operands, in.begin());
      return in;
    }
    in[0] = step(f).in[0];
    if (gone_[at(in[0])]) {
      in[1] = step(in[0]).in[1];
      in[0] = step(in[0]).in[0];
    }
    if (f != n) in[2] = x.in[0] == f ? x.in[1] : x.in[0];
    return in;
  }

  // Numbers of the row: those that lanes, columns or outputs ask for, and what they need.
  void take_rows() {
    std::vector<bool> wanted(from_.steps.size(), false);
    for (const int32_t n : from_.outputs) wanted[at(n)] = step(n).row();
    for (size_t n = from_.steps.size(); n-- > 0;) {
      const Node& x = from_.steps[n];
      if (x.row() && !wanted[n]) continue;
      for (int i = 0; i < x.operands; ++i)
        if (step(x.in[i]).row()) wanted[at(x.in[i])] = true;
    }
    for (size_t n = 0; n < from_.steps.size(); ++n) {
      if (!wanted[n]) continue;
      Node x = from_.steps[n];
      for (int i = 0; i < x.operands; ++i) x.in[i] = row_at_[at(x.in[i])];
      row_at_[n] = static_cast<int32_t>(lanes_.rows.steps.size());
      lanes_.rows.outputs.push_back(row_at_[n]);
      lanes_.rows.steps.push_back(x);
    }
  }

  // A later output that is the score itself: a copy, first of all, because the scores are overwritten.
  void copy_scores() {
    for (size_t i = 1; i < from_.outputs.size() && copy_ < 0; ++i) {
      if (!is_score(step(from_.outputs[i]))) continue;
      copy_ = reals_.take();
      lanes_.lanes.push_back({Op::variable, Type::real, Type::real, -1, copy_, {kScores}});
    }
  }

  [[nodiscard]] Operand operand(int32_t n) const {
    if (step(n).row()) return row_operand(row_at_[at(n)]);
    return is_score(step(n)) ? kScores : line_[at(n)];
  }
  [[nodiscard]] Instruction instruction(int32_t n) const {
    const Node& x = step(n);
    const int32_t f = function_[at(n)];
    Instruction out{f < 0 ? x.op : step(f).op, x.type, x.type, x.table, line_[at(n)], {}};
    const auto in = inputs(n);
    for (size_t i = 0; i < std::size(out.in); ++i)
      out.in[i] = in[i] < 0 ? kNothing : operand(in[i]);
    if (x.operands > 0 && x.op != Op::choose) out.operands = step(x.in[0]).type;
    return out;
  }

  // The instruction of a step, which ends the lines that it is the last to use.
  Instruction placed(int32_t n, int64_t time) {
    Instruction x = instruction(n);
    for (const int32_t used : inputs(n)) {
      if (used < 0 || last_use_[at(used)] != time) continue;
      lines(used).give(line_[at(used)]);
      last_use_[at(used)] = -1;  // both operands may be one
    }
    x.out = line_[at(n)] = lines(n).take();
    return x;
  }

  // Columns that lanes use are for several rows, outputs are used to the end: both stay.
  void find_last_uses() {
    last_use_.assign(from_.steps.size(), -1);
    std::vector<bool> stays(from_.steps.size(), false);
    const auto uses = [&](const std::vector<int32_t>& order, int64_t first, bool lanes) {
      for (size_t i = 0; i < order.size(); ++i)
        for (const int32_t n : inputs(order[i])) {
          if (n < 0 || step(n).row() || is_score(step(n))) continue;
          last_use_[at(n)] = first + static_cast<int64_t>(i);
          stays[at(n)] = stays[at(n)] || (lanes && step(n).column());
        }
    };
    uses(columns_, 0, false);
    uses(order_, static_cast<int64_t>(columns_.size()), true);
    for (const int32_t n : from_.outputs) stays[at(n)] = true;
    for (size_t n = 0; n < stays.size(); ++n)
      if (stays[n]) last_use_[n] = -1;
  }

  void give_outputs() {
    for (size_t i = 0; i < from_.outputs.size(); ++i) {
      const int32_t n = from_.outputs[i];
      lanes_.types.push_back(step(n).type);
      if (i == 0 && in_place_) {
        lanes_.lanes.back().out = kScores;
        lanes_.outputs.push_back(kScores);
      } else if (i > 0 && is_score(step(n))) {
        lanes_.outputs.push_back(copy_);
      } else {
        lanes_.outputs.push_back(operand(n));
      }
    }
  }

  const Steps& from_;
  Lanes lanes_;
  std::vector<int32_t> columns_, order_;
  std::vector<int32_t> function_;  // of a step: what its instruction computes; -1: the step itself
  std::vector<bool> gone_;         // into the instruction of another step
  std::vector<int32_t> row_at_;
  std::vector<Operand> line_;
  std::vector<int64_t> last_use_;
  Lines reals_, others_;
  Operand copy_ = -1;
  bool in_place_ = false;
};

}  // namespace

Lanes make_lanes(const Steps& steps) {
  if (steps.outputs.empty()) return {};
  return Generator(steps).run();
}

}  // namespace attn::program
