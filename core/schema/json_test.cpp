// SPDX-License-Identifier: Apache-2.0
#include "core/schema/json.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "core/error/error.hpp"

using attn::InvalidArgument;
using attn::Json;

TEST_CASE("json: built from C++ values") {
  const Json config = {{"dim", 512},
                       {"rate", 0.1},
                       {"on", true},
                       {"name", "softmax"},
                       {"none", nullptr},
                       {"pair", std::vector<int>{3, 5}},
                       {"mixed", Json::list({1, "a", nullptr})},
                       {"nested", {{"class_name", "L2"}, {"config", {{"l2", 0.5}}}}},
                       {"maybe", std::optional<int>()}};
  CHECK(
      config.dump() ==
      R"({"dim":512,"rate":0.1,"on":true,"name":"softmax","none":null,"pair":[3,5],"mixed":[1,"a",null],)"
      R"("nested":{"class_name":"L2","config":{"l2":0.5}},"maybe":null})");
  CHECK(config.at("dim").is_integer());
  CHECK(config.at("rate").is_floating());
  CHECK(config.find("absent") == nullptr);
  CHECK(Json(std::vector<bool>{true, false}).dump() == "[true,false]");
  const Json one = {{"a", "b"}};
  CHECK(one.dump() == R"({"a":"b"})");
  CHECK(Json(std::numeric_limits<std::uint64_t>::max()).number_text() == "18446744073709551615");
  CHECK(Json(std::numeric_limits<std::int64_t>::min()).to_int64() ==
        std::numeric_limits<std::int64_t>::min());
  CHECK(Json::object().dump() == "{}");
  CHECK(Json{{"a", Json::list({})}}.dump(2) == "{\n  \"a\": []\n}");
  CHECK(Json{{"a", 1}, {"b", std::vector<int>{1, 2}}}.dump(1) ==
        "{\n \"a\": 1,\n \"b\": [\n  1,\n  2\n ]\n}");
}

TEST_CASE("json: keys are refused as duplicates, kept in order, replaced in place") {
  CHECK_THROWS_AS((Json{{"a", 1}, {"b", 2}, {"a", 3}}), InvalidArgument);
  Json object = {{"z", 1}, {"a", 2}};
  object.set("z", 3);
  object.set("m", 4);
  CHECK(object.dump() == R"({"z":3,"a":2,"m":4})");
  CHECK(object.erase("a"));
  CHECK_FALSE(object.erase("a"));
  CHECK(object == Json{{"m", 4}, {"z", 3}});
  CHECK_THROWS_AS(object.as_list(), InvalidArgument);
  CHECK_THROWS_AS(object.at("none"), InvalidArgument);
  CHECK_THROWS_AS(Json::list({1}).at(1), InvalidArgument);
}

TEST_CASE("json: numbers keep their text and know their kind") {
  CHECK(Json::number("1").is_integer());
  CHECK(Json::number("1.0").is_floating());
  CHECK(Json::number("1e3").is_floating());
  CHECK(Json::number("1e3").dump() == "1e3");
  CHECK(Json::number("9007199254740993").to_int64() == 9007199254740993);
  CHECK(Json::number("18446744073709551615").to_uint64() == 18446744073709551615u);
  CHECK_FALSE(Json::number("18446744073709551616").to_uint64());
  CHECK_FALSE(Json::number("-9223372036854775809").to_int64());
  CHECK_FALSE(Json::number("-1").to_uint64());
  CHECK_FALSE(Json::number("1.0").to_int64());
  CHECK(Json::number("-0").to_int64() == 0);
  CHECK(Json::number("-0").to_uint64() == 0u);
  CHECK(std::signbit(Json::number("-0.0").to_double()));
  CHECK(Json::number("24e-24").to_double() == 24e-24);
  CHECK(Json::number("5e-324").to_double() == 5e-324);
  CHECK(Json::number("1e-400").to_double() == 0.0);
  CHECK(Json::number("0.000001e-400").to_double() == 0.0);
  CHECK(Json::number("0e99999999999999999999").to_double() == 0.0);
  CHECK(Json::number("1e-99999999999999999999").to_double() == 0.0);
  CHECK(Json::number("1" + std::string(400, '0')).is_integer());
  CHECK(std::isinf(Json::number("1" + std::string(400, '0')).to_double()));
  for (const char* text : {"", "-", "01", "1.", ".5", "1e", "1e+", "+1", "0x10", "NaN", "1 ",
                           "1e400", "-1e400", "1e99999999999999999999"}) {
    INFO(text);
    CHECK_THROWS_AS(Json::number(text), InvalidArgument);
  }
  CHECK(Json::number("-18446744073709551616").sign() == -1);
  CHECK(Json::number("18446744073709551617").is_odd());
  CHECK(Json::number("-0").sign() == 0);
  CHECK(Json::number("0.00e5").sign() == 0);
  CHECK(Json(std::numeric_limits<double>::infinity()).sign() == 1);
}

TEST_CASE("json: doubles print in the shortest form, as Python does") {
  const std::pair<double, const char*> cases[] = {{0.0, "0.0"},
                                                  {1.0, "1.0"},
                                                  {10000.0, "10000.0"},
                                                  {0.1, "0.1"},
                                                  {1e-08, "1e-08"},
                                                  {0.0001, "0.0001"},
                                                  {0.00001, "1e-05"},
                                                  {1e16, "1e+16"},
                                                  {1e15, "1000000000000000.0"},
                                                  {1.5e300, "1.5e+300"},
                                                  {-2.5, "-2.5"},
                                                  {2.4e-23, "2.4e-23"},
                                                  {123456.789, "123456.789"},
                                                  {1e-12, "1e-12"},
                                                  {9999999999999998.0, "9999999999999998.0"},
                                                  {-0.0, "-0.0"},
                                                  {5e-324, "5e-324"}};
  for (const auto& [value, text] : cases) {
    CHECK(attn::shortest(value) == text);
    CHECK(Json(value).dump() == text);
    CHECK(Json::number(text).to_double() == value);
  }
}

TEST_CASE("json: printed as Python prints") {
  CHECK(Json().python_repr() == "None");
  CHECK(Json(true).python_repr() == "True");
  CHECK(Json("a'b").python_repr() == "'a'b'");
  CHECK(Json::number("1e-8").python_repr() == "1e-08");
  CHECK(Json::number("1").python_repr() == "1");
  CHECK(Json::number("-0").python_repr() == "0");
  CHECK(Json::number("100000000000000000000").python_repr() == "100000000000000000000");
  CHECK(Json{{"class_name", "HeNormal"}, {"config", {{"seed", nullptr}}}}.python_repr() ==
        "{'class_name': 'HeNormal', 'config': {'seed': None}}");
  CHECK(Json::list({1, 2.0}).python_repr() == "[1, 2.0]");
  CHECK(Json(std::nan("")).python_repr() == "nan");
}

TEST_CASE("json: text is escaped, non-finite numbers are not written") {
  CHECK(Json("a\"\\\n\x01").dump() == "\"a\\\"\\\\\\n\\u0001\"");
  CHECK_THROWS_AS((Json{{"a", std::nan("")}}.dump()), InvalidArgument);
  CHECK(Json(std::nan("")).brief() == "nan");
  CHECK(Json(std::string(500, 'x')).brief().size() == 123);
}

TEST_CASE("json: equality") {
  CHECK(Json(1) == Json::number("1"));
  CHECK_FALSE(Json(1) == Json(1.0));
  CHECK(Json::number("1.0") == Json::number("1.00"));
  CHECK_FALSE(Json("1") == Json(1));
  CHECK_FALSE((Json{{"a", 1}} == Json{{"b", 1}}));
}
