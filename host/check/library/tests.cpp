// SPDX-License-Identifier: Apache-2.0
//
// The tests of the group "library".
#include "host/check/library/lists.hpp"

namespace attn::check {

std::span<const Test> library_tests() {
  static const std::vector<Test> all = [] {
    std::vector<Test> out;
    for (const auto list : {bytes_tests, loading_tests, entry_tests})
      out.insert(out.end(), list().begin(), list().end());
    return out;
  }();
  return all;
}

}  // namespace attn::check
