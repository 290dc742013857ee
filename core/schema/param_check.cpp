// SPDX-License-Identifier: Apache-2.0
#include "core/schema/param_check.hpp"

#include <algorithm>
#include <cmath>

#include "core/error/error.hpp"
#include "core/schema/families/activation.hpp"
#include "core/schema/families/initializer.hpp"
#include "core/schema/families/norm.hpp"
#include "core/schema/families/probability.hpp"
#include "core/schema/families/regularizer.hpp"
#include "core/schema/value.hpp"
#include "core/schema/value_kind.hpp"

namespace attn::schema {
namespace {

bool has(const attn_param& param, std::uint32_t flag) { return (param.flags & flag) != 0; }

Names choices_of(const attn_param& param) {
  return {param.choices, param.choices + param.n_choices};
}

bool is_choice(const attn_param& param, std::string_view text) {
  return std::any_of(param.choices, param.choices + param.n_choices,
                     [&](const char* c) { return text == c; });
}

class Check {
 public:
  Check(const attn_param& param, std::string_view name, const Json& value)
      : param_(param), name_(name), value_(value) {}

  void run() const {
    if (value_.is_null() && is_nullable(param_)) return;
    switch (param_.kind) {
      case ATTN_PARAM_BOOL:
        return require_kind(value_.is_bool());
      case ATTN_PARAM_INT:
      case ATTN_PARAM_SEED:
        require_kind(value_.is_integer());
        return integer(value_);
      case ATTN_PARAM_REAL:
        require_kind(is_number(value_));
        return real(value_);
      case ATTN_PARAM_TEXT:
        return text();
      case ATTN_PARAM_INTS:
        require_kind(value_.is_list() && all([](const Json& x) { return x.is_integer(); }));
        return each(&Check::integer);
      case ATTN_PARAM_REALS:
        require_kind(value_.is_list() && all(is_number));
        return each(&Check::real);
      case ATTN_PARAM_INT_OR_PAIR: {
        const bool pair = value_.is_list() &&
                          (value_.size() == 2 || (takes_three(param_) && value_.size() == 3)) &&
                          all([](const Json& x) { return x.is_integer(); });
        require_kind(pair || value_.is_integer());
        return pair ? each(&Check::integer) : integer(value_);
      }
      case ATTN_PARAM_PROBABILITY:
        require_kind(value_.is_string());
        static_cast<void>(find_probability(value_.as_string()));
        return;
      case ATTN_PARAM_NORM:
        return norm();
      case ATTN_PARAM_ACTIVATION:
        require_kind(value_.is_string());
        static_cast<void>(find_activation(value_.as_string()));
        return;
      case ATTN_PARAM_INITIALIZER:
        named();
        static_cast<void>(resolve_initializer(value_));
        return;
      case ATTN_PARAM_REGULARIZER:
        named();
        static_cast<void>(resolve_regularizer(value_));
        return;
      case ATTN_PARAM_OPTIONS:
        require_kind(value_.is_object());
        return;
      default:
        fail("is of a kind that this version does not know");
    }
  }

 private:
  static bool is_number(const Json& x) { return x.is_number() && std::isfinite(x.to_double()); }

  [[noreturn]] void fail(const std::string& complaint) const {
    ErrorDetails details;
    if (complaint.rfind("must ", 0) == 0) {
      details.expected = complaint.substr(complaint.rfind("must be ", 0) == 0 ? 8 : 5);
    }
    if (param_.kind == ATTN_PARAM_TEXT && value_.is_string()) {
      details.hint = did_you_mean(value_.as_string(), choices_of(param_));
    }
    throw InvalidArgument("Parameter '" + std::string(name_) + "' " + complaint,
                          std::move(details));
  }

  void require(bool holds, const std::string& complaint) const {
    if (!holds) fail(complaint);
  }
  void require_kind(bool holds) const {
    require(holds,
            std::string("must be ") + kind_text(param_) + (is_nullable(param_) ? " or null" : ""));
  }

  template <class Predicate>
  [[nodiscard]] bool all(Predicate predicate) const {
    return std::all_of(value_.as_list().begin(), value_.as_list().end(), predicate);
  }

  void each(void (Check::*check)(const Json&) const) const {
    for (const Json& element : value_.as_list()) (this->*check)(element);
  }

  void integer(const Json& x) const {
    if (param_.kind == ATTN_PARAM_SEED) {
      require(x.sign() >= 0, "must not be negative");
      require(x.to_uint64().has_value(), "must be below 2^64");
      return;
    }
    const auto exact = x.to_int64();
    // Beyond 64 bits the sign decides on which side of every bound the number lies.
    const auto compare = [&](const attn_value& bound) {
      if (!exact) return x.sign();
      return *exact < bound.u.i ? -1 : *exact > bound.u.i ? 1 : 0;
    };
    range(compare);
    if (!exact) fail(x.sign() > 0 ? "must be below 2^63" : "must be at least -2^63");
    if (has(param_, ATTN_PARAM_ODD)) require(x.is_odd(), "must be odd");
  }

  void real(const Json& x) const {
    range([&](const attn_value& bound) {
      const double limit = as_double(bound), given = x.to_double();
      return given < limit ? -1 : given > limit ? 1 : 0;
    });
  }

  static double as_double(const attn_value& bound) {
    return bound.kind == ATTN_VALUE_I64 ? static_cast<double>(bound.u.i) : bound.u.f;
  }

  // A bound as it is printed: 0.0 beside reals, 1 beside integers.
  [[nodiscard]] std::string printed(const attn_value& bound) const {
    const bool is_real = param_.kind == ATTN_PARAM_REAL || param_.kind == ATTN_PARAM_REALS;
    return is_real ? shortest(as_double(bound)) : std::to_string(bound.u.i);
  }

  // compare(bound): the sign of value - bound. A closed interval is reported before its open ends.
  template <class Compare>
  void range(Compare compare) const {
    const bool has_min = has(param_, ATTN_PARAM_HAS_MIN), has_max = has(param_, ATTN_PARAM_HAS_MAX);
    const bool open_min = has(param_, ATTN_PARAM_EXCLUSIVE_MIN),
               open_max = has(param_, ATTN_PARAM_EXCLUSIVE_MAX);
    const int above = has_min ? compare(param_.min) : 1, below = has_max ? compare(param_.max) : -1;
    if (has_min && has_max) {
      require(above >= 0 && below <= 0,
              "must be between " + printed(param_.min) + " and " + printed(param_.max));
      require(!open_min || above > 0, "must be greater than " + printed(param_.min));
      require(!open_max || below < 0, "must be less than " + printed(param_.max));
      return;
    }
    if (has_min) {
      const bool zero = as_double(param_.min) == 0.0;
      const bool one = param_.kind != ATTN_PARAM_REAL && param_.kind != ATTN_PARAM_REALS &&
                       !open_min && as_double(param_.min) == 1.0;
      const bool holds = open_min ? above > 0 : above >= 0;
      if ((zero && open_min) || one) return require(holds, "must be positive");
      if (zero) return require(holds, "must not be negative");
      require(holds,
              (open_min ? "must be greater than " : "must be at least ") + printed(param_.min));
    }
    if (has_max) {
      require(open_max ? below < 0 : below <= 0,
              (open_max ? "must be less than " : "must be at most ") + printed(param_.max));
    }
  }

  void text() const {
    if (param_.n_choices == 0) {
      require_kind(value_.is_string());
      require(value_.as_string().find('\0') == std::string::npos, "must not hold a NUL character");
      return;
    }
    require(value_.is_string() && is_choice(param_, value_.as_string()),
            "must be one of " + name_list(choices_of(param_)));
  }

  void norm() const {
    require_kind(value_.is_string());
    const std::string& name = value_.as_string();
    if (is_choice(param_, name)) return;
    // The short names exist only for types that list them.
    const FamilyMember* member = norms().find(name);
    if (member == nullptr || !member->extra) {
      static_cast<void>(find_norm(name));
      return;
    }
    ErrorDetails details;
    details.hint = did_you_mean(name + "_norm", norms().names());
    throw InvalidArgument("Unknown normalization type '" + name + "'", std::move(details));
  }

  // A name, or an object that at least says which class.
  void named() const {
    const Json* class_name = value_.find("class_name");
    const bool object = value_.is_object() && class_name != nullptr && class_name->is_string();
    require_kind(object || value_.is_string());
  }

  const attn_param& param_;
  std::string_view name_;
  const Json& value_;
};

}  // namespace

bool is_nullable(const attn_param& param) {
  return has(param, ATTN_PARAM_NULLABLE) || param.kind == ATTN_PARAM_ACTIVATION ||
         param.kind == ATTN_PARAM_OPTIONS;
}

void check_param(const attn_param& param, std::string_view name, const Json& value) {
  Check(param, name, value).run();
}

}  // namespace attn::schema
