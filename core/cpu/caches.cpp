// SPDX-License-Identifier: Apache-2.0
#include "core/cpu/caches.hpp"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <optional>
#include <string_view>

namespace attn::cpu {
namespace {

int first_cpu() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 0;
  int cpu = 0;
  while (cpu < CPU_SETSIZE - 1 && !CPU_ISSET(static_cast<size_t>(cpu), &set)) ++cpu;
  return CPU_ISSET(static_cast<size_t>(cpu), &set) ? cpu : 0;
}

std::string line_of(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// The number that a text begins with, which is cut off; 0: none.
int64_t number(std::string_view& text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return 0;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return value;
}

// "1024K", "32M"
int64_t size_of(std::string_view text) {
  const int64_t n = number(text);
  return text.starts_with('K') ? n << 10 : text.starts_with('M') ? n << 20 : n;
}

// CPUs of a list: "0-3,8" has five.
int count_of(std::string_view list) {
  int64_t count = 0;
  while (!list.empty()) {
    const int64_t first = number(list);
    int64_t last = first;
    if (list.starts_with('-')) {
      list.remove_prefix(1);
      last = number(list);
    }
    count += std::max<int64_t>(last - first + 1, 0);
    if (!list.starts_with(',')) break;
    list.remove_prefix(1);
  }
  return static_cast<int>(std::max<int64_t>(count, 1));
}

}  // namespace

Caches read_caches(int cpu, const std::string& root) {
  Caches found;
  Cache* const levels[] = {&found.first, &found.second, &found.third};
  const std::string folder =
      root + "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/cache/index";
  bool any = false;
  for (int i = 0; i < 8; ++i) {
    const std::string index = folder + std::to_string(i) + "/";
    const std::string kind = line_of(index + "type"), level = line_of(index + "level");
    if (kind != "Data" && kind != "Unified") continue;
    const int64_t bytes = size_of(line_of(index + "size"));
    if (bytes <= 0 || level.size() != 1 || level[0] < '1' || level[0] > '3') continue;
    *levels[level[0] - '1'] = {bytes, count_of(line_of(index + "shared_cpu_list"))};
    any = true;
  }
  if (!any && root.empty()) {
    constexpr int kNames[] = {_SC_LEVEL1_DCACHE_SIZE, _SC_LEVEL2_CACHE_SIZE, _SC_LEVEL3_CACHE_SIZE};
    for (int i = 0; i < 3; ++i)
      if (const long bytes = sysconf(kNames[i]); bytes > 0) levels[i]->bytes = bytes;
  }
  return found;
}

static Caches& current() {
  static Caches found = read_caches(first_cpu());
  return found;
}

const Caches& caches() { return current(); }
void set_caches(const Caches& others) { current() = others; }

int64_t capacity(const Cache& cache, int threads) {
  return cache.bytes * ((threads + cache.sharing - 1) / cache.sharing);
}

}  // namespace attn::cpu
