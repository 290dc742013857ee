// SPDX-License-Identifier: Apache-2.0
#include "host/picture/png.hpp"

#include <zlib.h>

#include <map>
#include <new>

namespace attn::picture {

namespace {

std::string big_endian(uint64_t n) {
  return {static_cast<char>(n >> 24), static_cast<char>(n >> 16), static_cast<char>(n >> 8),
          static_cast<char>(n)};
}

std::string chunk(const std::string& name, const std::string& data) {
  const std::string body = name + data;
  return big_endian(data.size()) + body +
         big_endian(
             crc32(0, reinterpret_cast<const Bytef*>(body.data()), static_cast<uInt>(body.size())));
}

}  // namespace

std::string encode_png(const Pixels& p, int dots) {
  // Numbers of the colours where one byte has room for them, which is a third of the size.
  std::vector<uint8_t> numbers(p.colours.size());
  std::map<uint32_t, size_t> known;
  std::string palette;
  for (size_t i = 0; i < p.colours.size() && known.size() <= 256; ++i) {
    const Colour c = p.colours[i];
    const auto [place, is_new] = known.emplace(c.red << 16U | c.green << 8U | c.blue, known.size());
    numbers[i] = static_cast<uint8_t>(place->second);
    if (is_new)
      palette += {static_cast<char>(c.red), static_cast<char>(c.green), static_cast<char>(c.blue)};
  }
  const bool indexed = known.size() <= 256;
  const auto* bytes = indexed ? reinterpret_cast<const char*>(numbers.data())
                              : reinterpret_cast<const char*>(p.colours.data());
  const auto length = static_cast<size_t>(p.width) * (indexed ? 1 : 3);
  std::string rows;
  for (int64_t y = 0; y < p.height; ++y) {
    rows += '\0';  // as they are: most of a picture are flat areas
    rows.append(bytes + static_cast<size_t>(y) * length, length);
  }
  uLongf size = compressBound(rows.size());
  std::string packed(size, '\0');
  if (compress2(reinterpret_cast<Bytef*>(packed.data()), &size,
                reinterpret_cast<const Bytef*>(rows.data()), rows.size(), 9) != Z_OK)
    throw std::bad_alloc();
  packed.resize(size);
  const std::string head = big_endian(static_cast<uint64_t>(p.width)) +
                           big_endian(static_cast<uint64_t>(p.height)) + '\x08' +
                           (indexed ? '\x03' : '\x02') + std::string(3, '\0');
  const std::string per_metre = big_endian(static_cast<uint64_t>(dots) * 3780);  // 96 units an inch
  return "\x89PNG\r\n\x1A\n" + chunk("IHDR", head) + chunk("pHYs", per_metre + per_metre + '\x01') +
         (indexed ? chunk("PLTE", palette) : "") + chunk("IDAT", packed) + chunk("IEND", "");
}

}  // namespace attn::picture
