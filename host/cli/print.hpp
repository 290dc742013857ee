// SPDX-License-Identifier: Apache-2.0
//
// Text for people: tables, colour and progress.
//
// Colour and progress appear on terminals only; NO_COLOR and TERM=dumb switch colour off. Results go to
// standard output, everything else to standard error.
#pragma once

#include <attn/json.hpp>

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace attn::cli {

enum class Colour { bold, dim, red, green, yellow };

// The text in a colour when standard output is a terminal, else as it is.
[[nodiscard]] std::string paint(Colour colour, std::string_view text);

// The text as one line that a terminal only shows: control characters as \xNN, cut where it gets too long. For
// text that comes from files, paths and configurations.
[[nodiscard]] std::string visible(std::string_view text);

// Writes to standard output.
void print(std::string_view text);
void print_line(std::string_view text = "");

// Writes one line to standard error, in front of a progress line that may stand there. [any-thread]
void print_error_line(std::string_view text);

// Columns as wide as their widest cell; the first row is the head. Cells hold plain text and are shown visible().
class Table {
 public:
  explicit Table(std::vector<std::string> head, std::string right_aligned = "");
  void add(std::vector<std::string> row);
  [[nodiscard]] std::string text() const;

 private:
  std::vector<std::vector<std::string>> rows_;
  std::string right_;  // 'r' at the index of a column: right aligned
};

// Text in lines of at most `width` characters, each after the first indented.
[[nodiscard]] std::string wrapped(std::string_view text, size_t indent, size_t width = 100);

[[nodiscard]] std::string human_bytes(double bytes);  // "1.5 MiB"
[[nodiscard]] std::string human_count(double count);  // "1.5 G"
[[nodiscard]] std::string grouped(int64_t count);     // "1,234,567"
// For results in JSON; infinity and NaN as text.
[[nodiscard]] Json json_number(double x);

// A line on the terminal that shows what is being done, once it takes longer than a second. Nothing when
// standard error is no terminal or `enabled` is false. One at a time.
class Progress {
 public:
  explicit Progress(bool enabled);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  void say(std::string text);
  void say(const std::string& text, size_t done, size_t all);

 private:
  void tick();
  std::mutex mutex_;
  std::condition_variable wake_;
  std::string text_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace attn::cli
