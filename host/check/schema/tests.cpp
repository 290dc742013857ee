// SPDX-License-Identifier: Apache-2.0
//
// The tests of the group "schema".
#include "host/check/schema/lists.hpp"

namespace attn::check {

std::span<const Test> schema_tests() {
  static const std::vector<Test> all = [] {
    std::vector<Test> out;
    for (const auto list : {word_tests, value_tests, refusal_tests})
      out.insert(out.end(), list().begin(), list().end());
    return out;
  }();
  return all;
}

}  // namespace attn::check
