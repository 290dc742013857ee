// SPDX-License-Identifier: Apache-2.0
//
// Parameters against the schema of a type. The rules, in this order; the first one broken is thrown as
// InvalidArgument with exactly its text:
//
//   1 the type is known                      (unknown_type: whoever owns the list of types)
//   2 the type has every parameter given
//   3 no parameter stands beside its alias
//   4 the required ones are there
//   5 each one by itself in schema order: kind, range, names; options of a family member: keys, kinds, ranges;
//     then score programs and mask rules, with what they capture
//   6 the rules between parameters, with defaults filled in
//   7 the layer's name
//
// details() carries type, parameter as the user wrote it (options: "probability_config.slope"), value, what was
// expected and a hint.
//
// Choices of an OPTIONS parameter say how its options are meant:
//   "flag=member"  while the bool parameter `flag` is true, they belong to that member of the family
//   "!axis"        the type sets the option `axis` itself: it is accepted and kept, its range does not count,
//                  and create() does not get it
//
// Nothing is changed but the result. [any-thread]
#pragma once

#include <attn/sdk/abi.h>

#include <string_view>

#include "core/error/error.hpp"
#include "core/schema/json.hpp"
#include "core/schema/text.hpp"
#include "core/schema/value.hpp"

namespace attn::schema {

struct ValidatedConfig {
  Json effective = Json::
      object();  // every parameter, extensions where given; first names, schema order, values as given
  ValueList values;  // the same for create()
};

// parameters: an object; name: of the layer, null or "" for an automatic one; plugin: the file that the type is from.
// Failure: a rule of the type throws.
[[nodiscard]] ValidatedConfig validate(const attn_type& type, const Json& parameters,
                                       const Json& name = nullptr, std::string_view plugin = {});

// Rule 1: `Unknown attention type 'X'`.
[[nodiscard]] InvalidArgument unknown_type(std::string_view given, const Names& known);

// A whole configuration taken apart; throws `Configuration must be a dictionary`, `Configuration must include a
// 'type' key`, `Configuration key 'type' must be a string`, or what is wrong with `$require`. `$schema` is left out.
struct SplitConfig {
  std::string type;
  Json name;
  Json parameters;
  std::vector<std::string> require;  // claims: `$require`
};
[[nodiscard]] SplitConfig split_config(const Json& config);

// effective with initializers and regularizers in their full form, as files carry them.
[[nodiscard]] Json serialized(const attn_type& type, const Json& effective);

// The parameters of a type: required ones first, otherwise as they are declared.
[[nodiscard]] std::vector<const attn_param*> ordered_params(const attn_type& type);

}  // namespace attn::schema
