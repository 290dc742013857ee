// SPDX-License-Identifier: Apache-2.0
#include "attn/config.hpp"

#include <sys/stat.h>
#include <unistd.h>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>

using attn::InvalidArgument;
using attn::Json;
using attn::LoadedConfig;
using attn::parse_config;

namespace {

std::string message_of(const std::string& text) {
  try {
    static_cast<void>(parse_config(text, "f.json"));
  } catch (const InvalidArgument& error) {
    CHECK(std::string(error.what()).find(error.details().where) == 0);
    return error.what();
  }
  return "accepted";
}

bool begins(const std::string& text, const std::string& with) {
  return text.compare(0, with.size(), with) == 0;
}

}  // namespace

TEST_CASE("config: numbers keep their text") {
  const char* texts[] = {"0",
                         "-0",
                         "1",
                         "1.0",
                         "1e3",
                         "9007199254740993",
                         "18446744073709551615",
                         "18446744073709551616",
                         "-9223372036854775809",
                         "24e-24",
                         "0.1",
                         "1E+2",
                         "-0.0",
                         "123456789012345678901234567890",
                         "1.7976931348623157e308",
                         "5e-324",
                         "1e-400",
                         "0.30000000000000004",
                         "100000000000000000000000000000000000000.5"};
  std::string all;
  for (const char* text : texts) {
    CHECK(parse_config(text).number_text() == text);
    CHECK(parse_config(std::string(" [") + text + " ]").at(0).number_text() == text);
    all += (all.empty() ? "" : ",") + std::string(text);
  }
  CHECK(parse_config("[" + all + "]").dump() == "[" + all + "]");
  CHECK(parse_config("1").is_integer());
  CHECK(parse_config("1.0").is_floating());
}

TEST_CASE("config: doubles are exact") {
  std::mt19937_64 random(7);
  for (int i = 0; i < 20000; ++i) {
    const std::uint64_t bits = random();
    double value = 0;
    std::memcpy(&value, &bits, sizeof(value));
    if (!std::isfinite(value)) continue;
    char text[40];
    std::snprintf(text, sizeof(text), "%.17g", value);
    if (std::strpbrk(text, ".e") == nullptr) continue;
    const double read = parse_config(text).to_double();
    REQUIRE(std::memcmp(&read, &value, sizeof(value)) == 0);
  }
}

TEST_CASE("config: whole documents") {
  const char* text =
      R"({"b": [1, 2.50, true, null, "x\u0041\n\ud83d\ude00"], "a": {"": {}}, "c": []})";
  CHECK(parse_config(text).dump() ==
        "{\"b\":[1,2.50,true,null,\"xA\\n\xF0\x9F\x98\x80\"],\"a\":{\"\":{}},\"c\":[]}");
  CHECK(parse_config("\xEF\xBB\xBF {}").is_object());
  CHECK(parse_config("\"\"").as_string().empty());
  std::string many = "{";
  for (int i = 0; i < 5000; ++i)
    many += "\"k" + std::to_string(i) + "\":" + std::to_string(i) + ",";
  CHECK(parse_config(many + "\"end\":0}").size() == 5001);
}

TEST_CASE("config: what is refused, and where") {
  const std::pair<std::string, std::string> cases[] = {
      {"{\"a\": 1,\n \"b\": 2, \"a\": 3}", "f.json:2:10: key \"a\" is a duplicate key"},
      {"{\"a\": {\"b\": 1, \"b\": 2}}", "f.json:1:16: key \"b\" is a duplicate"},
      {"[1,\n2,\n  1e400]", "f.json:3:3: the number 1e400 is too large"},
      {"[-1e99999999999999999999]", "f.json:1:14: the exponent of a number is out of range"},
      {"", "f.json:1:1: the text is empty"},
      {" \n ", "f.json:"},
      {"{\"a\": 1", "f.json:1:8: the text ends too early"},
      {"{\"a", "f.json:1:4: the text ends too early"},
      {"tru", "f.json:1:4: the text ends too early"},
      {"{} x", "f.json:1:4: unexpected \"x\" after the value"},
      {"{\"a\": 1}}", "f.json:1:9: unexpected \"}\" after the value"},
      {"{\n// note\n}", "f.json:2:1: unexpected \"/\""},
      {"{\"a\": 1,}", "f.json:1:9: unexpected \"}\""},
      {"{'a': 1}", "f.json:1:2: unexpected \"'\""},
      {"{\"\xC3\xA4\": True}", "f.json:1:7: unexpected \"T\""},
      {"[NaN]", "f.json:1:2: unexpected \"N\""},
      {"[01]", "f.json:1:3: unexpected \"1\""},
      {"[1.]", "f.json:1:"},
      {"[\"\xFF\"]", "f.json:1:3: bytes that are not UTF-8"},
      {"[\"\xC3\xA4\xC3(\"]", "f.json:1:4: bytes"},
      {"[\"\xED\xA0\x80\"]", "f.json:1:3: bytes"},
      {"[\"\\ud800\"]", "f.json:1:"},
      {"[\"a\nb\"]", "f.json:"},
      {"[\"a\\q\"]", "f.json:1:"},
      {std::string("[1\0]", 4), "f.json:1:3: unexpected control character 0"},
      {std::string("{}\0", 3), "f.json:1:3: unexpected control character 0"},
      {"[1,\n\"a\\u0000b\"]", "f.json:2:3: a text holds the character \\u0000"},
      {"{\"a\\u0000\": 1}", "f.json:1:4: a text holds the character \\u0000"},
      {"\xFF\xFE{", "f.json:1:1: the text is UTF-16"},
      {std::string(65, '['), "f.json:1:65: nested too deeply"},
      {std::string(1000000, '['), "f.json:1:65: nested too deeply"},
      {std::string(200, '{'), "f.json:1:2: unexpected \"{\""}};
  for (const auto& [text, expected] : cases) {
    INFO(text.substr(0, 80));
    const std::string message = message_of(text);
    INFO(message);
    CHECK(begins(message, expected));
  }
  CHECK(parse_config(std::string(64, '[') + std::string(64, ']')).is_list());
  CHECK(message_of("{ # x").find("no comments") != std::string::npos);
  CHECK(message_of("[1,]").find("remove the comma") != std::string::npos);
  CHECK(message_of("[None]").find("null") != std::string::npos);
  CHECK(message_of("[\"\xFF\"]").find("UTF-8") != std::string::npos);
}

TEST_CASE("config: every cut of a text is refused or a value, never a crash") {
  const std::string text = R"( {"dim": 64, "x": [1.5e3, "a\u00e4", {"k": null}], "t": true} )";
  for (std::size_t n = 0; n < text.size(); ++n) {
    const std::string message = message_of(text.substr(0, n));
    CHECK((begins(message, "f.json:1:") || n + 1 >= text.size()));
  }
  std::mt19937 random(3);
  for (int i = 0; i < 20000; ++i) {
    std::string changed = text;
    for (int k = 0; k < 3; ++k) changed[random() % changed.size()] = static_cast<char>(random());
    static_cast<void>(message_of(changed));
  }
}

TEST_CASE("config: sections") {
  const std::string text =
      "{\n  \"$schema\": \"s\",\n  \"model\": {\"enc.x\": 1, \"enc\": {\"type\": \"cbam\", "
      "\"$schema\": 1}},\n"
      "  \"attention\": {\n    \"type\": \"window\", \"dim\": [1, {\"a/b\": 2}],\n    "
      "\"d\\u0065pth\": -3\n  }\n}\n";
  const LoadedConfig implied(text, "m.json");
  CHECK(implied.value().at("type").as_string() == "window");
  CHECK(implied.where("dim") == "m.json:5:30");
  CHECK(implied.locate_key("dim")->column == 23);
  CHECK(implied.where("/dim/1/a~1b") == "m.json:5:42");
  CHECK(implied.where("depth") == "m.json:6:19");
  CHECK(implied.where("") == "m.json:4:16");
  CHECK(implied.where("absent") == "m.json:4:16");
  CHECK_FALSE(implied.locate("/dim/2"));
  CHECK_FALSE(implied.locate("/dim/1/x/y"));
  const LoadedConfig named(text, "m.json", "model.enc");
  CHECK(named.value().dump() == R"({"type":"cbam"})");
  CHECK(named.where("type") == "m.json:3:41");
  CHECK_THROWS_WITH(
      LoadedConfig(text, "m.json", "model.dec"),
      "m.json:3:12: there is no section \"model.dec\" (no key \"dec\"), expected one of its keys: "
      "\"enc.x\", \"enc\"");
  CHECK_THROWS_AS(LoadedConfig(text, "m.json", "model.enc.type.x"), InvalidArgument);
  for (const char* path : {"model.", ".model", "model..enc", "."})
    CHECK_THROWS_WITH(LoadedConfig(text, "m.json", path),
                      Catch::Matchers::Contains("(no key \"\")"));
  const LoadedConfig whole(R"({"type": "x", "attention": {}})", "m.json");
  CHECK(whole.value().contains("attention"));
  const LoadedConfig list("[1, 2]", "m.json");
  CHECK(list.value().is_list());

  attn::ErrorDetails details;
  details.parameter = "dim";
  details.value = "[]";
  const InvalidArgument error = implied.located(InvalidArgument("text", details));
  CHECK(std::string(error.what()) == "text");
  CHECK(error.details().where == "m.json:5:30");
  details.parameter = "dim.1.none";
  CHECK(implied.located(InvalidArgument("text", details)).details().where == "m.json:5:34");
  details.parameter = "dim";
  details.value = "";
  CHECK(implied.located(InvalidArgument("text", details)).details().where == "m.json:5:23");
}

TEST_CASE("config: files") {
  const std::filesystem::path folder = std::filesystem::temp_directory_path() / "attn_config_test";
  std::filesystem::create_directories(folder);
  const std::string path = (folder / "a.json").string();
  std::ofstream(path, std::ios::binary) << "\xEF\xBB\xBF{\"type\": \"cbam\",\r\n \"ratio\": 2}";
  const LoadedConfig loaded = attn::load_config(path);
  CHECK(loaded.value().dump() == R"({"type":"cbam","ratio":2})");
  CHECK(loaded.where("type") == path + ":1:10");
  CHECK(loaded.where("ratio") == path + ":2:11");
  CHECK_THROWS_AS(attn::load_config(folder.string()), InvalidArgument);
  CHECK_THROWS_AS(attn::load_config((folder / "none.json").string()), InvalidArgument);
  std::ofstream(path, std::ios::binary) << "";
  CHECK_THROWS_AS(attn::load_config(path), InvalidArgument);
  std::filesystem::resize_file(path, (std::size_t{16} << 20) + 1);
  CHECK_THROWS_WITH(attn::load_config(path), Catch::Matchers::Contains("larger than 16 MiB"));
  // A pipe without a writer does not block; one that the shell has filled is read.
  const std::string named = (folder / "pipe").string();
  REQUIRE(mkfifo(named.c_str(), 0600) == 0);
  CHECK_THROWS_WITH(attn::load_config(named), Catch::Matchers::Contains("the text is empty"));
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const std::string text = R"({"type":"cbam"})";
  REQUIRE(write(ends[1], text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  close(ends[1]);
  CHECK(attn::load_config("/dev/fd/" + std::to_string(ends[0])).value().dump() == text);
  close(ends[0]);
  std::filesystem::remove_all(folder);
}
