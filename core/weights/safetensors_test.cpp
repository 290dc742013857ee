// SPDX-License-Identifier: Apache-2.0
//
// What is read and written; safetensors_refused_test.cpp has what is refused.
#include "core/weights/safetensors.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>

#include "core/error/error.hpp"
#include "core/weights/testing_files.hpp"

using namespace attn;
using namespace attn::weights;
using attn::testing::raw_safetensors;
using attn::testing::read_bytes;
using attn::testing::TemporaryDirectory;
using attn::testing::write_bytes;

TEST_CASE("safetensors: every kind goes round") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("a.safetensors");
  std::vector<Array> arrays;
  std::vector<NamedView> tensors;
  for (int code = ATTN_F32; code <= ATTN_BOOL; ++code) {
    const auto dtype = static_cast<attn_dtype>(code);
    arrays.push_back(Array::from<double>({1, 0, 1, 1, 0, 1}, {2, 3}).astype(dtype));
  }
  for (const Array& a : arrays) tensors.push_back({"t/" + std::string(dtype_name(a.dtype())), a});
  const Array scalar = Array::from<float>({-2.5f}, {});
  const Array nothing(ATTN_F64, {0, 7});
  tensors.push_back({"scalar", scalar});
  tensors.push_back({"nothing", nothing});
  const std::map<std::string, std::string> metadata{{"format", "x"},
                                                    {"config", "{\"a\":\n\"\\\x01\xc3\xa9\"}"}};
  save_safetensors(path, tensors, metadata);

  const SafetensorsFile file(path);
  CHECK(file.entries().size() == 11);
  CHECK(file.metadata() == metadata);
  for (const Array& a : arrays) {
    const Array b = file.read("t/" + std::string(dtype_name(a.dtype())));
    CHECK(b.dtype() == a.dtype());
    CHECK(b.shape() == Shape{2, 3});
    CHECK(b.astype(ATTN_F64).to_vector<double>() == std::vector<double>{1, 0, 1, 1, 0, 1});
  }
  CHECK(file.read("scalar").at<float>({}) == -2.5f);
  CHECK(file.read("nothing").shape() == Shape{0, 7});
  CHECK(file.contains("scalar"));
  CHECK_FALSE(file.contains("t"));
  CHECK_THROWS_WITH(file.read("t"), Catch::Contains("'t'") && Catch::Contains("'scalar'"));

  // Aligned header, every tensor aligned to its elements, no data lost between them.
  const std::string bytes = read_bytes(path);
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  CHECK(length % 8 == 0);
  for (const SafetensorsEntry& e : file.entries()) CHECK(e.begin % dtype_size(*e.dtype) == 0);

  // The order of the arguments does not matter.
  std::reverse(tensors.begin(), tensors.end());
  save_safetensors(directory.file("b.safetensors"), tensors, metadata);
  CHECK(read_bytes(directory.file("b.safetensors")) == bytes);
  CHECK(directory.count() == 2);
}

TEST_CASE("safetensors: strided views are stored dense") {
  const TemporaryDirectory directory;
  const std::vector<float> memory{0, 1, 2, 3, 4, 5};
  save_safetensors(directory.file("x"), {{"t", ConstView(memory.data(), {3, 2}, {1, 3})}});
  CHECK(SafetensorsFile(directory.file("x")).read("t").to_vector<float>() ==
        std::vector<float>{0, 3, 1, 4, 2, 5});
}

TEST_CASE("safetensors: read_into converts and checks the shape") {
  const TemporaryDirectory directory;
  const Array half = Array::from<float>({1.5f, -2, 0, 65504, 0.25f, 7}, {2, 3}).astype(ATTN_F16);
  const Array wide = Array::from<double>({0.1, 1e300}, {2});
  const Array one = Array::from<float>({3}, {1});
  save_safetensors(directory.file("x"), {{"half", half}, {"wide", wide}, {"one", one}});
  const SafetensorsFile file(directory.file("x"));

  std::vector<double> target(12, -1);
  file.read_into("half", View(target.data(), {2, 3}, {6, 2}));
  CHECK(target == std::vector<double>{1.5, -1, -2, -1, 0, -1, 65504, -1, 0.25, -1, 7, -1});
  std::vector<float> narrow(6);
  file.read_into("half", View(narrow.data(), {2, 3}));
  CHECK(narrow == std::vector<float>{1.5f, -2, 0, 65504, 0.25f, 7});
  CHECK_THROWS_WITH(
      file.read_into("half", View(narrow.data(), {3, 2})),
      Catch::Contains("(2, 3)") && Catch::Contains("(3, 2)") && Catch::Contains("'half'"));
  CHECK_THROWS_AS(file.read_into("wide", View(narrow.data(), {2})), InvalidArgument);
  std::vector<double> exact(2);
  file.read_into("wide", View(exact.data(), {2}));
  CHECK(exact == std::vector<double>{0.1, 1e300});
  double scalar = 0;
  file.read_into("one", View(&scalar, {}));
  CHECK(scalar == 3.0);
  float same_kind = 0;
  file.read_into("one", View(&same_kind, {}));
  CHECK(same_kind == 3.0f);
  CHECK_THROWS_AS(file.read_into("one", View(exact.data(), {1, 1})), InvalidArgument);
}

TEST_CASE("safetensors: kinds without a counterpart are listed, not read") {
  const std::string bytes = raw_safetensors(
      R"({"a":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U16","shape":[1],"data_offsets":[2,4]}, )"
      R"("c":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[4,5]}})",
      "12345");
  const SafetensorsFile file(bytes.data(), bytes.size(), "memory");
  CHECK(file.entries().size() == 3);
  CHECK_FALSE(file.entry("a").dtype);
  CHECK_THROWS_WITH(file.read("a"), Catch::Contains("F8_E4M3"));
  CHECK_THROWS_WITH(file.read("b"), Catch::Contains("U16"));
  CHECK_THROWS_WITH(file.read("c"), Catch::Contains("9 extents"));
}

TEST_CASE("safetensors: what is asked for is read, whatever else the file holds") {
  // Every kind that the format has, or may get, beside one that is asked for; sub-byte ones count in bits.
  struct Other {
    const char* dtype;
    int64_t elements;
    size_t bytes;
    bool known;
  };
  const Other others[] = {
      {"F4", 6, 3, true},          {"F6_E2M3", 4, 3, true},     {"F6_E3M2", 8, 6, true},
      {"F8_E5M2", 3, 3, true},     {"F8_E4M3", 3, 3, true},     {"F8_E8M0", 3, 3, true},
      {"F8_E4M3FNUZ", 3, 3, true}, {"F8_E5M2FNUZ", 3, 3, true}, {"BOOL", 3, 3, true},
      {"U8", 3, 3, true},          {"I8", 3, 3, true},          {"I16", 3, 6, true},
      {"U16", 3, 6, true},         {"F16", 3, 6, true},         {"BF16", 3, 6, true},
      {"I32", 3, 12, true},        {"U32", 3, 12, true},        {"I64", 3, 24, true},
      {"U64", 3, 24, true},        {"F64", 3, 24, true},        {"C64", 3, 24, true},
      {"C128", 3, 48, false},      {"F2_NEW", 3, 1, false},     {"", 3, 7, false}};
  const auto file_of = [](const Other& o, int64_t elements, size_t bytes) {
    const std::string n = std::to_string(bytes);
    return raw_safetensors(R"({"other":{"dtype":")" + std::string(o.dtype) + R"(","shape":[)" +
                               std::to_string(elements) + R"(],"data_offsets":[0,)" + n +
                               R"(]},"mine":{"dtype":"F32","shape":[2],"data_offsets":[)" + n +
                               "," + std::to_string(bytes + 8) + "]}}",
                           std::string(bytes + 8, '\0'));
  };
  for (const Other& o : others) {
    INFO(o.dtype);
    const std::string bytes = file_of(o, o.elements, o.bytes);
    const SafetensorsFile file(bytes.data(), bytes.size(), "memory");
    CHECK(file.read("mine").to_vector<float>() == std::vector<float>{0, 0});
    CHECK(file.entry("other").dtype_name == o.dtype);
    if (!file.entry("other").dtype)
      CHECK_THROWS_WITH(file.read("other"), Catch::Contains("memory: tensor 'other'") &&
                                                Catch::Contains(std::string("kind '") + o.dtype));
    else
      CHECK(file.read("other").size() == o.elements);
    // Sizes are checked where the kind is known.
    const std::string longer = file_of(o, o.elements, o.bytes + 1);
    if (o.known)
      CHECK_THROWS_AS(SafetensorsFile(longer.data(), longer.size(), "memory"), InvalidArgument);
    else
      CHECK_NOTHROW(SafetensorsFile(longer.data(), longer.size(), "memory"));
  }
  // Bits that do not fill the last byte.
  for (const auto& [name, elements] : {std::pair("F4", 5), {"F6_E2M3", 3}, {"F6_E3M2", 1}}) {
    const std::string bytes = file_of({name, elements, 0, true}, elements, 4);
    CHECK_THROWS_WITH(SafetensorsFile(bytes.data(), bytes.size(), "memory"),
                      Catch::Contains("bits"));
  }
}

TEST_CASE("safetensors: headers that the format's own reader takes") {
  const auto opens = [](const std::string& header, const std::string& name = "a") {
    const std::string bytes = raw_safetensors(header, "\1\2\3\4");
    INFO(header);
    const SafetensorsFile file(bytes.data(), bytes.size(), "memory");
    CHECK(file.read(name).to_vector<uint8_t>() == std::vector<uint8_t>{1, 2, 3, 4});
    return file.metadata();
  };
  const std::string e = R"({"dtype":"U8","shape":[4],"data_offsets":[0,4]})";
  CHECK(opens(R"({"__metadata__":null,"a":)" + e + "}").empty());
  CHECK(opens(R"({"a":)" + e + R"(,"__metadata__": null })").empty());
  CHECK(opens(R"({"__metadata__":{},"a":)" + e + "}").empty());
  CHECK(opens(R"({"__metadata__":{"":""},"a":)" + e + "}").size() == 1);
  opens("{\n\t\"a\" :\r\n" + e + " }  \n\t");
  opens(R"({"a":{ "data_offsets" : [ 0 , 4 ] , "shape" : [ 2 , 2 ] , "dtype" : "U8" }})");
  opens(R"({"":)" + e + "}", "");
  opens("{\"a\\u0000\":" + e + "}", std::string("a\0", 2));
  // Keys that a later version may add.
  for (const char* more : {"1", "-1.5e+3", "null", "true", "false", R"("t\"e\\xt")", "[]", "{}",
                           R"([1,[2,{"x":"]"}],null])", R"({"b":{"c":[{}]}})"})
    opens(R"({"a":{"new":)" + std::string(more) +
          R"(,"dtype":"U8","shape":[4],"data_offsets":[0,4],"newer":)" + more + "}}");
  for (const char* wrong :
       {"", "nul", "tru", "1.", "-", "01", "[1", "{\"a\":}", "\"", "+1", "[1,]"}) {
    const std::string bytes = raw_safetensors(
        R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4],"new":)" + std::string(wrong) + "}}",
        "1234");
    INFO(wrong);
    CHECK_THROWS_AS(SafetensorsFile(bytes.data(), bytes.size(), "memory"), InvalidArgument);
  }
  // Depth costs memory and no stack.
  const std::string deep = std::string(1 << 20, '[') + std::string(1 << 20, ']');
  opens(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4],"new":)" + deep + "}}");
}

TEST_CASE("safetensors: texts with every kind of escape") {
  const std::string bytes = raw_safetensors(
      "{ \"__metadata__\" : { \"k\" : \"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00\\u20AC\" } "
      ",\n"
      "\t\"a\\u0062\" : { \"data_offsets\" : [ 0 , 1 ] , \"shape\" : [ ] , \"dtype\" : \"U8\" } } "
      "\r\n",
      "7");
  const SafetensorsFile file(bytes.data(), bytes.size(), "memory");
  CHECK(file.metadata().at("k") == "\"\\/\b\f\n\r\t\xc3\xa9\xf0\x9f\x98\x80\xe2\x82\xac");
  CHECK(file.read("ab").at<uint8_t>({}) == '7');
}

TEST_CASE("safetensors: files without tensors") {
  for (const char* header : {"{}", "{}      ", R"({"__metadata__":{}})"}) {
    const std::string bytes = raw_safetensors(header, "");
    CHECK(SafetensorsFile(bytes.data(), bytes.size(), "memory").entries().empty());
  }
  const TemporaryDirectory directory;
  save_safetensors(directory.file("x"), {});
  CHECK(SafetensorsFile(directory.file("x")).entries().empty());
}

TEST_CASE("safetensors: all golden files open and every tensor reads") {
  int files = 0;
  size_t tensors = 0;
  const std::filesystem::path root = std::filesystem::path(ATTN_SOURCE_DIR) / "tests" / "goldens";
  for (const auto& found : std::filesystem::recursive_directory_iterator(root)) {
    if (found.path().extension() != ".safetensors") continue;
    ++files;
    const SafetensorsFile file(found.path().string());
    // Cases of layers say what they are, and so do those of score programs; models have that beside them.
    if (file.metadata().contains("type")) CHECK(file.metadata().at("format") == "attn-golden-1");
    for (const SafetensorsEntry& e : file.entries()) {
      const Array a = file.read(e.name);
      if (a.bytes() == e.end - e.begin) ++tensors;
    }
  }
  CHECK(files >= 360);
  CHECK(tensors >= 5555);
}
