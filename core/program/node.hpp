// SPDX-License-Identifier: Apache-2.0
//
// What score programs are made of between their text and their code: expressions without names, each computed from
// earlier ones. Plain values. [any-thread]
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace attn::program {

enum class Type : uint8_t { truth, whole, real };

enum class Op : uint8_t {
  constant,
  variable,
  extent,      // of a table's axis, as a stride: how many elements one step of the index is
  read,        // of a table, by one index an axis
  fetch,       // of a table, by the number of the element
  ascending,   // element in[0] + k of a table
  descending,  // element in[0] - k
  negate,      // from here on of whole or real numbers
  add,
  subtract,
  multiply,
  min,  // a < b ? a : b
  max,  // a > b ? a : b
  absolute,
  quotient,  // of whole numbers, rounded down
  remainder,
  divide,  // of real numbers
  to_real,
  sqrt,
  exp,
  log,
  tanh,
  sigmoid,
  floor,
  less,  // of whole or real numbers
  less_equal,
  equal,
  not_equal,
  both,  // of truth values
  either,
  negation,
  choose,  // in[0] ? in[1] : in[2]
};

enum class Variable : int8_t { b, h, q, k, s, B, H, Q, K };

// What an expression depends on. Without k and s it is a number of the row, without q and s one of the column.
enum Dependence : uint8_t { kOnB = 1, kOnH = 2, kOnQ = 4, kOnK = 8, kOnS = 16 };

inline constexpr int kMostTables = 8, kMostAxes = 4, kMostConstants = 16;
inline constexpr int64_t kMostWhole = 2147483647;  // magnitude of whole numbers

struct Node {
  Op op = Op::constant;
  Type type = Type::whole;
  uint8_t depends = 0;
  int8_t operands = 0;
  int8_t table = -1;  // read, fetch, ascending, descending, extent
  int8_t axis = 0;    // extent
  Variable variable = Variable::b;
  int32_t in[kMostAxes] = {-1, -1, -1, -1};
  int64_t whole = 0;  // constant: a whole number or a truth value
  double real = 0;
  int32_t begin = 0, end = 0;  // its part of the text, for messages

  [[nodiscard]] bool row() const { return (depends & (kOnK | kOnS)) == 0; }
  [[nodiscard]] bool column() const { return !row() && (depends & (kOnQ | kOnS)) == 0; }
  [[nodiscard]] bool is_real(double x) const {
    return op == Op::constant && type == Type::real && real == x;
  }
  [[nodiscard]] bool is_whole(int64_t x) const {
    return op == Op::constant && type == Type::whole && whole == x;
  }
};

// Some expressions and all that they need, in an order in which they can be computed: `in` counts steps.
struct Steps {
  std::vector<Node> steps;
  std::vector<int32_t> outputs;
};

}  // namespace attn::program
