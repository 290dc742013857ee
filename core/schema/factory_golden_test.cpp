// SPDX-License-Identifier: Apache-2.0
//
// What the factory accepts, refuses, logs and reports, to the letter: the golden files against the schemas of the
// twenty types.
#include <catch2/catch.hpp>
#include <fstream>
#include <sstream>

#include "core/schema/describe.hpp"
#include "core/schema/json_text.hpp"
#include "core/schema/testing_types.hpp"
#include "core/schema/validate.hpp"

namespace attn::schema {
namespace {

Json golden(const std::string& name) {
  std::ifstream file(std::string(ATTN_SOURCE_DIR) + "/tests/goldens/" + name, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  REQUIRE_FALSE(text.str().empty());
  return parse_json(text.str());
}

const attn_type& known_type(const std::string& id) {
  if (const attn_type* type = testing::find_type(id)) return *type;
  throw unknown_type(id, testing::type_names());
}

// "" when it is accepted, else the text.
std::string answer(const Json& entry) {
  try {
    if (entry.contains("api")) {
      const SplitConfig split = split_config(entry.at("config"));
      static_cast<void>(validate(known_type(split.type), split.parameters, split.name));
    } else {
      const Json* name = entry.find("name");
      static_cast<void>(validate(known_type(entry.at("type").as_string()), entry.at("config"),
                                 name == nullptr ? Json() : *name));
    }
  } catch (const InvalidArgument& error) {
    return error.what();
  }
  return "";
}

// Numbers by value, lists and objects by their elements.
bool same_values(const Json& a, const Json& b) {
  if (a.is_number() && b.is_number()) return a.to_double() == b.to_double();
  if (a.kind() != b.kind() || a.size() != b.size()) return false;
  if (a.is_list()) {
    for (std::size_t i = 0; i < a.size(); ++i) {
      if (!same_values(a.at(i), b.at(i))) return false;
    }
    return true;
  }
  if (!a.is_object()) return a == b;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a.as_object()[i].first != b.as_object()[i].first) return false;
    if (!same_values(a.as_object()[i].second, b.as_object()[i].second)) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("factory golden: every configuration is answered to the letter") {
  const Json entries = golden("factory.json");
  REQUIRE(entries.size() > 200);
  for (const Json& entry : entries.as_list()) {
    INFO(entry.dump());
    const Json& error = entry.at("error");
    CHECK(answer(entry) == (error.is_null() ? "" : error.as_string()));
  }
}

TEST_CASE("factory golden: log lines") {
  const Json entries = golden("factory_logs.json");
  REQUIRE(entries.size() >= 10);
  for (const Json& entry : entries.as_list()) {
    const std::string id = entry.at("type").as_string();
    std::string level = "INFO", line;
    try {
      const attn_type& type = known_type(id);
      const ValidatedConfig valid = validate(type, entry.at("config"), entry.at("name"));
      line = creating_line(type, valid.effective, entry.at("name"));
    } catch (const InvalidArgument& error) {
      level = "ERROR";
      line = failed_line(testing::find_type(id), id, entry.at("config"), error.what());
    }
    CHECK(level == entry.at("level").as_string());
    CHECK(line == entry.at("message").as_string());
  }
}

TEST_CASE("factory golden: information entries") {
  const Json entries = golden("factory_info.json");
  REQUIRE(entries.size() == 20);
  CHECK(entries.size() == testing::type_names().size());
  for (const Json::Member& entry : entries.as_object()) {
    INFO(entry.first);
    const Json info = info_entry(known_type(entry.first));
    for (const char* key :
         {"type", "class", "input_shape", "required_params", "optional_params", "aliases"}) {
      INFO(key << " " << info.at(key).dump());
      CHECK(same_values(info.at(key), entry.second.at(key)));
    }
    CHECK(info.size() == entry.second.size());
    for (const Json::Member& member : entry.second.as_object()) CHECK(info.contains(member.first));
  }
}

}  // namespace attn::schema
