// SPDX-License-Identifier: Apache-2.0
//
// Plain functions of tensors, as numpy has them, each with its gradient: arithmetic, activations, comparisons,
// reductions, and functions that move elements. Tensors are float32 or float64, all of a call of one kind, unless a
// function says otherwise. NaN and infinities come out as IEEE 754 has it: no function loses a NaN that it reads but
// comparisons, where(), and pow() of exponent 0 or base 1. Refusals name the operator, what was wrong and the shapes.
// [call-thread]
//
// These are templates for the sake of what is not called: an operator of the host becomes a requirement of the plugin,
// listed before main(), where a function that runs it is instantiated. If they were inline functions, each plugin would
// require every operator here, and a host that lacks one of them would refuse it.
#pragma once

#include <attn/sdk/tensor.hpp>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <limits>
#include <span>
#include <string>
#include <utility>

namespace attn::sdk {

// The second argument of arithmetic and comparisons. A number is of the kind of the first.
struct TensorOrNumber {
  TensorOrNumber(const Tensor& t) : tensor(&t) {}
  TensorOrNumber(double x) : number(x) {}
  const Tensor* tensor = nullptr;
  double number = 0;
};

namespace detail {

template <size_t N>
struct OperatorName {
  char text[N];
  constexpr OperatorName(const char (&s)[N]) { std::copy_n(s, N, text); }
};
// An operator of the host that takes at least so many attributes and inputs.
template <OperatorName name_, size_t Attrs, size_t Inputs>
struct HostTag {
  static constexpr const char* name = name_.text;
  static constexpr uint32_t version = 1, min_attrs = Attrs, min_in = Inputs;
};

// Runs one; input 0 is there. Bit i of wanted: output i is computed.
template <OperatorName name, size_t Outputs, size_t A, size_t I>
std::array<Tensor, Outputs> apply_all(const std::array<attn_value, A>& attrs,
                                      const Tensor* const (&inputs)[I], uint32_t wanted = ~0u) {
  static_assert(A <= kMostAttributes && I <= kMostInputs);
  return run<HostTag<name, A, I>, Outputs>(*inputs[0], attrs, inputs, wanted);
}
template <OperatorName name, size_t A, size_t I>
Tensor apply(const std::array<attn_value, A>& attrs, const Tensor* const (&inputs)[I]) {
  return std::move(apply_all<name, 1>(attrs, inputs)[0]);
}
template <OperatorName name, size_t I>
Tensor apply(const Tensor* const (&inputs)[I]) {
  return apply<name>(std::array<attn_value, 0>{}, inputs);
}
template <OperatorName name>
Tensor reduce(const Tensor& x, std::initializer_list<int64_t> axes, bool keep_dims) {
  return apply<name>(std::array{ints_value(axes.begin(), axes.size()), bool_value(keep_dims)},
                     {&x});
}
// Activations without weights, by their numbers in the operator `activation`.
enum class ActivationKind {
  sigmoid = 1,
  tanh = 2,
  relu = 3,
  gelu = 8,
  silu = 9,
  softplus = 19,
  softmax = 30
};
template <class = void>
Tensor activate(const Tensor& x, ActivationKind kind, std::initializer_list<double> constants = {},
                int64_t axis = -1) {
  return apply<"activation">(
      std::array{int_value(static_cast<int64_t>(kind)),
                 reals_value(constants.begin(), constants.size()), int_value(axis)},
      {&x, nullptr, nullptr});
}

// A number of the kind of x, seen as a tensor of a shape; no gradient.
inline Tensor number(const Tensor& x, double value, std::span<const int64_t> shape = {}) {
  if (x.dtype() != ATTN_F32 && x.dtype() != ATTN_F64)
    fail("a tensor of shape {} is no float32 or float64 (convert it first)", x.shape());
  const float single = static_cast<float>(value);
  const void* dense = x.dtype() == ATTN_F64 ? static_cast<const void*>(&value) : &single;
  const std::array<int64_t, ATTN_MAX_RANK> strides{};
  attn_tensor* out = nullptr;
  attn_error e;
  check(x.engine()->constant(x.context(), x.dtype(), 0, strides.data(), dense, &out, &e), e);
  return Tensor(out, x.engine(), x.context()).view(shape, {strides.data(), shape.size()});
}

// An operator of two inputs; swapped: b is input 0.
template <OperatorName name, bool swapped = false>
Tensor binary(const Tensor& a, const TensorOrNumber& b) {
  const Tensor other = b.tensor ? *b.tensor : number(a, b.number);
  return swapped ? apply<name>({&other, &a}) : apply<name>({&a, &other});
}

// An axis of x, or one more than it has, counted from the end when negative.
inline size_t axis_of(const char* function, const Tensor& x, int axis, int more = 0) {
  const int rank = x.rank() + more;
  if (axis < -rank || axis >= rank)
    fail("{}: axis {} is out of range for shape {}; expected {} to {}", function, axis, x.shape(),
         -rank, rank - 1);
  return static_cast<size_t>(axis < 0 ? axis + rank : axis);
}

}  // namespace detail

// ---- arithmetic, element by element; shapes broadcast from the last axis on -------------------------

template <class = void>
Tensor add(const Tensor& a, const TensorOrNumber& b) {
  return detail::binary<"add">(a, b);
}
template <class = void>
Tensor sub(const Tensor& a, const TensorOrNumber& b) {
  return detail::binary<"sub">(a, b);
}
template <class = void>
Tensor mul(const Tensor& a, const TensorOrNumber& b) {
  return detail::binary<"mul">(a, b);
}
// a b c in one pass.
template <class = void>
Tensor mul(const Tensor& a, const Tensor& b, const Tensor& c) {
  return detail::apply<"mul">({&a, &b, &c});
}
template <class = void>
Tensor div(const Tensor& a, const TensorOrNumber& b) {
  return detail::binary<"div">(a, b);
}
// NaN where either is; the gradient of equal ones goes to a.
template <class = void>
Tensor maximum(const Tensor& a, const TensorOrNumber& b) {
  return detail::binary<"maximum">(a, b);
}
template <class = void>
Tensor minimum(const Tensor& a, const TensorOrNumber& b) {
  return detail::binary<"minimum">(a, b);
}
// min(max(x, low), high); the gradient is that of x from low to high, both included.
template <class = void>
Tensor clip(const Tensor& x, double low, double high) {
  return minimum(maximum(x, low), high);
}
// x * factor + shift
template <class = void>
Tensor affine(const Tensor& x, double factor, double shift = 0) {
  return detail::apply<"affine">(std::array{detail::real_value(factor), detail::real_value(shift)},
                                 {&x});
}
// -x; of 0 it is -0.
template <class = void>
Tensor neg(const Tensor& x) {
  return affine(x, -1, -0.0);
}
template <class = void>
Tensor abs(const Tensor& x) {
  return detail::apply<"abs">({&x});
}
template <class = void>
Tensor exp(const Tensor& x) {
  return detail::apply<"exp">({&x});
}
template <class = void>
Tensor log(const Tensor& x) {
  return detail::apply<"log">({&x});
}
template <class = void>
Tensor sqrt(const Tensor& x) {
  return detail::apply<"sqrt">({&x});
}
template <class = void>
Tensor square(const Tensor& x) {
  return detail::apply<"square">({&x});
}
// base ^ exponent; NaN for a negative base and an exponent that is no whole number.
template <class = void>
Tensor pow(const Tensor& base, const TensorOrNumber& exponent) {
  return detail::binary<"pow">(base, exponent);
}

// ---- activations ------------------------------------------------------------------------------------
// Those that a config chooses come from Builder::activation().

template <class = void>
Tensor sigmoid(const Tensor& x) {
  return detail::activate(x, detail::ActivationKind::sigmoid);
}
template <class = void>
Tensor tanh(const Tensor& x) {
  return detail::activate(x, detail::ActivationKind::tanh);
}
template <class = void>
Tensor relu(const Tensor& x) {
  return detail::activate(x, detail::ActivationKind::relu,
                          {std::numeric_limits<double>::infinity(), 0, 0});
}
// With the error function, not its approximation.
template <class = void>
Tensor gelu(const Tensor& x) {
  return detail::activate(x, detail::ActivationKind::gelu);
}
// x sigmoid(x)
template <class = void>
Tensor silu(const Tensor& x) {
  return detail::activate(x, detail::ActivationKind::silu);
}
// log(1 + e^x)
template <class = void>
Tensor softplus(const Tensor& x) {
  return detail::activate(x, detail::ActivationKind::softplus);
}
template <class = void>
Tensor softmax(const Tensor& x, int axis = -1) {
  return detail::activate(x, detail::ActivationKind::softmax, {}, axis);
}

// ---- comparisons: bool tensors without a gradient; shapes broadcast -----------------------------------

template <class = void>
Tensor less(const Tensor& a, const TensorOrNumber& b) {
  return detail::binary<"less">(a, b);
}
template <class = void>
Tensor less_equal(const Tensor& a, const TensorOrNumber& b) {
  return detail::binary<"less_equal">(a, b);
}
template <class = void>
Tensor greater(const Tensor& a, const TensorOrNumber& b) {
  return detail::binary<"less", true>(a, b);
}
template <class = void>
Tensor greater_equal(const Tensor& a, const TensorOrNumber& b) {
  return detail::binary<"less_equal", true>(a, b);
}
template <class = void>
Tensor equal(const Tensor& a, const TensorOrNumber& b) {
  return detail::binary<"equal">(a, b);
}
template <class = void>
Tensor not_equal(const Tensor& a, const TensorOrNumber& b) {
  return detail::binary<"not_equal">(a, b);
}
// condition > 0 ? a : b. condition: any kind of element, a mask or what a comparison gives; all three broadcast.
template <class = void>
Tensor where(const Tensor& condition, const Tensor& a, const TensorOrNumber& b) {
  const Tensor other = b.tensor ? *b.tensor : detail::number(a, b.number);
  return detail::apply<"select">({&condition, &a, &other});
}

// ---- along axes: those listed, all of them when the list is empty -------------------------------------

template <class = void>
Tensor sum(const Tensor& x, std::initializer_list<int64_t> axes = {}, bool keep_dims = false) {
  return detail::reduce<"sum">(x, axes, keep_dims);
}
template <class = void>
Tensor mean(const Tensor& x, std::initializer_list<int64_t> axes = {}, bool keep_dims = false) {
  return detail::reduce<"mean">(x, axes, keep_dims);
}
// NaN when there is one; the gradient goes to the first of equals.
template <class = void>
Tensor max(const Tensor& x, std::initializer_list<int64_t> axes = {}, bool keep_dims = false) {
  return detail::reduce<"max">(x, axes, keep_dims);
}
template <class = void>
Tensor min(const Tensor& x, std::initializer_list<int64_t> axes = {}, bool keep_dims = false) {
  return neg(max(neg(x), axes, keep_dims));
}
// Mean and maximum in one pass, side by side along a new last axis of extent 2; of x times factors, which
// broadcast to x, when there are some. Equal largest elements share the gradient (that of max() goes to
// the first of them).
template <class = void>
Tensor mean_max(const Tensor& x, std::initializer_list<int64_t> axes = {},
                const Tensor& factors = {}) {
  return detail::apply<"mean_max">(std::array{detail::ints_value(axes.begin(), axes.size())},
                                   {&x, factors ? &factors : nullptr});
}
// Running sums, added up in double.
template <class = void>
Tensor cumsum(const Tensor& x, int axis = -1) {
  return detail::apply<"cumsum">(std::array{detail::int_value(axis)}, {&x});
}

// ---- moving elements; Tensor has reshape, permute and slice -------------------------------------------

// Another dtype: float32, float64, float16 or bfloat16, of any kind.
template <class = void>
Tensor convert(const Tensor& x, int32_t dtype) {
  return detail::apply<"convert">(std::array{detail::int_value(dtype)}, {&x});
}
// Joins up to 8 tensors along an axis; absent ones are left out.
template <class = void>
Tensor concat(std::initializer_list<const Tensor*> parts, int axis) {
  const Tensor* in[8]{};
  size_t n = 0;
  for (const Tensor* t : parts) {
    if (!t || !*t) continue;
    if (n == std::size(in)) fail("concat: more than 8 tensors are given");
    in[n++] = t;
  }
  if (n == 0) fail("concat: no tensor");
  return detail::apply<"concat">(std::array{detail::int_value(axis)}, in);
}
// Joins up to 8 tensors of one shape along a new axis.
template <class = void>
Tensor stack(std::initializer_list<const Tensor*> parts, int axis) {
  if (parts.size() == 0 || parts.size() > 8)
    fail("stack: {} tensors are given; expected 1 to 8", parts.size());
  const Tensor& first = **parts.begin();
  const size_t at = detail::axis_of("stack", first, axis, 1),
               rank = static_cast<size_t>(first.rank());
  if (rank == ATTN_MAX_RANK) fail("stack: shape {} has no room for another axis", first.shape());
  std::array<int64_t, ATTN_MAX_RANK> shape{};
  for (size_t i = 0; i <= rank; ++i)
    shape[i] = i == at ? 1 : first.dim(static_cast<int>(i < at ? i : i - 1));
  std::array<Tensor, 8> wide;
  size_t n = 0;
  for (const Tensor* t : parts) {
    if (!std::ranges::equal(t->shape(), first.shape()))
      fail("stack: a tensor has shape {}, the first one {}; expected one shape",
           t->shape_text().c_str(), first.shape());
    wide[n++] = t->reshape(std::span<const int64_t>(shape.data(), rank + 1));
  }
  return concat({&wide[0], &wide[1], &wide[2], &wide[3], &wide[4], &wide[5], &wide[6], &wide[7]},
                static_cast<int>(at));
}
// Equal parts along an axis, as views: const auto [q, k, v] = split<3>(x, -1);
template <size_t parts>
std::array<Tensor, parts> split(const Tensor& x, int axis) {
  const auto at = static_cast<int>(detail::axis_of("split", x, axis));
  const auto n = static_cast<int64_t>(parts);
  if (x.dim(at) % n != 0)
    fail("split: axis {} of shape {} does not divide into {} parts", axis, x.shape(), parts);
  const int64_t step = x.dim(at) / n;
  std::array<Tensor, parts> result;
  for (int64_t i = 0; i < n; ++i)
    result[static_cast<size_t>(i)] = x.slice(at, i * step, (i + 1) * step);
  return result;
}
// Two axes exchanged: a view.
inline Tensor transpose(const Tensor& x, int a = -2, int b = -1) {
  const size_t i = detail::axis_of("transpose", x, a), j = detail::axis_of("transpose", x, b);
  attn_view v = x.handle()->view;
  std::swap(v.shape[i], v.shape[j]);
  std::swap(v.stride[i], v.stride[j]);
  const auto rank = static_cast<size_t>(v.rank);
  return x.view({v.shape, rank}, {v.stride, rank});
}
// As large as `shape`, along whose further axes, and those where x has extent 1, it repeats.
template <class = void>
Tensor broadcast_to(const Tensor& x, std::span<const int64_t> shape) {
  const auto more = static_cast<std::ptrdiff_t>(shape.size()) - x.rank();
  bool fits = more >= 0 && shape.size() <= ATTN_MAX_RANK;
  for (int i = 0; fits && i < x.rank(); ++i)
    fits = x.dim(i) == 1 || x.dim(i) == shape[static_cast<size_t>(more + i)];
  if (!fits) fail("broadcast_to: shape {} does not broadcast to {}", x.shape(), shape_text(shape));
  return add(x, detail::number(x, -0.0, shape));  // -0 changes no x, not even -0
}
template <class = void>
Tensor broadcast_to(const Tensor& x, std::initializer_list<int64_t> shape) {
  return broadcast_to(x, std::span(shape.begin(), shape.size()));
}
// x with so many elements of `value` before and after it along each axis: {{0, 0}, {1, 2}} for two axes.
template <class = void>
Tensor pad(const Tensor& x, std::initializer_list<std::pair<int64_t, int64_t>> widths,
           double value = 0) {
  if (widths.size() != static_cast<size_t>(x.rank()))
    fail("pad: {} pairs of widths are given for shape {}; expected one for each axis",
         widths.size(), x.shape());
  Tensor y = x;
  int axis = 0;
  for (const auto& [before, after] : widths) {
    if (before < 0 || after < 0)
      fail("pad: widths {} and {} of axis {}; expected none below 0", before, after, axis);
    const auto edge = [&](int64_t width) {
      attn_view v = y.handle()->view;
      v.shape[axis] = width;
      return detail::number(y, value, {v.shape, static_cast<size_t>(v.rank)});
    };
    if (before > 0 || after > 0) {
      const Tensor first = edge(before), last = edge(after);
      y = concat({&first, &y, &last}, axis);
    }
    ++axis;
  }
  return y;
}
// Rows of a table: y[i..., :] = table[index[i...], :]. index: int32, int64, uint32 or uint8, of any shape, from 0 to
// the number of rows - 1; others are refused. The gradient of a row is the sum over the places that took it.
template <class = void>
Tensor take(const Tensor& table, const Tensor& index) {
  return detail::apply<"take">({&table, &index});
}

}  // namespace attn::sdk
