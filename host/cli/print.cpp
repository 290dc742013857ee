// SPDX-License-Identifier: Apache-2.0
#include "host/cli/print.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace attn::cli {

namespace {

bool coloured() {
  static const bool on = [] {
    const char* off = std::getenv("NO_COLOR");
    const char* terminal = std::getenv("TERM");
    if (off && *off) return false;
    if (!terminal || std::string_view(terminal) == "dumb") return false;
    return isatty(STDOUT_FILENO) == 1;
  }();
  return on;
}

// Whether a progress line stands on the terminal now.
std::mutex error_mutex;
bool progress_shown = false;

// Characters, not bytes: continuation bytes of UTF-8 do not count.
size_t columns(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

}  // namespace

std::string paint(Colour colour, std::string_view text) {
  if (!coloured()) return std::string(text);
  constexpr const char* kCodes[] = {"1", "2", "31", "32", "33"};
  return fmt::format("\033[{}m{}\033[0m", kCodes[static_cast<int>(colour)], text);
}

std::string visible(std::string_view text) {
  constexpr size_t kMost = 8000;
  constexpr char kDigits[] = "0123456789abcdef";
  size_t cut = std::min(text.size(), kMost);
  if (cut < text.size())
    while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xC0) == 0x80) --cut;
  std::string out;
  const auto escape = [&](char c) {
    const auto byte = static_cast<unsigned char>(c);
    out += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
  };
  for (size_t i = 0; i < cut; ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x20 || byte == 0x7F) {
      escape(text[i]);
    } else if (byte == 0xC2 && i + 1 < cut && static_cast<unsigned char>(text[i + 1]) < 0xA0) {
      escape(text[i]);  // U+0080 to U+009F: terminals obey these, too
      escape(text[++i]);
    } else {
      out += text[i];
    }
  }
  if (cut < text.size()) out += fmt::format("... ({} bytes)", text.size());
  return out;
}

void print(std::string_view text) {
  const std::lock_guard lock(error_mutex);
  if (progress_shown) std::fputs("\r\033[K", stderr);
  progress_shown = false;
  std::fwrite(text.data(), 1, text.size(), stdout);
}
void print_line(std::string_view text) {
  print(text);
  print("\n");
}

void print_error_line(std::string_view text) {
  const std::lock_guard lock(error_mutex);
  if (progress_shown) std::fputs("\r\033[K", stderr);
  progress_shown = false;
  std::fflush(stdout);  // lines appear in the order in which they were written
  const std::string line = std::string(text) + "\n";
  std::fwrite(line.data(), 1, line.size(), stderr);
  std::fflush(stderr);
}

Table::Table(std::vector<std::string> head, std::string right_aligned)
    : right_(std::move(right_aligned)) {
  rows_.push_back(std::move(head));
}

void Table::add(std::vector<std::string> row) {
  for (std::string& cell : row) cell = visible(cell);
  rows_.push_back(std::move(row));
}

std::string Table::text() const {
  std::vector<size_t> width(rows_.front().size(), 0);
  for (const auto& row : rows_)
    for (size_t i = 0; i < row.size() && i < width.size(); ++i)
      width[i] = std::max(width[i], columns(row[i]));
  std::string out;
  for (size_t r = 0; r < rows_.size(); ++r) {
    std::string line;
    for (size_t i = 0; i < rows_[r].size(); ++i) {
      const std::string pad(width[i] - columns(rows_[r][i]), ' ');
      const bool right = i < right_.size() && right_[i] == 'r';
      line += (i ? "  " : "") + (right ? pad : "") + rows_[r][i] + (right ? "" : pad);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += (r == 0 ? paint(Colour::bold, line) : line) + "\n";
  }
  return out;
}

std::string wrapped(std::string_view text, size_t indent, size_t width) {
  std::string out;
  size_t column = indent;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    if (!out.empty()) {
      if (column + 1 + columns(word) > width) {
        out += "\n" + std::string(indent, ' ');
        column = indent;
      } else {
        out += ' ';
        ++column;
      }
    }
    out += word;
    column += columns(word);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

std::string human_bytes(double bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < std::size(kUnits)) {
    bytes /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.1f} {}", bytes, kUnits[unit]);
}

std::string human_count(double count) {
  constexpr const char* kUnits[] = {"", " k", " M", " G", " T"};
  size_t unit = 0;
  while (count >= 1000 && unit + 1 < std::size(kUnits)) {
    count /= 1000;
    ++unit;
  }
  return unit == 0 ? fmt::format("{:.0f}", count) : fmt::format("{:.2f}{}", count, kUnits[unit]);
}

Json json_number(double x) {
  if (std::isfinite(x)) return x;
  return std::isnan(x) ? "nan" : fmt::format("{}", x);
}

std::string grouped(int64_t count) {
  std::string digits = std::to_string(count);
  for (size_t at = digits.size(); at > 3 + (count < 0 ? 1u : 0u); at -= 3)
    digits.insert(at - 3, ",");
  return digits;
}

Progress::Progress(bool enabled) {
  if (enabled && isatty(STDERR_FILENO) == 1) thread_ = std::thread([this] { tick(); });
}

Progress::~Progress() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  thread_.join();
  const std::lock_guard lock(error_mutex);
  if (progress_shown) std::fputs("\r\033[K", stderr);
  progress_shown = false;
}

void Progress::say(std::string text) {
  const std::lock_guard lock(mutex_);
  text_ = std::move(text);
}
void Progress::say(const std::string& text, size_t done, size_t all) {
  say(fmt::format("{} of {}: {}", done, all, text));
}

void Progress::tick() {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  auto pause = std::chrono::milliseconds(1000);
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, pause, [this] { return stop_; })) {
    pause = std::chrono::milliseconds(200);
    const auto seconds = std::chrono::duration<double>(Clock::now() - start).count();
    const std::string line = fmt::format("\r\033[K{:.0f} s  {}", seconds, text_.substr(0, 70));
    const std::lock_guard error_lock(error_mutex);
    std::fwrite(line.data(), 1, line.size(), stderr);
    std::fflush(stderr);
    progress_shown = true;
  }
}

}  // namespace attn::cli
