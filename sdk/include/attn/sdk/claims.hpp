// SPDX-License-Identifier: Apache-2.0
//
// What a type says is true of it. In describe(), after the fields that conditions name:
//
//   s.claim(Claim::batch_independent);
//   s.claim(Claim::causal).when(&Arguments::use_causal_mask);
//   s.claim(Claim::equivariant).unless(&Arguments::use_causal_mask);
//   s.claim(Claim::inert, "w_k/bias").when("one head", [](const Params& p) { return p.num_heads == 1; });
//   s.claim(Claim::reaches, "inputs", "the token before", [](auto&, auto&, auto&, int64_t out, int64_t in) {
//     return in == out || in == out - 1;
//   });
//
// abi_schema.h has the exact meaning of each. A claim made several times holds where one of them does. `attn info`
// shows claims, `attn check` tries them, and a host may require some.
#pragma once

#include <attn/sdk/abi.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace attn::sdk {

enum class Claim : uint32_t {
  batch_independent = ATTN_CLAIM_BATCH_INDEPENDENT,
  causal = ATTN_CLAIM_CAUSAL,
  reaches = ATTN_CLAIM_REACHES,
  mask_respected = ATTN_CLAIM_MASK_RESPECTED,
  mask_neutral = ATTN_CLAIM_MASK_NEUTRAL,
  equivariant = ATTN_CLAIM_EQUIVARIANT,
  invariant = ATTN_CLAIM_INVARIANT,
  position_sensitive = ATTN_CLAIM_POSITION_SENSITIVE,
  decode_equals_prefill = ATTN_CLAIM_DECODE_EQUALS_PREFILL,
  inert = ATTN_CLAIM_INERT,
  linear = ATTN_CLAIM_LINEAR,
  homogeneous = ATTN_CLAIM_HOMOGENEOUS,
  deterministic = ATTN_CLAIM_DETERMINISTIC
};

// The call that a condition is about, beside parameters and arguments.
class ClaimCall {
 public:
  explicit ClaimCall(const attn_claim_call& c) : c_(c) {}
  [[nodiscard]] bool training() const { return (c_.flags & ATTN_CALL_TRAINING) != 0; }
  [[nodiscard]] bool stateful() const { return (c_.flags & ATTN_CALL_STATEFUL) != 0; }
  [[nodiscard]] bool has(uint32_t input) const { return c_.inputs[input].present != 0; }
  [[nodiscard]] int32_t rank(uint32_t input = 0) const { return c_.inputs[input].rank; }
  // -1: not known. Negative axes count from the end.
  [[nodiscard]] int64_t dim(int32_t axis, uint32_t input = 0) const {
    return c_.inputs[input].dim[axis < 0 ? rank(input) + axis : axis];
  }
  // The axes between batch and width.
  [[nodiscard]] int64_t positions(uint32_t input = 0) const {
    int64_t n = 1;
    for (int32_t axis = 1; axis + 1 < rank(input); ++axis) n *= dim(axis, input);
    return n;
  }

 private:
  const attn_claim_call& c_;
};

template <class Params, class Arguments>
class Schema;

namespace detail {

// Set, and neither false nor 0.
template <class T>
bool is_set(const T& x) {
  if constexpr (requires { x.has_value(); })
    return x.has_value() && is_set(*x);
  else if constexpr (std::is_arithmetic_v<T>)
    return x != T{};
  else if constexpr (requires { x.object_text(); })
    return x.kind != T::Kind::null;
  else
    return !x.empty();
}

// f with as many of the leading arguments as it takes.
template <class F, class P, class A>
bool ask(const F& f, const P& p, const A& a, const ClaimCall& c) {
  if constexpr (std::is_invocable_v<F, const P&, const A&, const ClaimCall&>)
    return f(p, a, c);
  else if constexpr (std::is_invocable_v<F, const P&, const A&>)
    return f(p, a);
  else
    return f(p);
}

// A claim with its conditions, at the place where `c` is shown.
template <class P, class A>
struct KeptClaim {
  attn_claim c{};
  const Schema<P, A>* schema = nullptr;
  std::string condition{};
  std::vector<std::function<bool(const P&, const A&, const ClaimCall&)>> conditions{};
  std::function<bool(const P&, const A&, const ClaimCall&, int64_t, int64_t)> related{};

  // What throws does not hold.
  static int32_t holds(const attn_claim_call* call, const void* user) noexcept {
    const KeptClaim& k = *static_cast<const KeptClaim*>(user);
    try {
      const P p = k.schema->read(call->values);
      const A a = k.schema->read_arguments(call->args);
      for (const auto& condition : k.conditions)
        if (!condition(p, a, ClaimCall(*call))) return 0;
      return 1;
    } catch (...) {
      return 0;
    }
  }
  static int32_t allows(const attn_claim_call* call, int64_t out, int64_t in,
                        const void* user) noexcept {
    const KeptClaim& k = *static_cast<const KeptClaim*>(user);
    try {
      return k.related(k.schema->read(call->values), k.schema->read_arguments(call->args),
                       ClaimCall(*call), out, in);
    } catch (...) {
      return 0;
    }
  }
};

}  // namespace detail

// Says more about the claim just made. All conditions must hold.
template <class P, class A>
class ClaimField {
 public:
  explicit ClaimField(detail::KeptClaim<P, A>& k) : k_(k) {}

  // text: the condition in words; f: (const Params&), and Arguments, and ClaimCall behind it, as needed.
  template <class F>
  ClaimField& when(const char* text, F f) {
    k_.condition += (k_.condition.empty() ? "" : " and ") + std::string(text);
    k_.c.condition = k_.condition.c_str();
    k_.c.holds = &detail::KeptClaim<P, A>::holds;
    k_.conditions.push_back([f = std::move(f)](const P& p, const A& a, const ClaimCall& c) {
      return detail::ask(f, p, a, c);
    });
    return *this;
  }
  // A parameter or argument that is set, and neither false nor 0. A causal() one that is null is true with a state.
  template <class T, class C>
  ClaimField& when(T C::*member) {
    return when(k_.schema->name_of(member), test(member, true));
  }
  template <class T, class C>
  ClaimField& unless(T C::*member) {
    const std::string text = std::string("not ") + k_.schema->name_of(member);
    return when(text.c_str(), test(member, false));
  }
  // Of homogeneous: f(a x) = a^k f(x).
  ClaimField& degree(double k) { return k_.c.degree = k, *this; }

 private:
  template <class T, class C>
  auto test(T C::*member, bool wanted) const {
    const bool causal = (k_.schema->param_of(member).flags & ATTN_PARAM_CAUSAL) != 0;
    return [=](const P& p, const A& a, const ClaimCall& c) {
      const auto& x = [&]() -> const T& {
        if constexpr (std::is_base_of_v<C, P>)
          return p.*member;
        else
          return a.*member;
      }();
      bool set = detail::is_set(x);
      if constexpr (requires { x.has_value(); }) set = set || (causal && !x && c.stateful());
      return set == wanted;
    };
  }
  detail::KeptClaim<P, A>& k_;
};

}  // namespace attn::sdk
