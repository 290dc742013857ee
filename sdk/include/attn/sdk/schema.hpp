// SPDX-License-Identifier: Apache-2.0
//
// How a type says what it accepts. ProcessGroup of two plain structs are named one by one; their
// initialisers are the defaults, and the order is that of all lists and messages.
//
//   static void describe(Schema<Params, Arguments>& s) {
//     s.field("dim", &Params::dim).required().above(0).doc("model width");
//     s.field("num_heads", &Params::num_heads).above(0).doc("number of heads");
//     s.divisible(&Params::dim, &Params::num_heads);
//     s.input("inputs", {"batch, seq, dim"}).doc("...");
//     s.argument("use_causal_mask", &Arguments::use_causal_mask).doc("...");
//     s.output("output", "batch, seq, dim");
//     s.claim(Claim::causal).when(&Arguments::use_causal_mask);
//   }
//
// Member types: bool, int64_t, double, std::string, std::optional of these (null), ComponentSpec
// (initializer, regularizer or options, see below), std::array<int64_t, 2> (an int or a pair),
// std::vector<int64_t> (an int, a pair or three; of an int two that are equal),
// std::optional<uint64_t> (a seed). Arguments of a call must not allocate: bool, int64_t, double,
// std::optional of these and std::span<const int64_t>. The tables are freed when the plugin is unloaded.
#pragma once

#include <attn/sdk/abi.h>
#include <attn/sdk/claims.hpp>
#include <attn/sdk/error.hpp>
#include <attn/sdk/operator.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace attn::sdk {

// A choice that the host interprets: the name or JSON object of an initializer or regularizer, or
// the JSON object with the options of a norm, probability or activation. Handed on to the builder
// as it is.
struct ComponentSpec {
  enum class Kind { null, name, object };
  Kind kind = Kind::null;
  std::string text{};

  ComponentSpec() = default;
  ComponentSpec(const char* name)
      : kind(Kind::name), text(name) {}  // NOLINT: a default reads like a string

  [[nodiscard]] attn_value value() const {
    if (kind == Kind::null) return detail::null_value();
    return {.kind = kind == Kind::name ? ATTN_VALUE_STR : ATTN_VALUE_OBJECT,
            .count = 0,
            .u = {.s = text.c_str()}};
  }
  [[nodiscard]] bool operator==(const ComponentSpec&) const = default;
  [[nodiscard]] const char* object_text() const {
    return kind == Kind::object ? text.c_str() : nullptr;
  }
  // The JSON text of one of the options of an object; empty: it has none of that name.
  [[nodiscard]] std::string_view option(std::string_view name) const {
    const std::string key = '"' + std::string(name) + '"';
    const size_t at = kind == Kind::object ? text.find(key) : std::string::npos;
    if (at == std::string::npos) return {};
    const size_t begin = text.find_first_not_of(": \n", at + key.size());
    const size_t end = text.find_first_of(text[begin] == '[' ? "]" : ",}", begin);
    return std::string_view(text).substr(begin, end - begin + (text[begin] == '[' ? 1 : 0));
  }
};

namespace detail {

template <class T>
struct is_optional : std::false_type {};
template <class T>
struct is_optional<std::optional<T>> : std::true_type {};
template <class T>
struct is_optional_number : std::false_type {};
template <class T>
struct is_optional_number<std::optional<T>> : std::is_arithmetic<T> {};

template <class T>
attn_value number_value(T x) {
  if constexpr (std::is_same_v<T, bool>)
    return bool_value(x);
  else if constexpr (std::is_floating_point_v<T>)
    return real_value(x);
  else
    return int_value(static_cast<int64_t>(x));
}

// attn_value -> member. The host has checked kind and range.
inline void read_value(const attn_value& v, bool& x) { x = v.u.i != 0; }
inline void read_value(const attn_value& v, int64_t& x) { x = v.u.i; }
inline void read_value(const attn_value& v, uint64_t& x) { x = static_cast<uint64_t>(v.u.i); }
inline void read_value(const attn_value& v, double& x) {
  x = v.kind == ATTN_VALUE_I64 ? static_cast<double>(v.u.i) : v.u.f;
}
inline void read_value(const attn_value& v, std::string& x) { x = v.u.s; }
inline void read_value(const attn_value& v, std::span<const int64_t>& x) { x = {v.u.is, v.count}; }
inline void read_value(const attn_value& v, std::array<int64_t, 2>& x) {
  x = {v.u.is[0], v.u.is[1]};
}
inline void read_value(const attn_value& v, std::vector<int64_t>& x) {
  x.assign(v.u.is, v.u.is + v.count);
}
inline void read_value(const attn_value& v, ComponentSpec& x) {
  x.kind = v.kind == ATTN_NULL           ? ComponentSpec::Kind::null
           : v.kind == ATTN_VALUE_OBJECT ? ComponentSpec::Kind::object
                                         : ComponentSpec::Kind::name;
  x.text = v.kind == ATTN_NULL ? "" : v.u.s;
}
template <class T>
void read_value(const attn_value& v, std::optional<T>& x) {
  if (v.kind == ATTN_NULL) {
    x.reset();
  } else {
    T value{};
    read_value(v, value);
    x = std::move(value);
  }
}

template <class T>
constexpr uint32_t param_kind() {
  using U = std::remove_cvref_t<T>;
  if constexpr (is_optional<U>::value)
    return param_kind<typename U::value_type>();
  else if constexpr (std::is_same_v<U, bool>)
    return ATTN_PARAM_BOOL;
  else if constexpr (std::is_same_v<U, int64_t>)
    return ATTN_PARAM_INT;
  else if constexpr (std::is_same_v<U, uint64_t>)
    return ATTN_PARAM_SEED;
  else if constexpr (std::is_same_v<U, double>)
    return ATTN_PARAM_REAL;
  else if constexpr (std::is_same_v<U, std::string>)
    return ATTN_PARAM_TEXT;
  else if constexpr (std::is_same_v<U, std::span<const int64_t>>)
    return ATTN_PARAM_INTS;
  else if constexpr (std::is_same_v<U, std::array<int64_t, 2>> ||
                     std::is_same_v<U, std::vector<int64_t>>)
    return ATTN_PARAM_INT_OR_PAIR;
  else
    return ATTN_PARAM_OPTIONS;  // ComponentSpec: one of initializer(), regularizer(), options() says
                                // which
}

}  // namespace detail

// Texts, parameters and functions of one type. What keep() returns stays where it is until the plugin is unloaded.
class SchemaTables {
 public:
  // A copy that stays where it is.
  template <class T>
  T& keep(T x) {
    auto* kept = new T(std::move(x));
    kept_.push_back({kept, [](void* p) { delete static_cast<T*>(p); }});
    return *kept;
  }

  template <class T>
  attn_value keep_value(const T& x) {
    if constexpr (detail::is_optional<T>::value) {
      return x ? keep_value(*x) : detail::null_value();
    } else if constexpr (std::is_same_v<T, bool>) {
      return detail::bool_value(x);
    } else if constexpr (std::is_same_v<T, int64_t> || std::is_same_v<T, uint64_t>) {
      return detail::int_value(static_cast<int64_t>(x));
    } else if constexpr (std::is_same_v<T, double>) {
      return detail::real_value(x);
    } else if constexpr (std::is_same_v<T, std::string>) {
      return detail::text_value(keep(x).c_str());
    } else if constexpr (std::is_same_v<T, ComponentSpec>) {
      attn_value v = x.value();
      if (v.kind != ATTN_NULL) v.u.s = keep(x.text).c_str();
      return v;
    } else {
      const auto& kept = keep(std::vector<int64_t>(x.begin(), x.end()));
      return detail::ints_value(kept.data(), kept.size());
    }
  }
  const char* const* keep_list(std::initializer_list<const char*> names) {
    return keep(std::vector<const char*>(names)).data();
  }

  // In the order of the calls that added them.
  std::vector<const attn_param*> params, args;
  std::vector<const attn_rule*> rules;
  std::vector<const attn_input*> inputs;
  std::vector<const attn_output*> outputs;
  std::vector<const attn_claim*> claims;

 private:
  std::vector<std::unique_ptr<void, void (*)(void*)>> kept_;
};

// Says more about the parameter or argument just named.
class Field {
 public:
  Field(attn_param& p, SchemaTables& t) : p_(p), t_(t) {}

  Field& required() {
    p_.flags |= ATTN_PARAM_REQUIRED;
    p_.def = detail::null_value();
    return *this;
  }
  Field& doc(const char* text) { return p_.doc = text, *this; }
  // Numbers: > low; >= low; a closed range.
  Field& above(double low) {
    return bound(p_.min, low, ATTN_PARAM_HAS_MIN | ATTN_PARAM_EXCLUSIVE_MIN);
  }
  Field& at_least(double low) { return bound(p_.min, low, ATTN_PARAM_HAS_MIN); }
  Field& at_most(double high) { return bound(p_.max, high, ATTN_PARAM_HAS_MAX); }
  Field& below(double high) {
    return bound(p_.max, high, ATTN_PARAM_HAS_MAX | ATTN_PARAM_EXCLUSIVE_MAX);
  }
  Field& between(double low, double high) { return at_least(low).at_most(high); }
  Field& odd() { return p_.flags |= ATTN_PARAM_ODD, *this; }
  // One of these strings. For a norm: further names beside the norms.
  Field& choices(std::initializer_list<const char*> names) {
    p_.choices = t_.keep_list(names);
    p_.n_choices = static_cast<uint32_t>(names.size());
    return *this;
  }
  Field& alias(std::initializer_list<const char*> names) {
    p_.aliases = t_.keep_list(names);
    p_.n_aliases = static_cast<uint32_t>(names.size());
    return *this;
  }
  // What a string or ComponentSpec means.
  Field& probability() { return kind(ATTN_PARAM_PROBABILITY); }
  Field& norm() { return kind(ATTN_PARAM_NORM); }
  Field& activation() { return kind(ATTN_PARAM_ACTIVATION); }
  Field& initializer() { return kind(ATTN_PARAM_INITIALIZER); }
  // A bool: while it is true a position uses itself and earlier ones only (null: with a state it is true). Calls that
  // a norm or an activation over positions would make look ahead are then refused by the host.
  Field& causal() { return p_.flags |= ATTN_PARAM_CAUSAL, *this; }
  // A parameter beyond what the type is known for: lists of accepted parameters, log lines and configurations that a
  // layer gives back have it only when it was given.
  Field& extension() { return p_.flags |= ATTN_PARAM_EXTENSION, *this; }
  Field& nullable() { return p_.flags |= ATTN_PARAM_NULLABLE, *this; }
  Field& regularizer() { return nullable().kind(ATTN_PARAM_REGULARIZER); }
  // Options of the named parameter. overrides: "flag=member" - while that bool parameter is true
  // they are options of that member instead.
  Field& options(const char* of, std::initializer_list<const char*> overrides = {}) {
    p_.of = of;
    if (overrides.size()) choices(overrides);
    return nullable().kind(ATTN_PARAM_OPTIONS);
  }
  // A string that is a score program or a mask rule: "score h q k H" with the variables that layers can tell (s is among
  // them), and an object with what those capture. Builder::with_rules() takes them.
  Field& program(const char* of) { return p_.of = of, *this; }
  Field& captures() { return p_.of = "captures", nullable().kind(ATTN_PARAM_OPTIONS); }
  // An object that names its member itself, by "rope_type": how frequencies of rotary positions are scaled.
  Field& rope_scaling() { return p_.of = "rope_type", nullable().kind(ATTN_PARAM_OPTIONS); }

 private:
  Field& kind(uint32_t k) { return p_.kind = k, *this; }
  Field& bound(attn_value& to, double x, uint32_t flags) {
    to = p_.kind == ATTN_PARAM_REAL ? detail::real_value(x)
                                    : detail::int_value(static_cast<int64_t>(x));
    p_.flags |= flags;
    return *this;
  }
  attn_param& p_;
  SchemaTables& t_;
};

class InputField {
 public:
  InputField(attn_input& i, SchemaTables& t) : i_(i), t_(t) {}
  InputField& optional() { return i_.flags |= ATTN_INPUT_OPTIONAL, *this; }
  // A keep mask: optional, any kind of element. A floating one arrives as bool (> 0), unless it has numbers().
  InputField& mask() { return i_.flags |= ATTN_INPUT_MASK | ATTN_INPUT_OPTIONAL, *this; }
  // Of a mask: a floating one is no keep mask, the type adds or multiplies its numbers.
  InputField& numbers() { return i_.flags |= ATTN_INPUT_NUMBERS, *this; }
  // Of a mask: what it leaves out still acts on other positions; the doc says how.
  InputField& partial() { return i_.flags |= ATTN_INPUT_PARTIAL, *this; }
  // Taken for the sake of callers that pass it; no effect.
  InputField& unused() { return i_.flags |= ATTN_INPUT_UNUSED, *this; }
  // Whole numbers, int32 or int64, and optional: no sequence, but what is said of one.
  InputField& integers() {
    i_.dtypes = 1u << ATTN_I32 | 1u << ATTN_I64;
    return optional();
  }
  // Further names of the same input.
  InputField& alias(std::initializer_list<const char*> names) {
    i_.aliases = t_.keep_list(names);
    i_.n_aliases = static_cast<uint32_t>(names.size());
    return *this;
  }
  InputField& doc(const char* text) { return i_.doc = text, *this; }

 private:
  attn_input& i_;
  SchemaTables& t_;
};

class OutputField {
 public:
  explicit OutputField(attn_output& o) : o_(o) {}
  // Given only when that bool argument of the call is true.
  OutputField& when(const char* argument) {
    o_.flags |= ATTN_OUTPUT_OPTIONAL;
    o_.argument = argument;
    return *this;
  }
  OutputField& doc(const char* text) { return o_.doc = text, *this; }

 private:
  attn_output& o_;
};

struct NoArguments {};

template <class Params, class Arguments = NoArguments>
class Schema {
 public:
  // member: of Params or of a struct that it derives from.
  template <class T, class C>
  requires std::is_base_of_v<C, Params> Field field(const char* name, T C::*of) {
    T Params::*const member = of;
    offsets_.push_back(offset(member));
    readers_.push_back(
        [member](Params& p, const attn_value& v) { detail::read_value(v, p.*member); });
    if constexpr (detail::is_optional_number<T>::value)
      writers_.emplace_back(tables_.params.size(), [member](const Params& p, attn_value& v) {
        if (p.*member) v = detail::number_value(*(p.*member));
      });
    return add(tables_.params, name, Params{}.*member);
  }
  template <class T>
  Field argument(const char* name, T Arguments::*member) {
    argument_offsets_.push_back(offset(member));
    argument_readers_.push_back(
        [member](Arguments& a, const attn_value& v) { detail::read_value(v, a.*member); });
    return add(tables_.args, name, Arguments{}.*member);
  }
  InputField input(const char* name, std::initializer_list<const char*> shapes) {
    attn_input i{};
    i.struct_size = sizeof i;
    i.name = name;
    i.doc = "";
    i.n_shapes = static_cast<uint32_t>(shapes.size());
    i.shapes = tables_.keep_list(shapes);
    return InputField(add(tables_.inputs, i), tables_);
  }
  OutputField output(const char* name, const char* shape) {
    attn_output o{};
    o.struct_size = sizeof o;
    o.name = name;
    o.doc = "";
    o.shape = shape;
    return OutputField(add(tables_.outputs, o));
  }
  // The field of a member, which must have been named before.
  template <class T, class C>
  [[nodiscard]] const attn_param& param_of(T C::*of) const {
    constexpr bool parameter = std::is_base_of_v<C, Params>;
    T std::conditional_t<parameter, Params, Arguments>::*const member = of;
    const std::vector<std::ptrdiff_t>& offsets = parameter ? offsets_ : argument_offsets_;
    const auto at = std::find(offsets.begin(), offsets.end(), offset(member));
    if (at == offsets.end())
      throw std::logic_error("a rule or a claim names a member that is no field yet");
    return *(parameter ? tables_.params : tables_.args)[static_cast<size_t>(at - offsets.begin())];
  }
  template <class T, class C>
  [[nodiscard]] const char* name_of(T C::*member) const {
    return param_of(member).name;
  }
  // A rule between parameters, checked after each one by itself: holds(const Params&) says whether it is kept. text is
  // the message when it is not; {name} in it stands for the value of that parameter.
  template <class F>
  void rule(const char* text, F holds) {
    const Rule& kept = tables_.keep(Rule{this, std::move(holds)});
    add(tables_.rules, attn_rule{sizeof(attn_rule), 0, text, &check_rule, &kept});
  }
  // The rule that a divides by b, of int64_t or std::optional<int64_t>; null switches it off.
  template <class A, class B, class C, class D>
  void divisible(A C::*a, B D::*b) {
    const std::string over = name_of(a), under = name_of(b);
    const std::string& text = tables_.keep(over + " ({" + over + "}) must be divisible by " +
                                           under + " ({" + under + "})");
    rule(text.c_str(), [a, b](const Params& p) {
      const std::optional<int64_t> x = p.*a, y = p.*b;
      return !x || !y || *x % *y == 0;
    });
  }
  // Members that have an effect only where holds(const Params&) does, and elsewhere must be as they are by default: what
  // is accepted is not ignored. text: where they have one, as in "with position_kind 't5'".
  template <class F, class... T, class... C>
  void only_with(const char* text, F holds, T C::*... members) {
    const auto add_rule = [&](auto member) {
      const std::string name = name_of(member);
      const std::string& told =
          tables_.keep("Parameter '" + name + "' ({" + name + "}) has no effect here, only " +
                       text + "; expected its default elsewhere");
      rule(told.c_str(),
           [holds, member](const Params& p) { return p.*member == Params{}.*member || holds(p); });
    };
    (add_rule(members), ...);
  }

  // subject: an input, or of inert a weight; claims.hpp.
  ClaimField<Params, Arguments> claim(Claim kind, const char* subject = nullptr) {
    return ClaimField(keep_claim(kind, subject));
  }
  // Several without a subject or a condition.
  void claims(std::initializer_list<Claim> kinds) {
    for (const Claim kind : kinds) claim(kind);
  }
  // Claims of these kinds that are made from now on hold only where holds(const Params&) does.
  template <class F>
  void only_when(std::initializer_list<Claim> kinds, const char* text, F holds) {
    for (const Claim kind : kinds) limits_[kind].emplace_back(text, holds);
  }
  // reaches: related(const Params&, const Arguments&, const ClaimCall&, out, in) says which positions of the input may
  // act on which outputs; equivariant, invariant: which two positions may be exchanged. text: the same in words.
  template <class F>
  ClaimField<Params, Arguments> claim(Claim kind, const char* subject, const char* text,
                                      F related) {
    auto& kept = keep_claim(kind, subject);
    kept.related = std::move(related);
    kept.c.relation = text;
    kept.c.allows = &detail::KeptClaim<Params, Arguments>::allows;
    return ClaimField(kept);
  }

  [[nodiscard]] Params read(const attn_value* values) const {
    Params p{};
    for (size_t i = 0; i < readers_.size(); ++i) readers_[i](p, values[i]);
    return p;
  }
  // Numbers that p has now in the place of nulls.
  void write_resolved(const Params& p, attn_value* values) const {
    for (const auto& [at, write] : writers_)
      if (values[at].kind == ATTN_NULL) write(p, values[at]);
  }
  [[nodiscard]] Arguments read_arguments(const attn_value* values) const {
    Arguments a{};
    for (size_t i = 0; i < argument_readers_.size(); ++i) argument_readers_[i](a, values[i]);
    return a;
  }
  [[nodiscard]] SchemaTables& tables() { return tables_; }

 private:
  struct Rule {
    const Schema* schema;
    std::function<bool(const Params&)> holds;
  };
  static int32_t check_rule(const attn_value* values, const void* user) noexcept {
    const Rule& rule = *static_cast<const Rule*>(user);
    try {
      return rule.holds(rule.schema->read(values)) ? 1 : 0;
    } catch (...) {
      return 1;  // no memory for the parameters: creating the layer reads them again and reports it
    }
  }
  detail::KeptClaim<Params, Arguments>& keep_claim(Claim kind, const char* subject) {
    auto& kept = tables_.keep(detail::KeptClaim<Params, Arguments>{});
    kept.schema = this;
    kept.c.struct_size = sizeof kept.c;
    kept.c.kind = static_cast<uint32_t>(kind);
    kept.c.subject = subject;
    kept.c.user = &kept;
    tables_.claims.push_back(&kept.c);
    for (const auto& [text, holds] : limits_[kind]) ClaimField(kept).when(text, holds);
    return kept;
  }
  // Where a member lies in its struct, which identifies the field.
  template <class S, class T>
  static std::ptrdiff_t offset(T S::*member) {
    static const S params{};
    return reinterpret_cast<const char*>(&(params.*member)) -
           reinterpret_cast<const char*>(&params);
  }

  template <class T>
  T& add(std::vector<const T*>& list, const T& entry) {
    T& kept = tables_.keep(entry);
    list.push_back(&kept);
    return kept;
  }
  template <class T>
  Field add(std::vector<const attn_param*>& list, const char* name, const T& def) {
    attn_param p{};
    p.struct_size = sizeof p;
    p.kind = detail::param_kind<T>();
    p.name = name;
    p.doc = "";
    p.def = tables_.keep_value(def);
    if (detail::is_optional<T>::value) p.flags |= ATTN_PARAM_NULLABLE;
    if (std::is_same_v<T, std::vector<int64_t>>) p.of = "triple";
    return {add(list, p), tables_};
  }

  SchemaTables tables_;
  std::vector<std::ptrdiff_t> offsets_, argument_offsets_;  // of the fields, in their order
  std::vector<std::function<void(Params&, const attn_value&)>> readers_;
  std::vector<std::pair<size_t, std::function<void(const Params&, attn_value&)>>> writers_;
  std::vector<std::function<void(Arguments&, const attn_value&)>> argument_readers_;
  std::map<Claim, std::vector<std::pair<const char*, std::function<bool(const Params&)>>>> limits_;
};

}  // namespace attn::sdk
