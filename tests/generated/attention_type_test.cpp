// SPDX-License-Identifier: Apache-2.0
//
// The generated list of types against the plugins that the running library finds.
#include <attn/attention_type.hpp>
#include <attn/factory.hpp>

#include <algorithm>
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "tests/generated/library_types.hpp"

TEST_CASE("attention_type: exactly the types of the plugins built with the library, in order") {
  std::vector<std::string> names;
  for (const attn::AttentionType type : attn::kAttentionTypes) names.emplace_back(to_string(type));
  CHECK(names == library_types());
  CHECK(std::is_sorted(names.begin(), names.end()));
}

TEST_CASE("attention_type: names and values convert both ways") {
  REQUIRE(!library_types().empty());
  for (const std::string& name : library_types())
    CHECK(to_string(attn::attention_type_from_string(name)) == name);
}

TEST_CASE("attention_type: another name is refused with the factory's text") {
  for (const std::string name : {"no_such_type", "", "Multi_Head"}) {
    std::string factory, here;
    try {
      attn::validate_attention_config(name, attn::Json::object());
    } catch (const attn::InvalidArgument& e) {
      factory = e.what();
    }
    try {
      static_cast<void>(attn::attention_type_from_string(name));
    } catch (const attn::InvalidArgument& e) {
      here = e.what();
      CHECK(e.details().value == name);
    }
    CHECK(!here.empty());
    CHECK(here == factory);
  }
}
