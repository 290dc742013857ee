// SPDX-License-Identifier: Apache-2.0
#include "core/schema/json_schema/rules.hpp"

#include <algorithm>

#include "core/cpu/float_state.hpp"
#include "core/schema/validate.hpp"
#include "core/schema/value.hpp"

namespace attn::schema::json_schema {
namespace {

constexpr std::int64_t kMostTried = 12;  // of both numbers

// A value that the parameter may have: its default, of a required one any.
Json sample(const attn_param& p) {
  if ((p.flags & ATTN_PARAM_REQUIRED) == 0) return to_json(p, p.def);
  switch (p.kind) {
    case ATTN_PARAM_BOOL:
      return false;
    case ATTN_PARAM_TEXT:
      return p.n_choices > 0 ? p.choices[0] : "text";
    case ATTN_PARAM_INTS:
    case ATTN_PARAM_REALS:
      return Json::list({});
    case ATTN_PARAM_PROBABILITY:
    case ATTN_PARAM_NORM:
    case ATTN_PARAM_ACTIVATION:
    case ATTN_PARAM_INITIALIZER:
    case ATTN_PARAM_REGULARIZER:
      return "name";
    case ATTN_PARAM_OPTIONS:
      return nullptr;
    default:
      return (p.flags & ATTN_PARAM_HAS_MIN) != 0
                 ? Json(to_json(p, p.min).to_double() + 1 < 2 ? std::int64_t{1} : p.min.u.i + 1)
                 : Json(1);
  }
}

// What else it may be, as far as that is worth trying.
std::vector<Json> others(const attn_param& p) {
  std::vector<Json> all;
  if ((p.flags & ATTN_PARAM_NULLABLE) != 0) all.emplace_back(nullptr);
  if (p.kind == ATTN_PARAM_BOOL) all.insert(all.end(), {false, true});
  if (p.kind == ATTN_PARAM_INT || p.kind == ATTN_PARAM_REAL) all.insert(all.end(), {0, 1, 2, 1000});
  if (p.kind == ATTN_PARAM_TEXT) all.insert(all.end(), p.choices, p.choices + p.n_choices);
  return all;
}

class Rule {
 public:
  Rule(const attn_type& type, const attn_rule& rule) : type_(type), rule_(rule) {
    for (std::uint32_t i = 0; i < type.n_params; ++i) values_.push_back(sample(*type.params[i]));
  }

  // The two parameters of "a ({a}) must be divisible by b ({b})".
  [[nodiscard]] bool read_text() {
    for (std::uint32_t a = 0; a < type_.n_params; ++a)
      for (std::uint32_t b = 0; b < type_.n_params; ++b) {
        const std::string over = type_.params[a]->name, under = type_.params[b]->name;
        const bool integers =
            type_.params[a]->kind == ATTN_PARAM_INT && type_.params[b]->kind == ATTN_PARAM_INT;
        if (!integers || rule_.text != over + " ({" + over + "}) must be divisible by " + under +
                                           " ({" + under + "})")
          continue;
        a_ = a, b_ = b;
        return true;
      }
    return false;
  }

  // Whether it is kept where a divides by b, and only there.
  [[nodiscard]] bool is_division() {
    for (std::int64_t a = 1; a <= kMostTried; ++a)
      for (std::int64_t b = 1; b <= kMostTried; ++b)
        if (holds(a, b) != (a % b == 0)) return false;
    return true;
  }

  // The parameters that lift it with values other than their defaults.
  [[nodiscard]] std::vector<const attn_param*> lifted_by() {
    std::vector<const attn_param*> found;
    for (std::uint32_t i = 0; i < type_.n_params; ++i) {
      if (i == a_ || i == b_) continue;
      const Json before = values_[i];
      bool same = true;
      for (Json& other : others(*type_.params[i])) {
        values_[i] = std::move(other);
        same = same && is_division();
      }
      values_[i] = before;
      if (!same) found.push_back(type_.params[i]);
    }
    return found;
  }

  [[nodiscard]] const attn_param& over() const { return *type_.params[a_]; }
  [[nodiscard]] const attn_param& under() const { return *type_.params[b_]; }

 private:
  [[nodiscard]] bool holds(std::int64_t a, std::int64_t b) {
    values_[a_] = a;
    values_[b_] = b;
    ValueList list;
    for (std::uint32_t i = 0; i < type_.n_params; ++i) list.add(*type_.params[i], values_[i]);
    const cpu::FloatGuard arithmetic;
    return rule_.check(list.data(), rule_.user) != 0;
  }

  const attn_type& type_;
  const attn_rule& rule_;
  std::vector<Json> values_{};
  std::uint32_t a_ = 0, b_ = 0;
};

Json property(const char* name, Json value) { return {{"properties", {{name, std::move(value)}}}}; }

// a divides by b, for each b that is written down, and for the default.
Json division(const attn_param& a, const attn_param& b, Definitions& definitions) {
  Json all = Json::list({}), bad = Json::list({});
  const std::optional<std::int64_t> a_default = to_json(a, a.def).to_int64(),
                                    b_default = to_json(b, b.def).to_int64();
  for (std::int64_t k = 2; k <= kMostDivisor; ++k) {
    all.push_back(if_then(where(b, {{"const", k}}, false), property(a.name, {{"multipleOf", k}})));
    if (a_default && *a_default % k != 0) bad.push_back(k);
  }
  const Json written = definitions.refer(std::string(a.name) + "-by-" + b.name, {{"allOf", all}});
  Json rules = Json::list({written});
  if (b_default.value_or(1) > 1)
    rules.push_back(if_then(absent(b), property(a.name, {{"multipleOf", *b_default}})));
  if (!bad.empty())
    rules.push_back(if_then(absent(a), property(b.name, {{"not", {{"enum", bad}}}})));
  return rules.size() == 1 ? written : Json{{"allOf", rules}};
}

}  // namespace

std::optional<Json> rule_schema(const attn_type& type, const attn_rule& rule,
                                Definitions& definitions) {
  Rule trial(type, rule);
  if (!trial.read_text() || !trial.is_division()) return std::nullopt;
  const attn_param &a = trial.over(), &b = trial.under();
  const std::vector<const attn_param*> lifting = trial.lifted_by();
  const auto unclear = [](const attn_param* p) {
    return p->n_aliases > 0 || (p->flags & ATTN_PARAM_REQUIRED) != 0;
  };
  if (a.n_aliases + b.n_aliases > 0 || std::any_of(lifting.begin(), lifting.end(), unclear))
    return std::nullopt;
  Json schema = division(a, b, definitions);
  for (const attn_param* p : lifting)
    schema = if_then(where(*p, {{"const", to_json(*p, p->def)}}), std::move(schema));
  return schema;
}

}  // namespace attn::schema::json_schema
