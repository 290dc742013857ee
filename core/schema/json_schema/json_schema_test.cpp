// SPDX-License-Identifier: Apache-2.0
//
// The JSON Schema of the twenty types as a text; tests/python/test_schema.py holds it against the checks.
#include "core/schema/json_schema/json_schema.hpp"

#include <catch2/catch.hpp>

#include "core/schema/json_text.hpp"
#include "core/schema/testing_types.hpp"

namespace attn::schema {
namespace {

Json schema_of(const Names& names) {
  std::vector<SchemaType> types;
  for (const std::string& name : names)
    types.push_back({testing::find_type(name), {"causal", "invariant(key)"}});
  return config_schema(types);
}

// Every "$ref" leads to a definition. The number of them.
int check_references(const Json& part, const Json& definitions) {
  int n = 0;
  if (part.is_list())
    for (const Json& element : part.as_list()) n += check_references(element, definitions);
  if (!part.is_object()) return n;
  for (const Json::Member& member : part.as_object()) {
    n += check_references(member.second, definitions);
    if (member.first != "$ref") continue;
    INFO(member.second.as_string());
    CHECK(member.second.as_string().starts_with("#/$defs/"));
    CHECK(definitions.contains(member.second.as_string().substr(8)));
    ++n;
  }
  return n;
}

}  // namespace

TEST_CASE("json schema: JSON, the same every time, references that lead somewhere") {
  const Json schema = schema_of(testing::type_names());
  CHECK(parse_json(schema.dump(1)) == schema);
  CHECK(schema_of(testing::type_names()).dump() == schema.dump());
  CHECK(check_references(schema, schema.at("$defs")) > 100);
  const Json none = config_schema({});
  CHECK(none.at("$defs").at("layer").at("properties").at("type").at("enum").empty());
  CHECK_FALSE(none.at("$defs").at("layer").contains("allOf"));  // a list of none is no schema
}

TEST_CASE("json schema: parameters in the order of the type, with their words") {
  const Json type = schema_of({"group_query"}).at("$defs").at("type-group_query");
  const Json& properties = type.at("properties");
  Names names;
  for (const Json::Member& member : properties.as_object()) names.push_back(member.first);
  names.resize(8);
  CHECK(names == Names{"type", "name", "$schema", "$require", "dim", "num_heads", "num_kv_heads",
                       "max_seq_len"});
  CHECK(type.at("required") == Json(Names{"dim", "num_heads", "num_kv_heads"}));
  CHECK(properties.at("type").at("const") == Json("group_query"));
  CHECK(properties.at("dim").at("exclusiveMinimum") == Json(0));
  CHECK(properties.at("max_seq_len").at("default") == Json(2048));
  CHECK(properties.at("$require").at("items").at("enum").at(1) == Json("invariant(key)"));
  CHECK(type.at("additionalProperties") == Json(false));
}

TEST_CASE("json schema: rules are said where their function is a division and nothing else") {
  const auto comment = [](const char* type) {
    return schema_of({type}).at("$comment").as_string();
  };
  CHECK(comment("multi_head").starts_with("0 of 1 rules"));
  CHECK(comment("multi_head_cross").starts_with("1 of 2 rules"));
  CHECK(comment("performer").starts_with("1 of 2 rules"));
  // The one of gated is lifted by head_dim: it is said for the default alone.
  CHECK(comment("gated").starts_with("0 of 2 rules"));
  const Json rules = schema_of({"gated"}).at("$defs").at("type-gated").at("allOf");
  bool found = false;
  for (const Json& rule : rules.as_list())
    found = found || (rule.contains("if") && rule.at("if").at("properties").contains("head_dim") &&
                      rule.at("if").at("properties").at("head_dim").at("const").is_null());
  CHECK(found);

  // A function that does not do what its text says.
  attn_type lying = *testing::find_type("multi_head");
  const attn_rule rule{sizeof(attn_rule), 0, lying.rules[0]->text,
                       [](const attn_value*, const void*) { return 1; }, nullptr};
  const attn_rule* const list[] = {&rule};
  lying.rules = list;
  const SchemaType one{&lying, {}};
  CHECK(config_schema({&one, 1}).at("$comment").as_string().starts_with("1 of 1 rules"));
}

}  // namespace attn::schema
