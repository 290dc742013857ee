// SPDX-License-Identifier: Apache-2.0
//
// Checks that shape rules share. Each throws an Error whose text says what was wrong and what was
// expected; the engine adds the operator's name and the shapes of all inputs. [any-thread]
#pragma once

#include <string>

#include "core/kernels/probability.hpp"
#include "core/ops/op.hpp"
#include "core/tensor/dtype.hpp"

namespace attn::ops {

inline const char* dtype_name(int32_t d) {
  return attn::dtype_name(static_cast<attn_dtype>(d)).data();
}

// Input n is there with a dtype that operators compute in, the same as the first such input.
inline void check_number(const OpCall& c, int n, const char* name) {
  const int32_t d = c.in(n)->dtype;
  if (d != ATTN_F32 && d != ATTN_F64)
    fail("{} has element kind {}; expected float32 or float64 (convert it first)", name,
         dtype_name(d));
  if (d != c.dtype())
    fail("{} is {} but other inputs are {}; expected one dtype (convert one of them)", name,
         dtype_name(d), dtype_name(c.dtype()));
}

// Throws unless the polynomial has a size that rows can hold.
inline void check_polynomial(std::span<const double> polynomial) {
  if (polynomial.size() > kernels::kMaxPolynomial)
    fail("the polynomial has {} coefficients; expected at most {}", polynomial.size(),
         kernels::kMaxPolynomial);
}
// The attributes that an operator over a probability begins with: a known kind, a polynomial that rows can hold.
inline void check_probability(const ProbabilityOptions& p) {
  const auto kind = static_cast<int64_t>(p.kind);
  if (kind < 0 || kind >= kProbabilityKinds) fail("probability number {} is not known", kind);
  check_polynomial(p.coefficients);
}

// An axis counted from the end when negative, as a number in [0, rank).
inline int check_axis(int64_t axis, int rank) {
  if (axis < -rank || axis >= rank)
    fail("axis {} is out of range for rank {}; expected {}..{}", axis, rank, -rank, rank - 1);
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

// Input 2, when there is one: a bias (size).
inline void check_bias(const OpCall& c, int64_t size) {
  const attn_view* b = c.in(2);
  if (!b) return;
  check_number(c, 2, "b");
  if (b->rank != 1 || b->shape[0] != size)
    fail("b has shape {}; expected ({})", shape_text(*b), size);
}

// Bit mask of axes; all of them when the list is empty and `empty_is_all`.
inline uint32_t check_axes(std::span<const int64_t> axes, int rank, bool empty_is_all) {
  if (axes.empty() && empty_is_all) return (1u << rank) - 1;
  if (axes.empty()) fail("no axis given; expected at least one");
  uint32_t mask = 0;
  for (const int64_t a : axes) {
    const uint32_t bit = 1u << check_axis(a, rank);
    if (mask & bit) fail("axis {} is listed twice", a);
    mask |= bit;
  }
  return mask;
}

// The shape that a and b broadcast to, by numpy's rule. Returns the rank.
inline int broadcast_shape(const attn_view& a, const attn_view& b, int64_t* shape) {
  const int rank = std::max(a.rank, b.rank);
  for (int axis = 0; axis < rank; ++axis) {
    const int i = axis - (rank - a.rank), j = axis - (rank - b.rank);
    const int64_t x = i < 0 ? 1 : a.shape[i], y = j < 0 ? 1 : b.shape[j];
    if (x != y && x != 1 && y != 1)
      fail("shapes {} and {} do not broadcast: extents {} and {}; expected equal ones or 1",
           shape_text(a), shape_text(b), x, y);
    shape[axis] = x == 1 ? y : x;
  }
  return rank;
}

}  // namespace attn::ops
