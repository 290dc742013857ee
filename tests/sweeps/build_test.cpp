// SPDX-License-Identifier: Apache-2.0
//
// A layer built for shapes and one built by its first call are the same layer: weights and results to the bit.
#include <attn/factory.hpp>
#include <catch2/catch.hpp>

#include "host/check/generator/settings.hpp"

using namespace attn;
using namespace attn::check;

namespace {

constexpr uint64_t kSeed = 5;

void examine(const Setting& s, attn_dtype dtype) {
  const auto make = [&] {
    set_seed(kSeed);
    return create_attention_layer(s.type, s.c.problem.config, "layer");
  };
  const auto run = [&](Attention& layer) {
    Call call(layer, s.c, s.c.problem.inputs, spec_of(s.c), dtype);
    call.begin();
    return call.run();
  };
  const auto by_call = make();
  const auto first = run(*by_call);
  const auto by_shapes = make();
  by_shapes->build(shapes_of(s.c), {.dtype = dtype});

  INFO(s.told() << (dtype == ATTN_F32 ? "\n  float32" : "\n  float64"));
  CHECK(by_call->config() == by_shapes->config());
  const std::vector<WeightInfo> a = by_call->weights(), b = by_shapes->weights();
  REQUIRE(a.size() == b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    INFO(a[i].name);
    REQUIRE(a[i].name == b[i].name);
    CHECK(a[i].shape == b[i].shape);
    CHECK(a[i].trainable == b[i].trainable);
    if (a[i].not_stored) continue;
    CHECK(to_tensor(by_call->weight(a[i].name)).v == to_tensor(by_shapes->weight(a[i].name)).v);
  }
  const auto later = run(*by_shapes);
  REQUIRE(first.size() == later.size());
  for (const auto& [name, value] : first) {
    INFO(name);
    CHECK(largest_difference(value, later.at(name)) == 0);
  }
}

}  // namespace

TEST_CASE("sweep: a layer built by shapes is the one that its first call builds") {
  for (const std::string& type : list_attention_types()) DYNAMIC_SECTION(type) {
      for (const Setting& s : settings(type))
        for (const attn_dtype dtype : {ATTN_F32, ATTN_F64}) examine(s, dtype);
    }
}
