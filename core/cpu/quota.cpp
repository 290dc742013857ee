// SPDX-License-Identifier: Apache-2.0
#include "core/cpu/quota.hpp"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <string_view>

namespace attn::cpu {
namespace {

// The next word as a whole number above 0.
std::optional<double> positive(std::istream& in) {
  std::string word;
  int64_t value = 0;
  if (!(in >> word)) return std::nullopt;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || end != word.data() + word.size() || value <= 0) return std::nullopt;
  return static_cast<double>(value);
}

// CPUs that one group, a directory, grants.
std::optional<double> of_group(const std::string& directory, bool unified) {
  std::ifstream quota(directory + (unified ? "/cpu.max" : "/cpu.cfs_quota_us"));
  std::ifstream period(unified ? "" : directory + "/cpu.cfs_period_us");
  const auto time = positive(quota), of = positive(unified ? quota : period);
  return time && of ? std::optional(*time / *of) : std::nullopt;
}

bool has_cpu(std::string_view controllers) {
  return ("," + std::string(controllers) + ",").find(",cpu,") != std::string::npos;
}

}  // namespace

std::optional<double> quota(const std::string& root) {
  std::optional<double> least;
  std::ifstream groups(root + "/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    // "4:cpu,cpuacct:/path"; version 2: "0::/path"
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool unified = controllers.empty();
    if (!unified && !has_cpu(controllers)) continue;
    std::string path = line.substr(second + 1);
    if (path.empty() || path[0] != '/') continue;
    if (path.find("/..") != std::string::npos) path = "/";  // outside the namespace of this process
    const std::string mount = root + "/sys/fs/cgroup/" + controllers;
    // A group within groups; those that are not mounted here are passed over.
    for (;; path.resize(path.rfind('/'))) {
      if (const auto here = of_group(mount + path, unified))
        least = least ? std::min(*least, *here) : *here;
      if (path.find_first_not_of('/') == std::string::npos) break;
    }
  }
  return least;
}

}  // namespace attn::cpu
