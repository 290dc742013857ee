// SPDX-License-Identifier: Apache-2.0
//
// Changes valid files a little, the same way for the same seed: bits, bytes, lengths, numbers, tokens, cuts, and
// pieces of one file in another.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace attn::fuzz {

// Part of a file: what a reader computes offsets and sizes from.
struct Range {
  std::size_t begin = 0, size = 0;
};

class Mutator {
 public:
  explicit Mutator(uint64_t seed) : random_(seed) {}

  // One of the files with one to four changes. hot: where most of them go; empty: anywhere.
  std::string mutate(const std::vector<std::string>& files, const std::vector<Range>& hot = {}) {
    std::string file = files[below(files.size())];
    for (std::size_t n = 1 + below(4); n > 0 && !file.empty(); --n) change(file, files, hot);
    return file;
  }

 private:
  std::size_t below(std::size_t n) { return n == 0 ? 0 : random_() % n; }

  std::size_t place(const std::string& file, const std::vector<Range>& hot) {
    if (hot.empty() || below(4) == 0) return below(file.size());
    const Range& range = hot[below(hot.size())];
    return std::min(range.begin + below(range.size), file.size() - 1);
  }

  // Mostly short, so that the rest stays valid.
  std::size_t length(std::size_t most) {
    return below(std::min<std::size_t>(most, below(8) ? 12 : most) + 1);
  }

  void change(std::string& file, const std::vector<std::string>& files,
              const std::vector<Range>& hot) {
    static constexpr std::string_view kTokens[] = {
        "{",        "}",       "[",  "]",       ",",
        ":",        "\"",      "\\", "\\u0000", "\\ud800",
        "null",     "true",    "-",  ".",       "(",
        ")",        "'",       "\n", "\xff",    "\xc3\xa9",
        "[[[[[[[[", "{\"a\":", "L",  "/",       std::string_view("\0", 1),
        "1e400",    " "};
    static constexpr unsigned char kBytes[] = {0,    1,    0x7f, 0x80, 0xff,
                                               0x20, 0x22, 0x5c, 0x30, 0x39};
    const std::size_t at = place(file, hot);
    switch (below(11)) {
      case 0:
        file[at] = static_cast<char>(file[at] ^ (1 << below(8)));
        break;
      case 1:
        file[at] = static_cast<char>(kBytes[below(std::size(kBytes))]);
        break;
      case 2:
        file.erase(at, length(file.size() - at));
        break;
      case 3:
        file.insert(below(file.size()), std::string(file, at, length(file.size() - at)));
        break;
      case 4:
        file.resize(at);
        break;
      case 5: {
        const std::string& other = files[below(files.size())];
        file = file.substr(0, at) + other.substr(below(other.size()));
        break;
      }
      case 6:
        write_integer(file, at);
        break;
      case 7:
      case 8:
        change_number(file, at);
        break;
      case 9:
        file.insert(at, kTokens[below(std::size(kTokens))]);
        break;
      default:
        exchange_texts(file);
        break;
    }
  }

  // A binary length or offset.
  void write_integer(std::string& file, std::size_t at) {
    const uint64_t values[] = {0,
                               1,
                               8,
                               0x7f,
                               0xff,
                               0x7fff,
                               0xffff,
                               file.size(),
                               file.size() + 1,
                               0x7fffffff,
                               0xffffffff,
                               uint64_t{1} << 63,
                               ~uint64_t{0},
                               random_()};
    uint64_t value = values[below(std::size(values))];
    if (below(4) == 0) value = ~value + 1;
    const std::size_t bytes = std::size_t{1} << below(4);
    std::memcpy(file.data() + at, &value, std::min(bytes, file.size() - at));
  }

  // The next number written in digits becomes another.
  void change_number(std::string& file, std::size_t at) {
    static constexpr std::string_view kNumbers[] = {"0",
                                                    "1",
                                                    "2",
                                                    "-1",
                                                    "-0",
                                                    "1.0",
                                                    "0.5",
                                                    "1e2",
                                                    "7",
                                                    "64",
                                                    "255",
                                                    "65536",
                                                    "1048576",
                                                    "2147483648",
                                                    "4294967296",
                                                    "9007199254740993",
                                                    "9223372036854775807",
                                                    "9223372036854775808",
                                                    "18446744073709551616",
                                                    "99999999999999999999999999",
                                                    "1e308",
                                                    "1e400",
                                                    "24e-24",
                                                    "-1e-400",
                                                    "01",
                                                    "1.",
                                                    "0x10",
                                                    "NaN",
                                                    "[3]",
                                                    "\"8\""};
    const std::size_t begin = file.find_first_of("0123456789", at);
    if (begin == std::string::npos) return;
    const std::size_t end = std::min(file.find_first_not_of("0123456789.eE+-", begin), file.size());
    file.replace(begin, end - begin, kNumbers[below(std::size(kNumbers))]);
  }

  // Two texts in quotes change places: keys, names, choices.
  void exchange_texts(std::string& file) {
    std::vector<Range> texts;
    for (std::size_t open = file.find('"'); open != std::string::npos && texts.size() < 4096;) {
      const std::size_t close = file.find('"', open + 1);
      if (close == std::string::npos) break;
      texts.push_back({open, close + 1 - open});
      open = file.find('"', close + 1);
    }
    if (texts.size() < 2) return;
    Range a = texts[below(texts.size())], b = texts[below(texts.size())];
    if (a.begin > b.begin) std::swap(a, b);
    const std::string first = file.substr(a.begin, a.size), second = file.substr(b.begin, b.size);
    file.replace(b.begin, b.size, first);
    if (a.begin != b.begin) file.replace(a.begin, a.size, second);
  }

  std::mt19937_64 random_;
};

}  // namespace attn::fuzz
