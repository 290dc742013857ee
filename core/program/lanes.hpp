// SPDX-License-Identifier: Apache-2.0
//
// Code for rows of scores: instructions on lines of kLine keys. Numbers of the row are computed before them by the
// scalar machine, numbers of the column once for several rows. [any-thread]
#pragma once

#include "core/program/node.hpp"

namespace attn::program {

inline constexpr int kLine = 256;
inline constexpr int kMostLines = 32;  // of each kind of number

// An operand: a line (>= 0), the line of scores, or a number of the row, step -2 - x of Lanes::steps.
using Operand = int16_t;
inline constexpr Operand kScores = -1;
[[nodiscard]] constexpr Operand row_operand(int32_t step) {
  return static_cast<Operand>(-2 - step);
}
[[nodiscard]] constexpr int32_t row_step(Operand x) { return -2 - x; }
inline constexpr Operand kNothing = -32768;

// floor, exp, log, tanh and sigmoid take the division before them and the product behind them along, where these are by
// numbers of the row and nothing else needs what is between: in[2] * f(in[0] / in[1]), kNothing: not there.
[[nodiscard]] constexpr bool is_function(Op op) {
  return op == Op::floor || op == Op::exp || op == Op::log || op == Op::tanh || op == Op::sigmoid;
}

struct Instruction {
  Op op;
  Type type;      // of the result
  Type operands;  // of what is compared or computed with
  int8_t table;
  Operand out, in[3];
};

struct Lanes {
  Steps rows;  // numbers of the row; its outputs are all of them
  std::vector<Instruction> columns, lanes;
  bool columns_by_head = false;
  std::vector<Operand> outputs;
  std::vector<Type> types;  // of the outputs
};

// The same for kernels, which see plain memory. outputs 0: there is none.
struct Code {
  const Node* rows = nullptr;
  const Instruction *columns = nullptr, *lanes = nullptr;
  const Operand* outputs = nullptr;
  int32_t row_count = 0, column_count = 0, lane_count = 0, output_count = 0;
  bool columns_by_head = false;
};
[[nodiscard]] inline Code code_of(const Lanes& x) {
  const auto count = [](const auto& v) { return static_cast<int32_t>(v.size()); };
  return {x.rows.steps.data(), x.columns.data(),    x.lanes.data(),
          x.outputs.data(),    count(x.rows.steps), count(x.columns),
          count(x.lanes),      count(x.outputs),    x.columns_by_head};
}

// Code that computes the outputs of `steps`; the first one is computed last where nothing else needs it, so that it may
// go to where the scores are. Throws std::length_error where it needs more than kMostLines.
[[nodiscard]] Lanes make_lanes(const Steps& steps);

}  // namespace attn::program
