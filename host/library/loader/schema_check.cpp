// SPDX-License-Identifier: Apache-2.0
#include "host/library/loader/schema_check.hpp"

#include <cmath>
#include <cstring>
#include <set>

#include "core/schema/families/program.hpp"
#include "core/schema/families/rotary.hpp"
#include "core/schema/value_kind.hpp"

namespace attn::loader {
namespace {

enum class Domain { none, integer, real };

Domain domain(uint32_t kind) {
  switch (kind) {
    case ATTN_PARAM_INT:
    case ATTN_PARAM_INTS:
    case ATTN_PARAM_INT_OR_PAIR:
    case ATTN_PARAM_SEED:
      return Domain::integer;
    case ATTN_PARAM_REAL:
    case ATTN_PARAM_REALS:
      return Domain::real;
    default:
      return Domain::none;
  }
}

bool kind_fits(uint32_t kind, const attn_value& v) {
  const bool pair = kind == ATTN_PARAM_INT_OR_PAIR;
  if (v.kind == schema::value_kind(kind))
    return kind == ATTN_PARAM_BOOL ? v.u.i == 0 || v.u.i == 1 : !pair || v.count == 2;
  return (v.kind == ATTN_VALUE_I64 && pair) ||
         (v.kind == ATTN_VALUE_OBJECT &&
          (kind == ATTN_PARAM_INITIALIZER || kind == ATTN_PARAM_REGULARIZER));
}

// Null means something by itself for these kinds, whatever the flag says.
bool null_fits(const attn_param& p) {
  return (p.flags & ATTN_PARAM_NULLABLE) != 0 || p.kind == ATTN_PARAM_ACTIVATION ||
         p.kind == ATTN_PARAM_OPTIONS;
}

class ParamCheck {
 public:
  ParamCheck(std::string where, const attn_param& p, Problems& problems)
      : where_(std::move(where)), p_(p), problems_(problems) {}

  void run(ParamsOf of) {
    if (p_.kind < ATTN_PARAM_BOOL || p_.kind > ATTN_PARAM_OPTIONS) {
      return add("kind " + std::to_string(p_.kind) + " is unknown");
    }
    if (!is_text(p_.doc)) add("doc is not a text");
    if (of == ParamsOf::op && p_.kind > ATTN_PARAM_REALS) {
      add("an attribute of an operator cannot be of this kind");
    }
    names();
    bounds();
    default_value();
  }

 private:
  void add(const std::string& what) { problems_.push_back(where_ + ": " + what); }

  void names() {
    if (p_.n_choices > kMaxElements || (p_.n_choices > 0 && p_.choices == nullptr)) {
      add("choices are missing");
      choices_ok_ = false;
    }
    std::set<std::string> seen;
    for (uint32_t i = 0; choices_ok_ && i < p_.n_choices; ++i) {
      if (!is_text(p_.choices[i])) return add("a choice is not a text");
      if (!seen.insert(p_.choices[i]).second) add("choice " + quoted(p_.choices[i]) + " twice");
    }
  }

  void bounds() {
    const bool has_min = (p_.flags & ATTN_PARAM_HAS_MIN) != 0;
    const bool has_max = (p_.flags & ATTN_PARAM_HAS_MAX) != 0;
    const Domain of = domain(p_.kind);
    if ((p_.flags & ATTN_PARAM_EXCLUSIVE_MIN) != 0 && !has_min) add("EXCLUSIVE_MIN without a min");
    if ((p_.flags & ATTN_PARAM_EXCLUSIVE_MAX) != 0 && !has_max) add("EXCLUSIVE_MAX without a max");
    if ((p_.flags & ATTN_PARAM_ODD) != 0 && of != Domain::integer) add("only integers can be odd");
    if (!has_min && !has_max) return;
    if (of == Domain::none) return add("this kind has no range");
    min_ = has_min ? number(p_.min, "min") : -INFINITY;
    max_ = has_max ? number(p_.max, "max") : INFINITY;
    if (std::isnan(min_) || std::isnan(max_)) return;
    const bool open = (p_.flags & (ATTN_PARAM_EXCLUSIVE_MIN | ATTN_PARAM_EXCLUSIVE_MAX)) != 0;
    if (min_ > max_ || (open && min_ == max_)) add("its range is empty");
  }

  // NaN, and a problem, when it is not a number of the parameter's domain.
  double number(const attn_value& v, const char* which) {
    if (v.kind == ATTN_VALUE_I64) return static_cast<double>(v.u.i);
    if (v.kind == ATTN_VALUE_F64 && domain(p_.kind) == Domain::real && !std::isnan(v.u.f)) {
      return v.u.f;
    }
    add(std::string(which) + " is not a number of the parameter's kind");
    return NAN;
  }

  void default_value() {
    const attn_value& v = p_.def;
    if ((p_.flags & ATTN_PARAM_REQUIRED) != 0) {
      if (v.kind != ATTN_NULL) add("is required and has a default");
      if ((p_.flags & ATTN_PARAM_EXTENSION) != 0) add("is required and an extension");
      return;
    }
    if (v.kind == ATTN_NULL) {
      if (!null_fits(p_)) add("default null, but it is not nullable");
      return;
    }
    if (!kind_fits(p_.kind, v)) return add("default is of another kind than the parameter");
    if (v.kind == ATTN_VALUE_STR || v.kind == ATTN_VALUE_OBJECT) {
      if (!is_text(v.u.s)) return add("default is not a text");
      if (p_.kind == ATTN_PARAM_TEXT) text_default(v.u.s);
      return;
    }
    if (v.count > kMaxElements) return add("default is an absurdly long list");
    if (v.kind == ATTN_VALUE_I64) number_default(static_cast<double>(v.u.i), v.u.i);
    if (v.kind == ATTN_VALUE_F64) number_default(v.u.f, 1);
    const bool list = v.kind == ATTN_VALUE_I64S || v.kind == ATTN_VALUE_F64S;
    if (list && v.count > 0 && v.u.is == nullptr) return add("default is a list without elements");
    for (uint32_t i = 0; list && i < v.count; ++i) {
      if (v.kind == ATTN_VALUE_I64S) number_default(static_cast<double>(v.u.is[i]), v.u.is[i]);
      if (v.kind == ATTN_VALUE_F64S) number_default(v.u.fs[i], 1);
    }
  }

  void text_default(const char* text) {
    bool found = p_.n_choices == 0 || !choices_ok_;
    for (uint32_t i = 0; !found && i < p_.n_choices; ++i) {
      found = p_.choices[i] != nullptr && std::strcmp(p_.choices[i], text) == 0;
    }
    if (!found) add("default " + quoted(text) + " is not among its choices");
  }

  void number_default(double x, int64_t parity) {
    if (p_.kind == ATTN_PARAM_SEED) return;  // the bits of an unsigned number
    if (!std::isfinite(x)) return add("default is not finite");
    const bool low = (p_.flags & ATTN_PARAM_EXCLUSIVE_MIN) != 0 ? x <= min_ : x < min_;
    const bool high = (p_.flags & ATTN_PARAM_EXCLUSIVE_MAX) != 0 ? x >= max_ : x > max_;
    if (low || high) add("default is outside its range");
    if ((p_.flags & ATTN_PARAM_ODD) != 0 && parity % 2 == 0) add("default is not odd");
  }

  std::string where_;
  const attn_param& p_;
  Problems& problems_;
  bool choices_ok_ = true;
  double min_ = -INFINITY, max_ = INFINITY;
};

}  // namespace

bool check_array(const std::string& where, const void* array, uint32_t count, uint32_t struct_size,
                 Problems& problems) {
  if (count > kMaxElements) {
    problems.push_back(where + ": " + std::to_string(count) + " elements are absurd");
    return false;
  }
  if (count > 0 && array == nullptr) {
    problems.push_back(where + ": the array is NULL");
    return false;
  }
  const auto* elements = static_cast<const uint32_t* const*>(array);
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t* element = elements[i];
    if (element == nullptr || *element < struct_size) {
      problems.push_back(where + "[" + std::to_string(i) + "] " +
                         (element == nullptr ? std::string("is NULL")
                                             : "has struct_size " + std::to_string(*element) +
                                                   ", less than " + std::to_string(struct_size)));
      return false;
    }
  }
  return true;
}

void check_params(const std::string& where, const attn_param* const* params, uint32_t count,
                  ParamsOf of, Problems& problems) {
  const char* noun = of == ParamsOf::type   ? "parameter "
                     : of == ParamsOf::call ? "argument "
                                            : "attribute ";
  if (!check_array(where + ": " + noun + "list", params, count,
                   offsetof(attn_param, of) + sizeof(char*), problems)) {
    return;
  }
  std::set<std::string> names;
  bool optional_seen = false;
  const auto claim = [&](const std::string& at, const char* name) {
    if (!is_identifier(name)) {
      problems.push_back(at + ": the name " + quoted(name) + " is not an identifier");
    } else if (of == ParamsOf::type &&
               (std::strcmp(name, "type") == 0 || std::strcmp(name, "name") == 0)) {
      problems.push_back(at + ": the name " + quoted(name) +
                         " belongs to the configuration itself");
    } else if (!names.insert(name).second) {
      problems.push_back(at + ": the name " + quoted(name) + " is used twice");
    }
  };
  for (uint32_t i = 0; i < count; ++i) {
    const attn_param& p = *params[i];
    const std::string at =
        where + ": " + noun + (is_text(p.name) ? quoted(p.name) : std::to_string(i));
    claim(at, p.name);
    if (p.n_aliases > kMaxElements || (p.n_aliases > 0 && p.aliases == nullptr)) {
      problems.push_back(at + ": aliases are missing");
    } else {
      for (uint32_t a = 0; a < p.n_aliases; ++a) claim(at, p.aliases[a]);
    }
    const bool required = (p.flags & ATTN_PARAM_REQUIRED) != 0;
    if (required && optional_seen && of != ParamsOf::op) {
      problems.push_back(at + ": is required and stands behind an optional one");
    }
    optional_seen = optional_seen || !required;
    // Options are read after the parameter they belong to.
    bool known = p.of == nullptr || schema::names_itself(p) || schema::is_captures(p) ||
                 schema::is_program(p) || schema::takes_three(p);
    for (uint32_t j = 0; !known && j < i; ++j) {
      known = params[j]->name != nullptr && std::strcmp(params[j]->name, p.of) == 0;
    }
    if (!known) problems.push_back(at + ": no parameter " + quoted(p.of) + " stands before it");
    ParamCheck(at, p, problems).run(of);
  }
}

}  // namespace attn::loader
