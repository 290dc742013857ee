// SPDX-License-Identifier: Apache-2.0
//
// Lies in files, truncation, random damage, and a file that shrinks while it is read.
#include <sys/stat.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "core/error/error.hpp"
#include "core/weights/safetensors.hpp"
#include "core/weights/testing_files.hpp"

using namespace attn;
using namespace attn::weights;
using namespace std::string_view_literals;
using attn::testing::raw_safetensors;
using attn::testing::TemporaryDirectory;
using attn::testing::write_bytes;

namespace {

void read_all(const std::string& bytes) {
  const SafetensorsFile file(bytes.data(), bytes.size(), "memory");
  for (const SafetensorsEntry& e : file.entries()) static_cast<void>(file.read(e.name));
}

std::string small_file() {
  return raw_safetensors(
      R"({"__metadata__":{"format":"x"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},)"
      R"("b":{"dtype":"BOOL","shape":[3],"data_offsets":[16,19]},"c":{"dtype":"I64","shape":[],"data_offsets":[19,27]}} )",
      std::string(16, '\0') + std::string("\x01\x00\x01", 3) + "12345678");
}

}  // namespace

TEST_CASE("safetensors: every lie in a header is refused, with its reason") {
  const std::string e = R"({"dtype":"U8","shape":[4],"data_offsets":[0,4]})";
  // header, a part of the message; four bytes of data follow each header
  const std::vector<std::pair<std::string, std::string>> lies{
      {"", "'{'"},
      {" {}", "'{'"},
      {"[]", "'{'"},
      {"{", "double quotes"},
      {"{}", "4 bytes of data; expected 0"},
      {"{\"a\":" + e, "',' or '}'"},
      {"{\"a\":" + e + ",}", "double quotes"},
      {"{\"a\":" + e + "}x", "white space"},
      {"{\"a\":" + e + "}{}", "white space"},
      {"{\"a\":" + e + std::string("}\0", 2), "white space"},
      {"{\"a\":" + e + ",\"a\":" + e + "}", "twice"},
      {"{\"a\":" + e + ",\"\\u0061\":" + e + "}", "twice"},
      {"{\"a\" " + e + "}", "':'"},
      {"{a:" + e + "}", "double quotes"},
      {"{\"a\":[]}", "'{'"},
      {"{\"a\":null}", "'{'"},
      {"{\"a\":{}}", "'dtype' is missing"},
      {R"({"a":{"dtype":"U8","shape":[4]}})", "'data_offsets' is missing"},
      {R"({"a":{"dtype":"U8","data_offsets":[0,4]}})", "'shape' is missing"},
      {R"({"a":{"dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4]}})", "twice"},
      {R"({"a":{"dtype":"U8","shape":[4],"shape":[4],"data_offsets":[0,4]}})", "twice"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4],"data_offsets":[0,4]}})", "twice"},
      {R"({"a":{"dtype":"u8","shape":[4],"data_offsets":[0,4]}})", "kind 'u8'"},
      {R"({"a":{"dtype":"","shape":[4],"data_offsets":[0,4]}})", "kind ''"},
      {R"({"a":{"dtype":8,"shape":[4],"data_offsets":[0,4]}})", "double quotes"},
      {R"({"a":{"dtype":"U8","shape":4,"data_offsets":[0,4]}})", "'['"},
      {R"({"a":{"dtype":"U8","shape":[-4],"data_offsets":[0,4]}})", "integer from 0 on"},
      {R"({"a":{"dtype":"U8","shape":[+4],"data_offsets":[0,4]}})", "integer from 0 on"},
      {R"({"a":{"dtype":"U8","shape":[04],"data_offsets":[0,4]}})", "leading zeros"},
      {R"({"a":{"dtype":"U8","shape":[4.0],"data_offsets":[0,4]}})", "',' or ']'"},
      {R"({"a":{"dtype":"U8","shape":[4e0],"data_offsets":[0,4]}})", "',' or ']'"},
      {R"({"a":{"dtype":"U8","shape":["4"],"data_offsets":[0,4]}})", "integer from 0 on"},
      {R"({"a":{"dtype":"U8","shape":[4,],"data_offsets":[0,4]}})", "integer from 0 on"},
      {R"({"a":{"dtype":"U8","shape":[4 4],"data_offsets":[0,4]}})", "',' or ']'"},
      {R"({"a":{"dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,4]}})", "below 2^63"},
      {R"({"a":{"dtype":"U8","shape":[18446744073709551620],"data_offsets":[0,4]}})", "below 2^63"},
      {R"({"a":{"dtype":"U8","shape":[4294967296,4294967297],"data_offsets":[0,4]}})",
       "too many elements"},
      {R"({"a":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,4]}})",
       "too many elements"},
      {R"({"a":{"dtype":"U8","shape":[4294967296,4294967296,0],"data_offsets":[0,0]}})",
       "too many elements"},
      {R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,4]}})", "expected 3 for U8 (3)"},
      {R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,4]}})", "expected 16 for F32 (4)"},
      {R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,4]}})", "expected 0"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[4,0]}})", "backwards"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[1,5]}})", "leave the file"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[9223372036854775803,9223372036854775807]}})",
       "leave the file"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0]}})", "1 data_offsets"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4,4]}})", "more than 2"},
      {R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}})", "4 bytes of data; expected 3"},
      {R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[1,4]}})", "gap"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})",
       "gap"},
      {R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})",
       "overlaps"},
      {"{\"a\":" + e + ",\"b\":" + e + "}", "overlaps"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}})",
       "overlaps"},
      {"{\"__metadata__\":{\"k\":1},\"a\":" + e + "}", "double quotes"},
      {"{\"__metadata__\":{\"k\":null},\"a\":" + e + "}", "double quotes"},
      {"{\"__metadata__\":{\"k\":{}},\"a\":" + e + "}", "double quotes"},
      {"{\"__metadata__\":[],\"a\":" + e + "}", "'{'"},
      {"{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"},\"a\":" + e + "}", "twice"},
      {"{\"__metadata__\":{},\"__metadata__\":{},\"a\":" + e + "}", "twice"},
      {"{\"a\n\":" + e + "}", "control characters"},
      {"{\"a\\x\":" + e + "}", "behind a backslash"},
      {"{\"a\\u00g0\":" + e + "}", "hexadecimal"},
      {"{\"a\\ud800\":" + e + "}", "surrogate"},
      {"{\"a\\ud800\\u0041\":" + e + "}", "surrogate"},
      {"{\"a\\udc00\":" + e + "}", "surrogate"},
      {"{\"\xff\":" + e + "}", "UTF-8"},
      {"{\"\xc0\x80\":" + e + "}", "UTF-8"},
      {"{\"\xed\xa0\x80\":" + e + "}", "UTF-8"},
      {"{\"\xf4\x90\x80\x80\":" + e + "}", "UTF-8"},
      {"{\"\xe2\x82\":" + e + "}", "UTF-8"},
      {"{\"a", "end of a text"},
  };
  for (const auto& [header, reason] : lies) {
    CAPTURE(header);
    try {
      read_all(raw_safetensors(header, std::string(4, '\x01')));
      FAIL_CHECK("read without an error");
    } catch (const InvalidArgument& error) {
      CHECK_THAT(error.what(), Catch::StartsWith("memory") && Catch::Contains(reason));
      CHECK_FALSE(error.details().expected.empty());
      CHECK_FALSE(error.details().hint.empty());
    }
  }
  std::string many = "1";
  for (int i = 0; i < 64; ++i) many += ",1";
  CHECK_THROWS_WITH(
      read_all(raw_safetensors(
          R"({"a":{"dtype":"U8","shape":[)" + many + R"(],"data_offsets":[0,1]}})", "1")),
      Catch::Contains("more than 64"));
  CHECK_THROWS_WITH(
      read_all(raw_safetensors(R"({"a":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}})", "1")),
      Catch::Contains("neither 0 nor 1"));
}

TEST_CASE("safetensors: a header longer than the file or the limit is refused before it is read") {
  for (const uint64_t length :
       {uint64_t{100'000'001}, uint64_t{1} << 40, ~uint64_t{0}, ~uint64_t{0} - 7}) {
    std::string bytes = small_file();
    std::memcpy(bytes.data(), &length, 8);
    CHECK_THROWS_WITH(read_all(bytes), Catch::Contains("at most 100000000"));
  }
  std::string bytes = small_file();
  const uint64_t length = bytes.size() - 7;
  std::memcpy(bytes.data(), &length, 8);
  CHECK_THROWS_WITH(read_all(bytes), Catch::Contains("complete file"));
}

TEST_CASE("safetensors: truncated at any length, or longer by any byte, it is refused") {
  const std::string whole = small_file();
  REQUIRE_NOTHROW(read_all(whole));
  for (size_t n = 0; n < whole.size(); ++n) {
    CAPTURE(n);
    CHECK_THROWS_AS(read_all(whole.substr(0, n)), InvalidArgument);
  }
  CHECK_THROWS_AS(read_all(whole + '\0'), InvalidArgument);
  CHECK_THROWS_AS(read_all(whole + whole), InvalidArgument);
}

TEST_CASE("safetensors: 20000 damaged files are read or refused") {
  const std::string whole = small_file();
  std::mt19937 random(7);
  int read = 0;
  int refused = 0;
  for (int i = 0; i < 20000; ++i) {
    const std::string bytes =
        testing::damaged(whole, "{}[]\",:\\u0123456789-.eE \x00\xff\x80\xc3"sv, random);
    try {
      read_all(bytes);
      ++read;
    } catch (const InvalidArgument&) {
      ++refused;
    }
  }
  CHECK(read + refused == 20000);
  CHECK(read > 500);  // damage in the data alone is not detected
  CHECK(refused > 10000);
}

TEST_CASE("safetensors: a file that shrinks after it was opened is an error") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("x.safetensors");
  write_bytes(path, small_file());
  const SafetensorsFile file(path);
  std::filesystem::resize_file(path, small_file().size() - 9);
  CHECK_THROWS_WITH(file.read("b"), Catch::Contains("became shorter"));
  CHECK(file.read("a").size() == 4);
}

TEST_CASE("safetensors: paths that are no files are refused") {
  const TemporaryDirectory directory;
  CHECK_THROWS_WITH(SafetensorsFile(directory.file("missing")), Catch::Contains("No such file"));
  CHECK_THROWS_WITH(SafetensorsFile(directory.path().string()), Catch::Contains("no regular file"));
  CHECK_THROWS_AS(SafetensorsFile(std::string("a\0b", 3)), InvalidArgument);
  const std::string pipe = directory.file("pipe");
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  CHECK_THROWS_WITH(SafetensorsFile(pipe), Catch::Contains("no regular file"));
}

TEST_CASE("safetensors: what cannot be saved is refused before anything is written") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("x");
  const Array a(ATTN_F32, {2});
  for (const std::string& name :
       {std::string(), std::string("__metadata__"), std::string("a\0", 2), std::string("\xff")}) {
    CHECK_THROWS_AS(save_safetensors(path, {{name, a}}), InvalidArgument);
  }
  CHECK_THROWS_WITH(save_safetensors(path, {{"a", a}, {"a", a}}), Catch::Contains("two tensors"));
  CHECK_THROWS_AS(save_safetensors(path, {{"a", a}}, {{"k", "\xff"}}), InvalidArgument);
  CHECK_THROWS_AS(save_safetensors(path, {{"a", ConstView(static_cast<float*>(nullptr), {2})}}),
                  InvalidArgument);
  const uint8_t two = 2;
  CHECK_THROWS_AS(save_safetensors(path, {{"a", ConstView(&two, ATTN_BOOL, {1})}}),
                  InvalidArgument);
  CHECK(directory.count() == 0);
}
