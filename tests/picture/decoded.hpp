// SPDX-License-Identifier: Apache-2.0
//
// The pixels of PNG files as attn writes them: no filters, with or without a palette.
#pragma once

#include <zlib.h>

#include <stdexcept>
#include <string>

#include "host/picture/png.hpp"

namespace attn::test {

inline picture::Pixels decoded(const std::string& file) {
  const auto byte = [&](size_t i) {
    return static_cast<uint64_t>(static_cast<unsigned char>(file.at(i)));
  };
  const auto number = [&](size_t i) {
    return byte(i) << 24 | byte(i + 1) << 16 | byte(i + 2) << 8 | byte(i + 3);
  };
  if (!file.starts_with("\x89PNG\r\n\x1A\n")) throw std::runtime_error("no PNG file");
  picture::Pixels p;
  std::string palette, packed;
  for (size_t at = 8; at < file.size(); at += 12 + number(at)) {
    const std::string name = file.substr(at + 4, 4), data = file.substr(at + 8, number(at));
    if (name == "IHDR") {
      p.width = static_cast<int64_t>(number(at + 8));
      p.height = static_cast<int64_t>(number(at + 12));
    }
    if (name == "PLTE") palette = data;
    if (name == "IDAT") packed += data;
  }
  const int64_t bytes = palette.empty() ? 3 : 1, row = 1 + p.width * bytes;
  std::string raw(static_cast<size_t>(row * p.height), '\0');
  uLongf size = raw.size();
  if (uncompress(reinterpret_cast<Bytef*>(raw.data()), &size,
                 reinterpret_cast<const Bytef*>(packed.data()), packed.size()) != Z_OK ||
      size != raw.size())
    throw std::runtime_error("a PNG file that cannot be read");
  const std::string& from = palette.empty() ? raw : palette;
  for (int64_t y = 0; y < p.height; ++y)
    for (int64_t x = 0; x < p.width; ++x) {
      auto at = static_cast<size_t>(y * row + 1 + x * bytes);
      if (!palette.empty()) at = 3 * static_cast<unsigned char>(raw[at]);
      const auto part = [&](size_t i) { return static_cast<uint8_t>(from.at(at + i)); };
      p.colours.push_back({part(0), part(1), part(2)});
    }
  return p;
}

}  // namespace attn::test
