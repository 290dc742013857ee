// SPDX-License-Identifier: Apache-2.0
//
// The tests of the group "tensors".
#include "host/check/tensors/lists.hpp"

namespace attn::check {

std::span<const Test> tensor_tests() {
  static const std::vector<Test> all = [] {
    std::vector<Test> out;
    for (const auto list : {shape_tests, memory_tests, operator_tests, struct_tests})
      out.insert(out.end(), list().begin(), list().end());
    return out;
  }();
  return all;
}

}  // namespace attn::check
