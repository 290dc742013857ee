// SPDX-License-Identifier: Apache-2.0
#include "core/schema/families/component.hpp"

#include "core/error/error.hpp"
#include "core/schema/families/activation.hpp"
#include "core/schema/families/initializer.hpp"
#include "core/schema/families/norm.hpp"
#include "core/schema/families/probability.hpp"
#include "core/schema/families/regularizer.hpp"
#include "core/schema/json_text.hpp"

namespace attn::schema {
namespace {

// A name, or the JSON text of an object.
Json name_or_object(const char* text) {
  if (text == nullptr) return {};
  return text[0] == '{' ? parse_json(text) : Json(text);
}

Json json_of_text(const attn_value& value) {
  if (value.kind == ATTN_VALUE_STR) return Json(value.u.s);
  if (value.kind == ATTN_VALUE_OBJECT) return parse_json(value.u.s);
  if (value.kind == ATTN_NULL) return {};
  throw InvalidArgument("A name, an object or null was expected, the value is of kind " +
                        std::to_string(value.kind));
}

}  // namespace

Component make_component(const attn_component_spec& spec) {
  const std::string_view family = spec.family == nullptr ? "" : spec.family;
  const std::string_view site = spec.site == nullptr ? "" : spec.site;
  const Json options = spec.options == nullptr ? Json() : parse_json(spec.options);
  if (family == "regularizer")
    return regularizer_component(resolve_regularizer(name_or_object(spec.name)));
  const Json name = spec.name == nullptr ? Json() : Json(spec.name);
  if (family == "norm") return norm_component(resolve_norm(name, options), spec.input, site);
  if (family == "activation") {
    return activation_component(resolve_activation(name, options), spec.input, site);
  }
  if (family == "probability") {
    if (name.is_null()) throw InvalidArgument("A probability type must have a name");
    return probability_component(resolve_probability(name.as_string(), options));
  }
  throw InvalidArgument("There is no family of components '" + std::string(family) +
                        "', expected norm, probability, activation or regularizer");
}

InitializerSpec initializer_of(const attn_value& value) {
  if (value.kind == ATTN_VALUE_F64) return constant(value.u.f);
  if (value.kind == ATTN_VALUE_I64) return constant(static_cast<double>(value.u.i));
  return resolve_initializer(json_of_text(value));
}

RegularizerSpec regularizer_of(const attn_value& value) {
  return resolve_regularizer(json_of_text(value));
}

}  // namespace attn::schema
