// SPDX-License-Identifier: Apache-2.0
#include "core/weights/npy.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <random>
#include <utility>

#include "core/error/error.hpp"
#include "core/weights/testing_files.hpp"

using namespace attn;
using namespace attn::weights;
using namespace std::string_view_literals;
using attn::testing::read_bytes;
using attn::testing::TemporaryDirectory;

namespace {

// A file of the given version around any dictionary text and data; nothing is checked.
std::string raw_npy(const std::string& dictionary, const std::string& data, int version = 1) {
  std::string bytes("\x93NUMPY", 6);
  bytes += static_cast<char>(version);
  bytes += '\0';
  size_t length = dictionary.size();
  for (int i = 0; i < (version == 1 ? 2 : 4); ++i, length >>= 8)
    bytes += static_cast<char>(length & 0xff);
  return bytes + dictionary + data;
}

std::string dictionary(const std::string& descr, const std::string& shape, bool fortran = false) {
  return "{'descr': '" + descr + "', 'fortran_order': " + (fortran ? "True" : "False") +
         ", 'shape': " + shape + ", }\n";
}

Array parse(const std::string& bytes) { return read_npy(bytes.data(), bytes.size(), "memory"); }

std::vector<double> values(const Array& a) { return a.astype(ATTN_F64).to_vector<double>(); }

std::string repeat_bytes(std::initializer_list<int> list) {
  std::string out;
  for (const int b : list) out += static_cast<char>(b);
  return out;
}

}  // namespace

TEST_CASE("npy: every kind and rank goes round") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("a.npy");
  const std::vector<Shape> shapes{{}, {6}, {2, 3}, {1, 2, 1, 3}, {3, 0}, {1, 1, 1, 1, 1, 1, 2, 3}};
  for (int code = ATTN_F32; code <= ATTN_BOOL; ++code) {
    const auto dtype = static_cast<attn_dtype>(code);
    for (const Shape& shape : shapes) {
      std::vector<double> x(static_cast<size_t>(shape.elements()));
      for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<double>(i % 2);
      const Array a = Array::from<double>(x, shape).astype(dtype);
      if (dtype == ATTN_BF16) {
        CHECK_THROWS_AS(write_npy(path, a), InvalidArgument);
        continue;
      }
      write_npy(path, a);
      const Array b = read_npy(path);
      CHECK(b.dtype() == dtype);
      CHECK(b.shape() == shape);
      CHECK(values(b) == x);
      CHECK((read_bytes(path).size() - b.bytes()) % 64 == 0);
    }
  }
  CHECK(directory.count() == 1);
}

TEST_CASE("npy: the written header is the one of the format") {
  const float x[6] = {};
  const std::string header = npy_header(ConstView(x, {2, 3}), "x");
  CHECK(header.substr(0, 10) == std::string("\x93NUMPY\x01\x00\x76\x00", 10));
  CHECK(header.substr(10, 60) == "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } ");
  CHECK(header.back() == '\n');
  CHECK(npy_header(ConstView(x, {6}), "x").find("'shape': (6,), }") != std::string::npos);
  CHECK(npy_header(ConstView(x, {}), "x").find("'shape': (), }") != std::string::npos);
}

TEST_CASE("npy: strided views are stored dense") {
  const TemporaryDirectory directory;
  const std::vector<float> memory{0, 1, 2, 3, 4, 5};
  write_npy(directory.file("x"), ConstView(memory.data(), {3, 2}, {1, 3}));
  CHECK(values(read_npy(directory.file("x"))) == std::vector<double>{0, 3, 1, 4, 2, 5});
}

TEST_CASE("npy: both byte orders, all versions, narrow integers") {
  CHECK(values(parse(raw_npy(dictionary("<i4", "(2,)"),
                             repeat_bytes({1, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff})))) ==
        std::vector<double>{1, -2});
  CHECK(values(parse(raw_npy(dictionary(">i4", "(2,)"),
                             repeat_bytes({0, 0, 0, 1, 0xff, 0xff, 0xff, 0xfe})))) ==
        std::vector<double>{1, -2});
  CHECK(values(parse(raw_npy(dictionary(">f4", "()"), repeat_bytes({0x3f, 0xc0, 0, 0})))) ==
        std::vector<double>{1.5});
  CHECK(values(parse(raw_npy(dictionary(">f2", "()"), repeat_bytes({0x3e, 0})))) ==
        std::vector<double>{1.5});
  CHECK(values(parse(
            raw_npy(dictionary(">f8", "()"), repeat_bytes({0x3f, 0xf8, 0, 0, 0, 0, 0, 0})))) ==
        std::vector<double>{1.5});
  CHECK(values(parse(raw_npy(dictionary("|i1", "(2,)"), repeat_bytes({0x7f, 0x80})))) ==
        std::vector<double>{127, -128});
  CHECK(values(parse(raw_npy(dictionary("<i2", "(1,)"), repeat_bytes({0xff, 0xff})))) ==
        std::vector<double>{-1});
  CHECK(values(parse(raw_npy(dictionary(">u2", "(1,)"), repeat_bytes({0xff, 0xfe})))) ==
        std::vector<double>{65534});
  for (const int version : {1, 2, 3}) {
    CHECK(values(parse(raw_npy(dictionary("|u1", "(2,)"), "ab", version))) ==
          std::vector<double>{97, 98});
  }
  // Other keys first, double quotes, spaces, no last comma.
  CHECK(values(parse(raw_npy("{ \"shape\" : ( 1 , 2 ) ,'fortran_order':False,'descr':'|u1'}   \n",
                             "ab"))) == std::vector<double>{97, 98});
}

TEST_CASE("npy: Fortran order becomes row-major") {
  CHECK(
      values(parse(raw_npy(dictionary("|u1", "(2, 3)", true), repeat_bytes({1, 4, 2, 5, 3, 6})))) ==
      std::vector<double>{1, 2, 3, 4, 5, 6});
  const Array a =
      parse(raw_npy(dictionary("|u1", "(2, 1, 3)", true), repeat_bytes({1, 4, 2, 5, 3, 6})));
  CHECK(a.shape() == Shape{2, 1, 3});
  CHECK(values(a) == std::vector<double>{1, 2, 3, 4, 5, 6});
  CHECK(parse(raw_npy(dictionary("|u1", "(2, 0)", true), "")).shape() == Shape{2, 0});
}

TEST_CASE("npy: headers that numpy reads") {
  const auto reads = [](const std::string& text, const std::string& data,
                        std::vector<double> expected, int version = 1) {
    CAPTURE(text);
    const Array a = parse(raw_npy(text, data, version));
    CHECK(values(a) == expected);
    return a.shape();
  };
  const std::string four("\0\0\x80\x3f", 4);
  // Python 2 wrote extents as long integers, and texts of both kinds.
  CHECK(reads("{'descr': '<f4', 'fortran_order': False, 'shape': (1L,), }", four, {1}) == Shape{1});
  CHECK(reads("{'descr': '<f4', 'fortran_order': False, 'shape': (1L, 1L)}", four, {1}) ==
        Shape{1, 1});
  CHECK(reads("{'descr': '<f4', 'fortran_order': False, 'shape': (1 L, 1L ,)}", four, {1}, 2) ==
        Shape{1, 1});
  reads("{u'descr': u'<f4', u'fortran_order': False, u'shape': (1L,)}", four, {1});
  reads("{\"descr\": \"<f4\", \"fortran_order\": False, \"shape\": (1,)}", four, {1});
  // Order of the keys, white space, padding with and without the newline.
  reads("{'shape':(1,),'fortran_order':False,'descr':'<f4'}", four, {1});
  reads("{ 'descr' : '<f4' , 'fortran_order' : True , 'shape' : ( 1 , ) , }      \n", four, {1});
  reads("{\n'descr':\t'<f4',\r\n'fortran_order': False,\n'shape': (1,)}\n\n   ", four, {1});
  for (const int version : {1, 2, 3})
    reads("{'descr': '<f4', 'fortran_order': False, 'shape': (), }\n", four, {1}, version);
  // Kinds as numpy.dtype() takes them: without a byte order, by name.
  for (const char* kind : {"f4", "=f4", "|f4", "float32", "<f4"})
    reads("{'descr': '" + std::string(kind) + "', 'fortran_order': False, 'shape': (1,)}", four,
          {1});
  for (const char* kind : {"u1", "<u1", ">u1", "|u1", "=u1", "uint8"})
    reads("{'descr': '" + std::string(kind) + "', 'fortran_order': False, 'shape': (4,)}", four,
          {0, 0, 128, 63});
  for (const char* kind : {"i1", "int8"})
    reads("{'descr': '" + std::string(kind) + "', 'fortran_order': False, 'shape': (4,)}", four,
          {0, 0, -128, 63});
  for (const char* kind : {"i2", "int16", "<i2"})
    reads("{'descr': '" + std::string(kind) + "', 'fortran_order': False, 'shape': (2,)}", four,
          {0, 0x3f80});
  for (const char* kind : {"b1", "?", "|b1", "bool"})
    reads("{'descr': '" + std::string(kind) + "', 'fortran_order': False, 'shape': (2,)}",
          std::string("\0\1", 2), {0, 1});
  reads("{'descr': 'float64', 'fortran_order': False, 'shape': (0, 3)}", "", {});
}

TEST_CASE("npy: malformed dictionaries are refused, with their reason") {
  const std::vector<std::pair<std::string, std::string>> lies{
      {"", "'{'"},
      {"[]", "'{'"},
      {"{}", "'descr' is missing"},
      {"{'descr': '<f4', 'fortran_order': False}", "'shape' is missing"},
      {"{'descr': '<f4', 'shape': (1,)}", "'fortran_order' is missing"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)", "','"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x", "nothing behind"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}", "unknown key 'x'"},
      {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", "twice"},
      {"{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}", "True or False"},
      {"{'descr': '<f4', 'fortran_order': false, 'shape': (1,)}", "True or False"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': [1]}", "'('"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1)}", "(3,)"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", "integer from 0 on"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1.0,)}", "',' or ')'"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (01,)}", "leading zeros"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1 1)}", "',' or ')'"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (,)}", "integer from 0 on"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,,1)}", "integer from 0 on"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775808,)}", "below 2^63"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296)}",
       "too many elements"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 0, 4294967296)}",
       "too many elements"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1)}", "9 extents"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", "4 bytes of data; expected 8"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (0,)}", "4 bytes of data; expected 0"},
      {"{'descr': '<c8', 'fortran_order': False, 'shape': (1,)}", "'<c8'"},
      {"{'descr': '<u8', 'fortran_order': False, 'shape': (1,)}", "'<u8'"},
      {"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", "Python objects"},
      {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", "records"},
      {"{'descr': '<f4, 'fortran_order': False, 'shape': (1,)}", "','"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)};import os", "nothing behind"},
      {"{'descr': __import__('os'), 'fortran_order': False, 'shape': (1,)}", "quotes"},
      {"{'descr': '\\x3cf4', 'fortran_order': False, 'shape': (1,)}", "without escapes"},
      {std::string("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}\0", 56),
       "nothing behind"},
  };
  for (const auto& [text, reason] : lies) {
    CAPTURE(text);
    try {
      static_cast<void>(parse(raw_npy(text, "1234")));
      FAIL_CHECK("read without an error");
    } catch (const InvalidArgument& error) {
      CHECK_THAT(error.what(), Catch::StartsWith("memory") && Catch::Contains(reason));
      CHECK_FALSE(error.details().expected.empty());
      CHECK_FALSE(error.details().hint.empty());
    }
  }
  CHECK_THROWS_WITH(parse(raw_npy(dictionary("|b1", "(1,)"), "\x02")),
                    Catch::Contains("neither 0 nor 1"));
}

TEST_CASE("npy: wrong starts and lengths are refused") {
  const std::string whole = raw_npy(dictionary("<f4", "(1,)"), "1234");
  CHECK(parse(whole).size() == 1);
  for (size_t n = 0; n < whole.size(); ++n) {
    CAPTURE(n);
    CHECK_THROWS_AS(parse(whole.substr(0, n)), InvalidArgument);
  }
  CHECK_THROWS_AS(parse(whole + "x"), InvalidArgument);
  CHECK_THROWS_AS(parse(whole + whole), InvalidArgument);
  CHECK_THROWS_WITH(parse("PK\x03\x04" + whole), Catch::Contains("NUMPY"));
  for (const int version : {0, 4, 255})
    CHECK_THROWS_WITH(parse(raw_npy("{}", "", version)), Catch::Contains("version"));
  std::string long_header = raw_npy(dictionary("<f4", "(1,)"), "1234", 2);
  for (size_t i = 8; i < 12; ++i) long_header[i] = '\xff';
  CHECK_THROWS_WITH(parse(long_header), Catch::Contains("4294967295"));
}

TEST_CASE("npy: 20000 damaged files are read or refused") {
  const std::string whole = raw_npy(dictionary("<i2", "(2, 3)", true), "123456789abc", 1);
  std::mt19937 random(11);
  int read = 0;
  int refused = 0;
  for (int i = 0; i < 20000; ++i) {
    const std::string bytes =
        testing::damaged(whole, "{}[]()'\":,<>|=fiub0123456789TF \n\\\xff\x80"sv, random);
    try {
      static_cast<void>(parse(bytes));
      ++read;
    } catch (const InvalidArgument&) {
      ++refused;
    }
  }
  CHECK(read + refused == 20000);
  CHECK(read > 500);
  CHECK(refused > 10000);
}
