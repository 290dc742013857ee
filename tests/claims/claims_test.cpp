// SPDX-License-Identifier: Apache-2.0
//
// What types claim, as a host sees it: their lists, their conditions, their relations.
#include <attn/claims.hpp>
#include <attn/factory.hpp>
#include <attn/plugins.hpp>
#include <catch2/catch.hpp>

#include <set>

#include "tests/tools/build.hpp"
#include "tests/tools/plugin_folders.hpp"

using namespace attn;

namespace {

const std::string kFixtures = test::built("tests/plugins_bad/");

std::vector<ClaimInfo> claims(const Attention& layer, const std::string& name) {
  std::vector<ClaimInfo> out;
  for (const ClaimInfo& c : claims_of(layer.type()))
    if (c.name == name) out.push_back(c);
  return out;
}

bool holds(const Attention& layer, const std::string& name, const ClaimCall::Options& options) {
  const ClaimCall call(layer, options);
  for (const ClaimInfo& c : claims(layer, name))
    if (call.holds(c)) return true;
  return false;
}

// Rows are outputs, columns positions of the subject.
std::string relation(const Attention& layer, const std::string& name, int64_t n,
                     const std::vector<Argument>& arguments = {}) {
  const ClaimCall call(layer, {.arguments = arguments, .inputs = {Shape{1, n, 8}}});
  std::string out;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) out += call.allows(claims(layer, name).at(0), i, j) ? '#' : '.';
    out += ' ';
  }
  return out;
}

}  // namespace

TEST_CASE("claims: every type of the library has some, all of them known") {
  size_t types = 0;
  for (const std::string& name : list_attention_types()) {
    if (name.find('.') != std::string::npos) continue;
    ++types;
    INFO(name);
    std::set<std::string> names;
    for (const ClaimInfo& c : claims_of(*find_attention_type(name).type)) {
      CHECK(c.known);
      names.insert(c.name);
    }
    CHECK(names.count("batch_independent") == 1);
    CHECK(names.count("deterministic") == 1);
    CHECK(names.count("equivariant") + names.count("invariant") +
              names.count("position_sensitive") >
          0);
  }
  CHECK(types == test::type_examples().size());
}

TEST_CASE("claims: a condition is asked with the config and the call") {
  const auto layer = create_attention_layer("multi_head", {{"dim", 8}, {"num_heads", 2}});
  const std::vector<Argument> causal{{"use_causal_mask", true}}, free{{"use_causal_mask", false}};
  CHECK_FALSE(holds(*layer, "causal", {}));
  CHECK(holds(*layer, "causal", {.arguments = causal}));
  CHECK(holds(*layer, "causal", {.stateful = true}));
  CHECK_FALSE(holds(*layer, "causal", {.arguments = free, .stateful = true}));
  CHECK(holds(*layer, "equivariant", {}));
  CHECK_FALSE(holds(*layer, "equivariant", {.arguments = causal}));
  CHECK(holds(*layer, "position_sensitive", {.arguments = causal}));
  CHECK(holds(*layer, "batch_independent", {.training = true}));
  const auto batch =
      create_attention_layer("multi_head", {{"dim", 8}, {"qk_norm_type", "batch_norm"}});
  CHECK(holds(*batch, "batch_independent", {}));
  CHECK_FALSE(holds(*batch, "batch_independent", {.training = true}));
  CHECK_FALSE(
      holds(*batch, "batch_independent", {.arguments = std::vector<Argument>{{"training", true}}}));

  CHECK(claims(*layer, "causal").at(0).text() == "causal when use_causal_mask");
  CHECK(
      claims(*layer, "equivariant").at(0).text() ==
      "equivariant when no score program or mask rule and not use_causal_mask and any distance is "
      "seen");
  CHECK_THROWS_AS(ClaimCall(*layer, {.arguments = std::vector<Argument>{{"use_mask", true}}}),
                  InvalidArgument);
}

TEST_CASE("claims: options of a config, and numbers that replaced nulls") {
  const auto over = [](const Json& axis) {
    return create_attention_layer("multi_head",
                                  {{"dim", 8}, {"probability_config", {{"axis", axis}}}});
  };
  CHECK(holds(*over(-1), "mask_respected", {}));
  CHECK_FALSE(holds(*over(-2), "mask_respected", {}));
  CHECK_FALSE(holds(*over(Json::List{-2, -1}), "mask_respected", {}));
  const auto gated = [](double share) {
    return create_attention_layer("gated",
                                  {{"dim", 8}, {"num_heads", 2}, {"rope_percentage", share}});
  };
  CHECK(holds(*gated(0.4), "equivariant", {}));  // head_dim is 4
  CHECK(holds(*gated(0.5), "position_sensitive", {}));
}

TEST_CASE("claims: relations between positions") {
  const auto window =
      create_attention_layer("window", {{"dim", 8}, {"num_heads", 2}, {"window_size", 2}});
  CHECK(
      relation(*window, "reaches", 9) ==
      "##.##.... ##.##.... ..#..#... ##.##.... ##.##.... ..#..#... ......##. ......##. ........# ");
  const auto anchor = create_attention_layer("anchor", {{"dim", 8}, {"num_heads", 2}});
  CHECK(relation(*anchor, "reaches", 4, {{"num_anchor_tokens", 2}}) == "##.. ##.. ###. ##.# ");
  CHECK(relation(*anchor, "reaches", 3) == "### ### ### ");
  CHECK(relation(*anchor, "equivariant", 4, {{"num_anchor_tokens", 1}}) == "#... .### .### .### ");
  const std::vector<int64_t> sizes{1, 1, 1, 1};
  const auto cross = create_attention_layer("shared_weights_cross", {{"dim", 8}, {"num_heads", 2}});
  CHECK(relation(*cross, "reaches", 4, {{"split_sizes", sizes}}) == "#.#. .##. #.#. #..# ");
  const auto multi_head = create_attention_layer("multi_head", {{"dim", 8}, {"num_heads", 2}});
  CHECK(relation(*multi_head, "causal", 3) == "#.. ##. ### ");
  const auto spatial = create_attention_layer("spatial", {{"kernel_size", 3}});
  const ClaimCall call(*spatial, {.inputs = {Shape{1, 3, 4, 2}}});
  const ClaimInfo box = claims(*spatial, "reaches").at(0);
  CHECK(call.holds(box));
  CHECK(call.allows(box, 5, 0));
  CHECK(call.allows(box, 3, 6));
  CHECK_FALSE(call.allows(box, 3, 4));  // the next row begins there
  CHECK_FALSE(call.allows(box, 5, 7));
}

TEST_CASE("claims: those of a later border are shown and mean nothing") {
  load_plugin(kFixtures + "later_claims.so");
  const auto layer = create_attention_layer("fixture.later_claims", {{"size", 2}});
  const std::vector<ClaimInfo> all = claims_of(layer->type());
  REQUIRE(all.size() == 2);
  CHECK(all[1].text() == "claim_99 everything");
  CHECK_FALSE(all[1].known);
  CHECK_FALSE(ClaimCall(*layer, {}).holds(all[1]));
  CHECK(ClaimCall(*layer, {}).holds(all[0]));
  CHECK(claim_can_hold(*layer, all[0]));
  const auto other = create_attention_layer("fixture.later_claims", {{"size", 3}});
  CHECK_FALSE(claim_can_hold(*other, all[0]));
  load_plugin(kFixtures + "good.so");
  CHECK(claims_of(*find_attention_type("fixture.good").type).empty());
}
