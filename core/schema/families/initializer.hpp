// SPDX-License-Identifier: Apache-2.0
//
// Initializers by name: how a new weight is filled.
//
// Given as a name ("glorot_uniform", "GlorotUniform") or as {"class_name": NAME, "config": {...}}; the keys
// module and registered_name are allowed and ignored, so configurations of Keras read unchanged. Null means
// zeros. Every error is InvalidArgument. [any-thread]
#pragma once

#include "core/schema/families/family.hpp"

namespace attn::schema {

[[nodiscard]] const Family& initializers();

[[nodiscard]] InitializerSpec resolve_initializer(const Json& given);

// The full form that files carry: {"module", "class_name", "config" with every option, "registered_name"}.
// Null stays null.
[[nodiscard]] Json serialize_initializer(const Json& given);

[[nodiscard]] InitializerSpec constant(double value);

// A family's name and config out of a name or an object; shared by initializers and regularizers. Throws
// `Unknown initializer 'V'`, and for an object with other keys.
struct NamedSpec {
  const FamilyMember* member = nullptr;
  std::string name;
  Json config = Json::object();
};
[[nodiscard]] NamedSpec read_named(const Family& family, const char* unknown, const Json& given);

// The full form of a name or an object of a family. Class names are the second name in its table.
[[nodiscard]] Json serialize_named(const Family& family, const NamedSpec& spec, const char* module);

}  // namespace attn::schema
