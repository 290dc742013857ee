// SPDX-License-Identifier: Apache-2.0
//
// The elementwise operators, one entry each: name, doc, value, derivatives. x, or a and b, are the elements, of type T.
// NaN and infinity give what IEEE 754 and the C library say, as in numpy. mul, which takes three factors too, has a
// file of its own.
#include "core/ops/elementwise.hpp"

#include <cmath>

#include "core/ops/ops.hpp"

namespace attn::ops {

// An entry is a struct over a base of elementwise.hpp, and the function that ops.def announces.
#define ATTN_ENTRY(base, name_, doc_, ...)                   \
  namespace {                                                \
  struct name_ : base<name_> {                               \
    static constexpr const char *name = #name_, *doc = doc_; \
    __VA_ARGS__                                              \
  };                                                         \
  }                                                          \
  const attn_op& op_##name_() { return operator_table<name_>; }
#define ATTN_OF_X(function, formula)                   \
  template <class T>                                   \
  static auto function(OpCall, [[maybe_unused]] T x) { \
    return formula;                                    \
  }
#define ATTN_OF_A_B(function, formula)                               \
  template <class T>                                                 \
  static auto function([[maybe_unused]] T a, [[maybe_unused]] T b) { \
    return formula;                                                  \
  }
#define ATTN_UNARY(name, doc, y, dx) \
  ATTN_ENTRY(Unary, name, doc, ATTN_OF_X(value, y) ATTN_OF_X(derivative, dx))
#define ATTN_BINARY(name, doc, y, da_, db_, ...)                           \
  ATTN_ENTRY(Binary, name, doc ", shapes broadcast from the last axis on", \
             ATTN_OF_A_B(value, y) ATTN_OF_A_B(da, da_) ATTN_OF_A_B(db, db_) __VA_ARGS__)
#define ATTN_KERNEL_BINARY(name, ...) \
  ATTN_BINARY(name, __VA_ARGS__, static constexpr auto kind = kernels::BinaryKind::name;)
#define ATTN_COMPARISON(name, y)                                                  \
  ATTN_ENTRY(Binary, name, #y " as bool; shapes broadcast from the last axis on", \
             static constexpr uint32_t flags = ATTN_OP_NO_GRAD;                   \
             ATTN_OF_A_B(value, y))

ATTN_UNARY(abs, "|x|; slope 0 at 0", std::abs(x), x > 0 ? T(1) : x < 0 ? T(-1) : x)
ATTN_UNARY(exp, "e^x", std::exp(x), std::exp(x))
ATTN_UNARY(log, "natural logarithm", std::log(x), 1 / x)
ATTN_UNARY(sqrt, "square root; infinite slope at 0", std::sqrt(x), T(0.5) / std::sqrt(x))
ATTN_UNARY(square, "x^2", (x * x), 2 * x)

ATTN_KERNEL_BINARY(add, "a + b", a + b, 1, 1)
ATTN_KERNEL_BINARY(sub, "a - b", a - b, 1, -1)
ATTN_KERNEL_BINARY(div, "a / b", a / b, 1 / b, -a / (b * b))
ATTN_KERNEL_BINARY(maximum,
                   "the larger of a and b (NaN when either is); a tie's gradient goes to a",
                   a >= b || a != a ? a : b, T(a >= b || a != a), T(!(a >= b || a != a)))
ATTN_KERNEL_BINARY(minimum,
                   "the smaller of a and b (NaN when either is); a tie's gradient goes to a",
                   a <= b || a != a ? a : b, T(a <= b || a != a), T(!(a <= b || a != a)))

ATTN_COMPARISON(less, a < b)
ATTN_COMPARISON(less_equal, a <= b)
ATTN_COMPARISON(equal, a == b)
ATTN_COMPARISON(not_equal, a != b)

// The derivatives of pow have their limits where the formulas say 0 times infinity.
ATTN_BINARY(pow, "a^b", std::pow(a, b), b == 0 ? T(0) : b * std::pow(a, b - 1),
            a == 0 && b >= 0 ? T(0) : std::pow(a, b) * std::log(a))

namespace {
struct affine : Unary<affine> {
  static constexpr const char *name = "affine", *doc = "x * factor + shift";
  static constexpr attn_param attributes[] = {real_attribute("factor", 1.0),
                                              real_attribute("shift", 0.0)};
  template <class T>
  static T value(OpCall c, T x) {
    return x * static_cast<T>(c.real(0)) + static_cast<T>(c.real(1));
  }
  template <class T>
  static T derivative(OpCall c, T) {
    return static_cast<T>(c.real(0));
  }
};
}  // namespace
const attn_op& op_affine() { return operator_table<affine>; }

}  // namespace attn::ops
