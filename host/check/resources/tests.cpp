// SPDX-License-Identifier: Apache-2.0
//
// The tests of the group "resources".
#include "host/check/resources/lists.hpp"

namespace attn::check {

std::span<const Test> resource_tests() {
  static const std::vector<Test> all = [] {
    std::vector<Test> out;
    for (const auto list : {growth_tests, use_tests})
      out.insert(out.end(), list().begin(), list().end());
    return out;
  }();
  return all;
}

}  // namespace attn::check
