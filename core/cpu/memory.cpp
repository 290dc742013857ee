// SPDX-License-Identifier: Apache-2.0
#include "core/cpu/memory.hpp"

#include <fstream>
#include <sstream>

namespace attn::cpu {

std::optional<int64_t> available_memory(const std::string& root) {
  constexpr int64_t kUnit = 1024;  // the file says kB
  std::ifstream file(root + "/proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string name;
    int64_t amount = 0;
    if (words >> name >> amount && name == "MemAvailable:" && amount >= 0 &&
        amount <= INT64_MAX / kUnit)
      return kUnit * amount;
  }
  return std::nullopt;
}

}  // namespace attn::cpu
