// SPDX-License-Identifier: Apache-2.0
#include "core/weights/npy.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "core/tensor/convert.hpp"
#include "core/weights/atomic_file.hpp"
#include "core/weights/header_text.hpp"
#include "core/weights/input_file.hpp"
#include "core/weights/npy_header.hpp"

namespace attn::weights {
namespace {

constexpr std::string_view kMagic("\x93NUMPY", 6);
constexpr uint64_t kMaxHeader = uint64_t{1} << 20;  // far beyond any shape of 64 extents

// How the elements lie in the file, and what they become.
struct Kind {
  std::string_view code;  // without the byte order
  std::string_view name;
  attn_dtype dtype;
  size_t size;
};

constexpr std::array<Kind, 12> kKinds{{{"f4", "float32", ATTN_F32, 4},
                                       {"f8", "float64", ATTN_F64, 8},
                                       {"f2", "float16", ATTN_F16, 2},
                                       {"i4", "int32", ATTN_I32, 4},
                                       {"i8", "int64", ATTN_I64, 8},
                                       {"u4", "uint32", ATTN_U32, 4},
                                       {"u1", "uint8", ATTN_U8, 1},
                                       {"b1", "bool", ATTN_BOOL, 1},
                                       {"?", "?", ATTN_BOOL, 1},
                                       {"i1", "int8", ATTN_I32, 1},
                                       {"i2", "int16", ATTN_I32, 2},
                                       {"u2", "uint16", ATTN_I32, 2}}};

Kind find_kind(const std::string& descr, const std::string& file) {
  std::string_view code = descr;
  if (code.find_first_of("<>=|") == 0) code.remove_prefix(1);
  for (const Kind& k : kKinds) {
    if (code == k.code || descr == k.name) return k;
  }
  const bool object = descr.find('O') != std::string::npos;
  refuse_file(file, "elements of kind " + quoted(descr),
              "f2, f4, f8, i1, i2, i4, i8, u1, u2, u4 or b1",
              object ? "Python objects are not read; save an array of numbers"
                     : "convert the array, for example with astype('float32')");
}

void swap_bytes(void* data, size_t n, size_t size) {
  auto* p = static_cast<unsigned char*>(data);
  for (size_t i = 0; i < n; ++i, p += size) std::reverse(p, p + size);
}

// Elements of `kind` at `in` become int32 at `out`.
void widen(const Kind& kind, const unsigned char* in, int32_t* out, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    if (kind.code == "i1") {
      out[i] = static_cast<int8_t>(in[i]);
    } else {
      uint16_t bits = 0;
      std::memcpy(&bits, in + 2 * i, 2);
      out[i] = kind.code == "i2" ? static_cast<int16_t>(bits) : static_cast<int32_t>(bits);
    }
  }
}

// What the header says of the elements.
struct Header {
  Kind kind;
  Shape shape{};
  bool fortran_order = false, big_endian = false;
  uint64_t data_begin = 0;
};

// The text of the header, and where the elements begin.
std::string read_header_text(const InputFile& file, uint64_t* data_begin) {
  const std::string& name = file.name();
  std::array<unsigned char, 12> start{};
  if (file.size() < 10) {
    refuse_file(name, "the file has " + std::to_string(file.size()) + " bytes",
                "an npy file, which has at least 10");
  }
  file.read(0, start.data(), 10, "the start");
  if (std::memcmp(start.data(), kMagic.data(), kMagic.size()) != 0) {
    refuse_file(name, "the file does not begin with \\x93NUMPY", "an npy file", "check the path");
  }
  const int major = start[6];
  const int minor = start[7];
  if (major < 1 || major > 3 || minor != 0) {
    refuse_file(name, "version " + std::to_string(major) + "." + std::to_string(minor),
                "1.0, 2.0 or 3.0", "save it with numpy.save");
  }
  const size_t header_begin = major == 1 ? 10 : 12;
  if (major > 1) file.read(8, start.data() + 8, 4, "the header length");
  uint64_t length = 0;
  for (size_t i = header_begin; i-- > 8;) length = length << 8 | start[i];
  if (length > kMaxHeader || length > file.size() - header_begin) {
    refuse_file(
        name,
        "a header of " + std::to_string(length) + " bytes in a file of " +
            std::to_string(file.size()),
        "a complete file with a header of at most " + std::to_string(kMaxHeader) + " bytes");
  }
  std::string text(static_cast<size_t>(length), '\0');
  file.read(header_begin, text.data(), text.size(), "the header");
  *data_begin = header_begin + length;
  return text;
}

Header read_header(const InputFile& file) {
  const std::string& name = file.name();
  uint64_t data_begin = 0;
  const std::string text = read_header_text(file, &data_begin);
  const NpyDictionary dictionary = parse_npy_dictionary(text, name);
  const Kind kind = find_kind(dictionary.descr, name);
  if (dictionary.shape.size() > ATTN_MAX_RANK) {
    refuse_file(name, std::to_string(dictionary.shape.size()) + " extents",
                "at most " + std::to_string(ATTN_MAX_RANK), "reshape the array");
  }
  const Shape shape(dictionary.shape);
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max() / 8;
  int64_t product = 1;
  for (const int64_t n : shape) {
    if (n > 0 && product > kMost / n) {
      refuse_file(name, "shape " + shape.to_string() + " has too many elements", "fewer than 2^60");
    }
    product *= n > 0 ? n : 1;
  }
  const auto n = static_cast<size_t>(shape.elements());
  if (file.size() - data_begin != n * kind.size) {
    refuse_file(
        name, std::to_string(file.size() - data_begin) + " bytes of data",
        std::to_string(n * kind.size) + " for " + dictionary.descr + " " + shape.to_string());
  }
  return {kind, shape, dictionary.fortran_order, dictionary.descr[0] == '>', data_begin};
}

Shape reversed(const Shape& shape) {
  std::vector<int64_t> extents = shape.to_vector();
  std::reverse(extents.begin(), extents.end());
  return Shape(extents);
}

Array read(const InputFile& file) {
  const auto [kind, shape, fortran_order, big_endian, data_begin] = read_header(file);
  const auto n = static_cast<size_t>(shape.elements());
  const Shape stored = fortran_order ? reversed(shape) : shape;
  Array array = Array::uninitialized(kind.dtype, stored);
  if (kind.size == dtype_size(kind.dtype)) {
    file.read(data_begin, array.raw(), array.bytes(), "the data");
    if (big_endian && kind.size > 1) swap_bytes(array.raw(), n, kind.size);
    if (kind.dtype == ATTN_BOOL && !bools_are_sound(array.raw(), n)) {
      refuse_file(file.name(), "a bool byte that is neither 0 nor 1", "0 or 1");
    }
  } else {
    Array narrow = Array::uninitialized(ATTN_U8, {static_cast<int64_t>(n * kind.size)});
    file.read(data_begin, narrow.raw(), narrow.bytes(), "the data");
    if (big_endian && kind.size > 1) swap_bytes(narrow.raw(), n, kind.size);
    widen(kind, narrow.data<uint8_t>(), array.data<int32_t>(), n);
  }
  if (!fortran_order) return array;
  return Array::copy_of(
      ConstView(array.raw(), kind.dtype, shape, reversed(stored.dense_strides())));
}

}  // namespace

Array read_npy(const std::string& path) { return read(InputFile(path)); }

Array read_npy(const void* bytes, size_t size, const std::string& name) {
  return read(InputFile(bytes, size, name));
}

std::string npy_header(const ConstView& view, const std::string& where) {
  view.check(where);
  const std::string_view descr = dtype_npy_descr(view.dtype);
  if (descr.empty()) {
    refuse_file(where, std::string(dtype_name(view.dtype)) + " has no npy form", "another kind",
                "convert to float32 first, or use safetensors");
  }
  std::string shape = "(";
  for (const int64_t n : view.shape)
    shape += std::to_string(n) + (view.shape.rank() == 1 ? "," : ", ");
  if (view.shape.rank() > 1) shape.resize(shape.size() - 2);
  std::string text =
      "{'descr': '" + std::string(descr) + "', 'fortran_order': False, 'shape': " + shape + "), }";
  // The elements begin at a multiple of 64 bytes.
  const size_t before = 10;
  while ((before + text.size() + 1) % 64 != 0) text += ' ';
  text += '\n';
  std::string header(kMagic);
  header += {'\x01', '\x00'};
  header += static_cast<char>(static_cast<unsigned char>(text.size() & 0xff));
  header += static_cast<char>(static_cast<unsigned char>(text.size() >> 8));
  return header + text;
}

void write_npy(const std::string& path, const ConstView& view) {
  const std::string header = npy_header(view, path);
  AtomicFile file(path);
  file.write(header.data(), header.size());
  const Array dense = view.is_dense() && view.dtype != ATTN_BOOL ? Array() : Array::copy_of(view);
  const void* data = dense.size() > 0 ? dense.raw() : view.data;
  file.write(data, static_cast<size_t>(view.size()) * dtype_size(view.dtype));
  file.commit();
}

}  // namespace attn::weights
