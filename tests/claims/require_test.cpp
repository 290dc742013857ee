// SPDX-License-Identifier: Apache-2.0
//
// Layers of which claims are required: by an option and in a config.
#include <attn/claims.hpp>
#include <attn/config.hpp>
#include <attn/factory.hpp>
#include <attn/plugins.hpp>
#include <catch2/catch.hpp>

#include "tests/tools/build.hpp"

using namespace attn;

namespace {

template <class F>
std::string refusal(F&& create) {
  try {
    (void)create();
  } catch (const InvalidArgument& e) {
    CHECK(e.details().parameter == "$require");
    CHECK(!e.details().expected.empty());
    CHECK(!e.details().hint.empty());
    CHECK(!e.details().value.empty());
    return e.what();
  }
  return "";
}

std::string refused(const std::string& type, const Json& parameters,
                    const std::vector<std::string>& claims) {
  return refusal([&] { return create_attention_layer(type, parameters, nullptr, {claims}); });
}

const Json kMultiHead = {{"dim", 8}, {"num_heads", 2}};

}  // namespace

TEST_CASE("require: a layer that makes the claim is created") {
  CHECK(refused("multi_head", kMultiHead, {}).empty());
  CHECK(refused("multi_head", kMultiHead, {"causal", "decode_equals_prefill"}).empty());
  CHECK(refused("perceiver", {{"dim", 8}}, {"invariant(kv_input)"}).empty());
  CHECK(refused("group_query",
                {{"dim", 8}, {"num_heads", 2}, {"num_kv_heads", 1}, {"rope_percentage", 0}},
                {"equivariant"})
            .empty());
  CHECK(refused("anchor", {{"dim", 8}}, {"inert(others)"}).empty());  // in a call with one anchor
  CHECK(refused("shared_weights_cross", {{"dim", 8}}, {"reaches"}).empty());
  // One window holds short sequences alone.
  CHECK(
      refused(
          "window",
          {{"dim", 8}, {"num_heads", 2}, {"window_size", 4}, {"use_relative_position_bias", false}},
          {"equivariant"})
          .empty());
}

TEST_CASE("require: a refusal says what is claimed, and what to do") {
  CHECK(refused("fnet", Json::object(), {"linear", "causal"}) ==
        "Attention type 'fnet' is required to be 'causal', but does not claim it; expected a type "
        "that makes the "
        "claim; this one claims 'batch_independent', 'deterministic', 'mask_neutral', "
        "'position_sensitive', "
        "'linear', 'homogeneous'; choose another type, or leave the claim out");
  CHECK(refused("group_query", {{"dim", 8}, {"num_heads", 2}, {"num_kv_heads", 1}},
                {"equivariant"}) ==
        "Attention type 'group_query' is required to be 'equivariant', but its condition is kept "
        "by no call of "
        "this config; expected a config and a call with 'no score program or mask rule and nothing "
        "rotates and not use_causal_mask, "
        "and any distance is seen'; "
        "change the "
        "config, or leave the claim out");
  CHECK(refused("performer", {{"dim", 8}}, {"causal"}).find("'causal'; change the config") !=
        std::string::npos);
  const std::string unknown = refused("multi_head", kMultiHead, {"casual"});
  CHECK(unknown.find("there is no such claim") != std::string::npos);
  CHECK(unknown.find("did you mean 'causal'?") != std::string::npos);
  CHECK(refused("perceiver", {{"dim", 8}}, {"invariant(query_input)"}).find("does not claim it") !=
        std::string::npos);
  load_plugin(test::built("tests/plugins_bad/good.so"));
  CHECK(refused("fixture.good", Json::object(), {"causal"}).find("this one makes none") !=
        std::string::npos);
  load_plugin(test::built("tests/plugins_bad/later_claims.so"));
  // With 32 arguments not every call can be tried.
  load_plugin(test::built("tests/plugins_bad/absurd/most.so"));
  CHECK(refused("fixture.most", Json::object(), {"causal"}).find("kept by no call") !=
        std::string::npos);
  CHECK(refused("fixture.later_claims", Json::object(), {"claim_99"}).find("no such claim") !=
        std::string::npos);
}

TEST_CASE("require: $require and $schema of a config are no parameters") {
  const Json config = {{"$schema", "attn.json"},
                       {"type", "multi_head"},
                       {"$require", Json::List{"causal"}},
                       {"dim", 8},
                       {"num_heads", 2}};
  const auto layer = create_attention_from_config(config);
  CHECK_FALSE(layer->config().contains("$require"));
  CHECK_FALSE(layer->config().contains("$schema"));
  Json wrong = config;
  wrong.set("$require", Json::List{"causal", "linear"});
  CHECK(refusal([&] { return create_attention_from_config(wrong); }).find("'linear'") !=
        std::string::npos);
  CHECK(refusal([&] {
          return create_attention_from_config(config, {.require = {"linear"}});
        }).find("'linear'") != std::string::npos);
  for (const Json& bad : {Json("causal"), Json(Json::List{1}), Json(true), Json(nullptr)}) {
    wrong.set("$require", bad);
    CHECK(refusal([&] {
            return create_attention_from_config(wrong);
          }).starts_with("Configuration key '$require' must be a list of claims, got "));
  }
  // Beside parameters it is none.
  CHECK_THROWS_AS(create_attention_layer("multi_head", {{"dim", 8}, {"$require", Json::List{}}}),
                  InvalidArgument);
}
