// SPDX-License-Identifier: Apache-2.0
//
// JSON Schema 2020-12 of configurations, from the schemas of types: for editors and for checks without the library.
//
// It says what core/schema/validate.hpp checks, but for what the standard has no words for: 8.0 where an integer is
// wanted (the standard calls it one), rules between parameters that are no division (functions of the type), divisions
// by more than 64, which of two options is the larger one, axes that are the same with another sign, and claims that
// hold for some configurations of a type alone. Nothing that the library takes is refused.
//
// The same types give the same text, byte for byte. [any-thread]
#pragma once

#include <attn/sdk/abi.h>

#include <span>

#include "core/schema/json.hpp"
#include "core/schema/text.hpp"

namespace attn::schema {

struct SchemaType {
  const attn_type* type = nullptr;
  Names claims{};  // what "$require" may ask of it
};

// Of a file: a configuration of one of the types, or an object that has one under "attention". Each layer has its type,
// its name, "$schema", "$require" and the parameters with their descriptions and defaults. "$comment" counts the rules
// that are not said, and lists them beside each type.
[[nodiscard]] Json config_schema(std::span<const SchemaType> types);

}  // namespace attn::schema
