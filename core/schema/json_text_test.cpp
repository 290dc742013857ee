// SPDX-License-Identifier: Apache-2.0
#include "core/schema/json_text.hpp"

#include <catch2/catch.hpp>

#include "core/error/error.hpp"

using attn::Json;
using attn::schema::parse_json;

TEST_CASE("json text: what dump writes is read back") {
  const char* texts[] = {"null",
                         "true",
                         "-0",
                         "18446744073709551616",
                         "1.50",
                         "\"\"",
                         "[]",
                         "{}",
                         R"({"a":[1,2.0,{"b":null}],"":false,"x\n\u0001\"\\":"y"})"};
  for (const char* text : texts) CHECK(parse_json(text).dump() == text);
  CHECK(parse_json(" [ 1 , \"\\u00e4\\ud83d\\ude00\\/\" ] ").dump() ==
        "[1,\"\xC3\xA4\xF0\x9F\x98\x80/\"]");
  CHECK(parse_json(std::string(64, '[') + std::string(64, ']')).is_list());
}

TEST_CASE("json text: faults are refused") {
  const char* texts[] = {"",
                         " ",
                         "{",
                         "[1",
                         "[1,]",
                         "[,1]",
                         "{\"a\"}",
                         "{\"a\":1,}",
                         "{a:1}",
                         "tru",
                         "1 2",
                         "01",
                         "1e400",
                         "\"a",
                         "\"\\q\"",
                         "\"\\u12\"",
                         "\"\\",
                         "\"\\ud800\"",
                         "\"\\ud800\\u0041\"",
                         "\"\n\"",
                         "{\"a\":1,\"a\":2}",
                         "NaN",
                         "\"\\u00g0\"",
                         "\"\\u\x10\x11\x12\x13\""};
  for (const char* text : texts) {
    INFO(text);
    CHECK_THROWS_AS(parse_json(text), attn::InvalidArgument);
  }
  CHECK_THROWS_AS(parse_json(std::string(100000, '[')), attn::InvalidArgument);
}
