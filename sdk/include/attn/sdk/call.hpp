// SPDX-License-Identifier: Apache-2.0
//
// Runs an operator inside forward(): one of the plugin's own or one of the host's.
//
//   const Tensor y = call<my_operator>({x, w}, {p.size, true});
//   const auto [y, sums] = call<other>({x}, {p.rate}, keep ? 3u : 1u);  // two outputs; bit i: output i is computed
//
// Inputs are given in the order of the operator; Tensor{} is an absent one, and so is one that is left out at the end.
// Attributes too: a bool, a number, a text, a list, or a component, which stands for the attributes that its family
// begins with (probability_attributes()). Those left out at the end have their defaults. Lists and texts must live
// until call() returns. Throws what the operator refuses. [call-thread]
#pragma once

#include <attn/sdk/layer.hpp>
#include <attn/sdk/operator.hpp>
#include <attn/sdk/tensor.hpp>

#include <array>
#include <initializer_list>
#include <span>
#include <type_traits>
#include <utility>

namespace attn::sdk {

namespace detail {

template <class Op>
struct OwnTag {
  static constexpr const char* name = Op::name;
  static constexpr uint32_t version = Op::version;
  static constexpr uint32_t min_attrs = static_cast<uint32_t>(attribute_count<Op>());
  static constexpr uint32_t min_in = Op::inputs;
};

// How many attributes the operators of a family begin with.
inline constexpr uint32_t kNormAttributes = 4, kActivationAttributes = 3,
                          kRegularizerAttributes = 4,
                          kRotaryAttributes = 11;  // a probability's: probability.hpp

}  // namespace detail

class CallInput {
 public:
  CallInput(const Tensor& t) : t_(t ? &t : nullptr) {}  // NOLINT: {x, w} reads as a list of tensors
  [[nodiscard]] const Tensor* get() const { return t_; }

 private:
  const Tensor* t_;
};

class CallAttribute {
 public:
  template <class T>
  requires std::is_arithmetic_v<T> CallAttribute(T x) : value_(value(x)) {}  // NOLINT
  CallAttribute(const char* text) : value_(detail::text_value(text)) {}      // NOLINT
  CallAttribute(std::span<const int64_t> x)
      : value_(detail::ints_value(x.data(), x.size())) {}  // NOLINT
  CallAttribute(std::span<const double> x)
      : value_(detail::reals_value(x.data(), x.size())) {}                                 // NOLINT
  CallAttribute(const Probability& p) : CallAttribute(p, kProbabilityAttributes) {}        // NOLINT
  CallAttribute(const Norm& n) : CallAttribute(n, detail::kNormAttributes) {}              // NOLINT
  CallAttribute(const Activation& a) : CallAttribute(a, detail::kActivationAttributes) {}  // NOLINT
  CallAttribute(const Regularizer& r)
      : CallAttribute(r, detail::kRegularizerAttributes) {}  // NOLINT

  [[nodiscard]] uint32_t size() const { return size_; }
  // The i-th of size(); null, which is its default, where a component has none.
  [[nodiscard]] attn_value operator[](uint32_t i) const {
    if (!of_component_) return value_;
    return component_ && i < component_->n_attrs ? component_->attrs[i] : detail::null_value();
  }

 private:
  CallAttribute(const detail::Component& of, uint32_t size)
      : value_(detail::null_value()), component_(of.c), size_(size), of_component_(true) {}
  template <class T>
  static attn_value value(T x) {
    if constexpr (std::is_same_v<T, bool>)
      return detail::bool_value(x);
    else if constexpr (std::is_floating_point_v<T>)
      return detail::real_value(static_cast<double>(x));
    else
      return detail::int_value(static_cast<int64_t>(x));
  }

  attn_value value_;
  const attn_component* component_ = nullptr;
  uint32_t size_ = 1;
  bool of_component_ = false;
};

// One output: a Tensor; several: an array of them, empty where not wanted.
template <class Op>
auto call(std::initializer_list<CallInput> inputs,
          std::initializer_list<CallAttribute> attributes = {}, uint32_t wanted = ~0u) {
  using Tag = std::conditional_t < requires { Op::min_attrs; }
  , Op, detail::OwnTag < Op >> ;
  std::array<const Tensor*, detail::kMostInputs> in;
  std::array<attn_value, detail::kMostAttributes> attrs;
  size_t n_in = 0, n_attrs = 0;
  const Tensor* any = nullptr;
  if (inputs.size() > in.size()) fail("{}: more than {} inputs", Tag::name, in.size());
  for (const CallInput& x : inputs) {
    in[n_in++] = x.get();
    if (!any) any = x.get();
  }
  if (!any) fail("{}: all inputs are absent", Tag::name);
  for (const CallAttribute& a : attributes) {
    if (n_attrs + a.size() > attrs.size())
      fail("{}: more than {} attributes", Tag::name, attrs.size());
    for (uint32_t i = 0; i < a.size(); ++i) attrs[n_attrs++] = a[i];
  }
  auto out = detail::run<Tag, Op::outputs>(*any, std::span(attrs.data(), n_attrs),
                                           std::span(in.data(), n_in), wanted);
  if constexpr (Op::outputs == 1)
    return std::move(out[0]);
  else
    return out;
}

}  // namespace attn::sdk
