// SPDX-License-Identifier: Apache-2.0
//
// Expressions without duplicates: an expression that is there is found, not made again. Whole numbers are computed at
// once, real numbers never, because their kind is not known yet; what is left out (x * 1, x - x of whole numbers, ...)
// is equal for NaN and infinity too. [any-thread]
#pragma once

#include <unordered_map>
#include <vector>

#include "core/program/node.hpp"

namespace attn::program {

class Dag {
 public:
  // Throws std::length_error beyond `most` nodes.
  explicit Dag(size_t most) : most_(most) {}
  void allow(size_t most) { most_ = most; }

  [[nodiscard]] const Node& operator[](int32_t n) const { return nodes_[static_cast<size_t>(n)]; }
  [[nodiscard]] int32_t size() const { return static_cast<int32_t>(nodes_.size()); }

  int32_t whole(int64_t x);
  int32_t real(double x);
  int32_t truth(bool x);
  int32_t variable(Variable v);
  int32_t extent(int table, int axis);
  int32_t read(int table, Type type, int operands, const int32_t* index);
  int32_t fetch(Op op, int table, Type type, int32_t index);
  int32_t unary(Op op, int32_t a);
  int32_t binary(Op op, int32_t a, int32_t b);
  int32_t choose(int32_t condition, int32_t a, int32_t b);

  // Remembers which part of the text node n is; the first one counts.
  void place(int32_t n, int32_t begin, int32_t end);

  [[nodiscard]] Steps steps(const std::vector<int32_t>& outputs) const;

 private:
  int32_t make(Node node);
  int32_t constant(Type type, int64_t x);

  size_t most_;
  std::vector<Node> nodes_;
  std::unordered_multimap<uint64_t, int32_t> found_;
};

}  // namespace attn::program
