// SPDX-License-Identifier: Apache-2.0
//
// Components of a head turn in pairs; a share that leaves no pair, or one component without its other, is warned of.
#include <attn/log.hpp>
#include <catch2/catch.hpp>

#include "tests/layers/layers.hpp"

namespace attn::testing {
namespace {

std::vector<std::string> warnings;

// What building the layer warns of.
std::vector<std::string> told(const std::string& type, const Json& config) {
  warnings.clear();
  set_log_sink([](LogLevel level, std::string_view text) {
    if (level == LogLevel::warning) warnings.emplace_back(text);
  });
  create_attention_layer(type, config)->build({Shape{1, 3, 24}});
  set_log_sink({});
  return warnings;
}

}  // namespace

TEST_CASE("rotation: every type says at build when a head has nothing, or an odd rest, to rotate") {
  int types = 0;
  for (const std::string& id : list_attention_types()) {
    const attn_type& t = *find_attention_type(id).type;
    bool rotates = false;
    for (uint32_t i = 0; i < t.n_params; ++i)
      rotates = rotates || std::string(t.params[i]->name) == "rope_percentage";
    if (!rotates) continue;
    ++types;
    for (const auto& [heads, share, rotated] : std::vector<std::tuple<int64_t, double, int64_t>>{
             {24, 1.0, 0},  // heads of 1
             {24, 0.5, 0},
             {12, 0.5, 0},  // of 2
             {8, 0.5, 0},   // of 3
             {6, 0.25, 0},  // of 4
             {6, 0.4999, 0},
             {8, 1.0, 2},    // odd
             {12, 1.0, -1},  // all, or the whole share
             {6, 0.5, -1},
             {3, 0.25, -1}}) {
      CAPTURE(id, heads, share);
      const std::vector<std::string> lines = told(
          id,
          {{"dim", 24}, {"num_heads", heads}, {"num_kv_heads", heads}, {"rope_percentage", share}});
      REQUIRE(lines.size() == (rotated < 0 ? 0u : 1u));
      if (rotated < 0) continue;
      using Catch::Matchers::Contains;
      CHECK_THAT(lines[0], Contains("head of size " + std::to_string(24 / heads)) &&
                               Contains("rotates " + std::to_string(rotated)));
    }
  }
  CHECK(types >= 2);
}

TEST_CASE("rotation: a share of 0 is a choice and nothing is said") {
  CHECK(told("group_query",
             {{"dim", 24}, {"num_heads", 6}, {"num_kv_heads", 6}, {"rope_percentage", 0.0}})
            .empty());
}

}  // namespace attn::testing
