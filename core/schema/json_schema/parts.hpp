// SPDX-License-Identifier: Apache-2.0
//
// Pieces that a JSON Schema is built from: names of parameters in conditions, and the definitions that several types
// refer to. One thread.
#pragma once

#include <attn/sdk/abi.h>

#include <limits>
#include <string>

#include "core/schema/families/family.hpp"
#include "core/schema/json.hpp"

namespace attn::schema::json_schema {

inline const Json kLowest = std::numeric_limits<std::int64_t>::min();
inline const Json kHighest = std::numeric_limits<std::int64_t>::max();
inline const Json kLargestSeed = std::numeric_limits<std::uint64_t>::max();

// {"enum": [names]}
[[nodiscard]] Json one_of(const Names& names);
// The same, or null.
[[nodiscard]] Json or_null(Json schema);
// Names of a parameter: the first one, then its aliases.
[[nodiscard]] Names spellings(const attn_param& param);
// What a parameter has to be, by whichever name it is given; absent is right.
[[nodiscard]] Json where(const attn_param& param, const Json& value);
// The same, for `if`: absent is right only where by_default says that the default is meant.
[[nodiscard]] Json where(const attn_param& param, const Json& value, bool by_default);
[[nodiscard]] Json given(const attn_param& param);
[[nodiscard]] Json absent(const attn_param& param);
[[nodiscard]] Json if_then(Json condition, Json consequence);

// What stands under "$defs".
class Definitions {
 public:
  // {"$ref": ...} to this schema: to the one that is there already, else under that name, with a number where another
  // one has it.
  Json refer(const std::string& name, const Json& schema);
  Json initializer();
  Json regularizer();
  // What may stand in the options of one member: an object, or null where none is required. axis_is_forced: the type
  // sets it, so that its range does not count.
  // key: of an object that names the member itself.
  Json options(const Family& family, const FamilyMember& member, bool axis_is_forced = false,
               const char* key = nullptr);

  [[nodiscard]] const Json& all() const noexcept { return all_; }

 private:
  Json option(const Family& family, const Option& option, bool axis_is_forced);
  Json named(const Family& family, const char* text);

  Json all_ = Json::object();
};

}  // namespace attn::schema::json_schema
