// SPDX-License-Identifier: Apache-2.0
//
// Modules of other libraries, as the tests of conversions make them.
#pragma once

#include <attn/convert.hpp>
#include <attn/error.hpp>
#include <attn/factory.hpp>
#include <catch2/catch.hpp>

#include <map>
#include <string>
#include <vector>

#include "tests/layers/layers.hpp"

namespace attn::test {

using testing::same_bits;
using testing::wave;

// A module's tensors, each full of numbers of its own.
struct Module {
  std::map<std::string, Array> arrays{};
  std::map<std::string, ConstView> views{};

  Module() = default;
  Module(std::initializer_list<std::pair<std::string, Shape>> shapes) {
    for (const auto& [name, shape] : shapes) add(name, wave(shape, ++count_));
  }
  void add(const std::string& name, Array a) {
    arrays[name] = std::move(a);
    views[name] = arrays[name].view();
  }
  [[nodiscard]] TensorSet set() const { return tensor_set(views, "the module"); }
  [[nodiscard]] std::map<std::string, std::vector<int64_t>> shapes() const { return set().shapes; }

 private:
  uint64_t count_ = 0;
};

inline Module torch_module() {
  return {{"in_proj_weight", {24, 8}},
          {"in_proj_bias", {24}},
          {"out_proj.weight", {8, 8}},
          {"out_proj.bias", {8}}};
}

// What convert_attention says against it; empty: nothing.
inline std::string refusal(const Module& module, const ConvertOptions& options) {
  try {
    static_cast<void>(convert_attention(module.set(), options));
    return {};
  } catch (const InvalidArgument& e) {
    return std::string(e.what()) + " | " + e.details().hint;
  }
}

}  // namespace attn::test
