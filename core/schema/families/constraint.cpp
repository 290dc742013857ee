// SPDX-License-Identifier: Apache-2.0
#include "core/schema/families/constraint.hpp"

#include <limits>

#include "core/error/error.hpp"
#include "core/schema/families/initializer.hpp"

namespace attn::schema {

const Family& constraints() {
  static const Family family{
      "Constraint",
      "constraint",
      false,
      {{"value_range_constraint",
        {"ValueRangeConstraint"},
        0,
        {{"min_value", OptionKind::real, Range::any, "null", false, {}, true},
         {"max_value", OptionKind::real, Range::any, "null", true},
         {"clip_gradients", OptionKind::boolean, Range::any, "false"}}}}};
  return family;
}

std::optional<std::pair<double, double>> resolve_constraint(const Json& given) {
  if (given.is_null()) return std::nullopt;
  if (!given.is_object()) {
    ErrorDetails details;
    details.value = given.brief();
    details.expected = "null or an object of class ValueRangeConstraint";
    throw InvalidArgument(
        "Constraint " + given.brief() + " is not supported, expected " + details.expected, details);
  }
  const NamedSpec spec = read_named(constraints(), "Unknown constraint", given);
  const Options options(constraints(), *spec.member, spec.name, spec.config);
  const Json max = options.value("max_value");
  const double low = options.real("min_value");
  const double high = max.is_null() ? std::numeric_limits<double>::infinity() : max.to_double();
  if (high < low) options.fail("max_value", "must not be below min_value");
  return std::make_pair(low, high);
}

}  // namespace attn::schema
