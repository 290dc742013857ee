// SPDX-License-Identifier: Apache-2.0
#include <attn/safetensors.hpp>

#include <filesystem>

#include "tests/tools/layers.hpp"

using namespace attn;
using namespace attn::test;

namespace {

constexpr int64_t kDim = 24;

Json with(std::initializer_list<Json::Member> more) {
  Json parameters{{"dim", kDim}, {"num_heads", 4}, {"num_kv_heads", 2}, {"max_seq_len", 16}};
  for (const Json::Member& m : more) parameters.set(m.first, m.second);
  return parameters;
}
Layer small(std::initializer_list<Json::Member> more = {}) {
  return make("group_query", with(more), {{2, 13, kDim}});
}

}  // namespace

TEST_CASE("group_query: a sequence in chunks gives what one causal call gives") {
  for (const char* probability : {"softmax", "sparsemax", "threshmax", "adaptive"}) {
    INFO(probability);
    check_decoding(*small({{"probability_type", probability}, {"qk_norm_type", "rms_norm"}}),
                   random({2, 13, kDim}, 1));
  }
}

TEST_CASE("group_query: a state holds max_seq_len positions unless a call says otherwise") {
  CHECK(small()->make_state(2)->capacity() == 16);
  CHECK(small()->make_state(2, 13)->capacity() == 13);
}

TEST_CASE("group_query: without the causal rule a cached call sees all keys so far") {
  const Layer layer = small();
  const auto state = layer->make_state(2);
  const Array x = random({2, 13, kDim}, 3);
  const Argument open("use_causal_mask", false);
  static_cast<void>(
      layer->forward(cut(x, 1, 0, 9), {.arguments = {&open, 1}, .state = state.get()}));
  const Array last =
      layer->forward(cut(x, 1, 9, 13), {.arguments = {&open, 1}, .state = state.get()});
  REQUIRE(distance(last, cut(layer->forward(x), 1, 9, 13)) < kSameMath);
}

TEST_CASE("group_query: no future position leaks, not even into a row that keeps no key") {
  Array x = random({2, 13, kDim}, 4);
  Array padding = filled({2, 13}, 1);
  for (int64_t k = 0; k < 6; ++k) padding.at<float>({0, k}) = 0;
  for (const char* probability : {"softmax", "sparsemax", "threshmax", "adaptive"}) {
    INFO(probability);
    const Layer layer = small({{"probability_type", probability}});
    Array later = x.clone();
    for (int64_t j = 0; j < kDim; ++j)
      later.at<float>({0, 8, j}) = later.at<float>({1, 12, j}) = 50;
    CHECK(distance(cut(causal(*layer, {later, padding}), 1, 0, 8),
                   cut(causal(*layer, {x, padding}), 1, 0, 8)) == 0);
    CHECK(distance(layer->forward(later), layer->forward(x)) > 1000);
  }
}

TEST_CASE("group_query: only distances between positions matter") {
  const Layer layer = small({{"max_seq_len", 512}});
  const Array x = random({2, 13, kDim}, 5);
  const Argument moved("position_offset", 400);
  // An angle near 400 is rounded to a float's 400 eps / 2 before its sine is taken at worst.
  REQUIRE(distance(layer->forward(x, {.arguments = {&moved, 1}}), layer->forward(x)) < 1000);
  // But they do matter.
  const std::vector<int64_t> order{12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 0, 1, 2};
  const auto turned = [&](Attention& a) {
    return distance(a.forward(reordered(x, 1, order)), reordered(a.forward(x), 1, order));
  };
  REQUIRE(turned(*layer) > 1000);
  const Layer without = small({{"rope_percentage", 0.0}});
  REQUIRE(turned(*without) < kSameMath);
}

TEST_CASE("group_query: a shared head is that head, repeated") {
  const Layer shared = small({{"num_kv_heads", 1}});
  const Layer full = small({{"num_kv_heads", 4}});
  full->set_weight("w_q/kernel", shared->weight("w_q/kernel"));
  full->set_weight("w_o/kernel", shared->weight("w_o/kernel"));
  for (const char* name : {"w_k/kernel", "w_v/kernel"}) {
    std::vector<Array> four;
    for (int i = 0; i < 4; ++i) four.push_back(weight(*shared, name));
    full->set_weight(name, joined(four, 1));
  }
  const Array x = random({2, 13, kDim}, 6);
  REQUIRE(distance(full->forward(x), shared->forward(x)) < kSameMath);
  REQUIRE(distance(causal(*full, {x}), causal(*shared, {x})) < kSameMath);
}

TEST_CASE("group_query: a map is its rows in a row") {
  const Layer layer = small();
  const Array x = random({2, 3, 4, kDim}, 7);
  const Array y = layer->forward(x);
  REQUIRE(y.shape() == x.shape());
  REQUIRE(distance(reshaped(y, {2, 12, kDim}), layer->forward(reshaped(x, {2, 12, kDim}))) == 0);
}

TEST_CASE("group_query: the weights are given on request") {
  const Layer layer = small();
  const Array x = random({2, 13, kDim}, 8);
  const Argument asked[]{{"use_causal_mask", true}, {"return_attention_weights", true}};
  const std::vector<Input> inputs{x};
  const auto outputs = layer->forward_all(inputs, {.arguments = asked});
  REQUIRE(outputs.size() == 2);
  REQUIRE(distance(outputs[0].value, causal(*layer, {x})) < kSameMath);
  const Array& w = outputs[1].value;
  REQUIRE(outputs[1].name == "attention_weights");
  REQUIRE(w.shape() == Shape{2, 4, 13, 13});
  for (int64_t h = 0; h < 4; ++h)
    for (int64_t q = 0; q < 13; ++q) {
      double sum = 0;
      for (int64_t k = 0; k < 13; ++k) {
        sum += w.at<float>({1, h, q, k});
        if (k > q) REQUIRE(w.at<float>({1, h, q, k}) == 0);
      }
      REQUIRE(sum == Approx(1).margin(13 * 1.2e-7));  // one rounding for each key
    }
  REQUIRE(layer->forward_all(inputs).size() == 1);
  // The other name of the argument, which is the same one.
  const Argument other[]{{"return_attention_scores", true}, {"return_attention_weights", true}};
  REQUIRE(layer->forward_all(inputs, {.arguments = {other, 1}}).size() == 2);
  CHECK_THAT(refusal([&] { return layer->forward(x, {.arguments = other}); }),
             says("set more than once"));

  // With a state: new queries, all keys so far.
  const auto state = layer->make_state(2);
  in_chunks(*layer, *state, cut(x, 1, 0, 10), {10});
  const Array piece = cut(x, 1, 10, 12);
  const std::vector<Input> more{piece};
  const Argument weights("return_attention_weights", true);
  const auto cached = layer->forward_all(more, {.arguments = {&weights, 1}, .state = state.get()});
  REQUIRE(cached.at(1).value.shape() == Shape{2, 4, 2, 12});
}

TEST_CASE("group_query: an odd head size is allowed") {
  const Layer layer =
      make("group_query", {{"dim", 20}, {"num_heads", 4}, {"num_kv_heads", 2}}, {{1, 6, 20}});
  const Array x = random({1, 6, 20}, 9);
  const auto state = layer->make_state(1);
  REQUIRE(distance(in_chunks(*layer, *state, x, {2, 4}), causal(*layer, {x})) < kSameMath);
}

TEST_CASE("group_query: tables of positions in a file are ignored, of whatever length") {
  const Json parameters{{"dim", 12}, {"num_heads", 3}, {"num_kv_heads", 3}, {"max_seq_len", 10}};
  const Layer layer = make("group_query", parameters, {{1, 5, 12}});
  const Array x = random({1, 5, 12}, 1), y = layer->forward(x), zeros = filled({400, 2}, 0);
  std::vector<NamedView> tensors{{"rope/cos_cached", zeros.view()},
                                 {"rope/sin_cached", zeros.view()}};
  std::vector<Array> kept;
  kept.reserve(8);
  for (const WeightInfo& w : layer->weights())
    if (!w.not_stored)
      tensors.push_back({w.name, kept.emplace_back(weight(*layer, w.name.c_str())).view()});
  const std::string path =
      (std::filesystem::temp_directory_path() / "attn_group_query_test.safetensors").string();
  save_safetensors(path, tensors);
  layer->load(path);
  std::filesystem::remove(path);
  CHECK(distance(layer->forward(x), y) == 0);
}

TEST_CASE("group_query: what a call refuses") {
  const Layer layer = small();
  const Array x = random({2, 13, kDim}, 10);
  CHECK_THAT(refusal([&] { return layer->forward(random({13, kDim}, 1)); }), says("(13, 24)"));
  CHECK_THAT(refusal([&] { return layer->forward(random({2, 13, 20}, 1)); }), says("24"));
  CHECK_THAT(refusal([&] {
               return layer->forward(Array(ATTN_F32, {2, 0, kDim}));
             }),
             says("(2, 0, 24)"));
  CHECK_THAT(refusal([&] {
               return layer->forward(random({1, 17, kDim}, 1));
             }),
             says("max_seq_len (16)"));
  const Argument far("position_offset", 4), before("position_offset", -1);
  CHECK_THAT(refusal([&] {
               return layer->forward(x, {.arguments = {&far, 1}});
             }),
             says("max_seq_len (16)"));
  const Argument endless_offset("position_offset", std::numeric_limits<int64_t>::max());
  CHECK_THAT(refusal([&] {
               return layer->forward(x, {.arguments = {&endless_offset, 1}});
             }),
             says("from 9223372036854775807 on do not fit"));
  CHECK_THAT(refusal([&] {
               return layer->forward(x, {.arguments = {&before, 1}});
             }),
             says("position_offset"));
  CHECK_THAT(refusal([&] { return causal(*layer, {x, filled({2, 12}, 1)}); }), says("(2, 12)"));
  // Nothing rotates, nothing ends.
  const Layer endless = small({{"rope_percentage", 0.0}});
  CHECK(refusal([&] { return endless->forward(random({1, 17, kDim}, 1)); }).empty());

  const Layer columns = small({{"probability_config", Json{{"axis", -2}}}});
  CHECK(refusal([&] { return columns->forward(x); }).empty());
  CHECK_THAT(refusal([&] { return causal(*columns, {x}); }), says("axis"));
}

TEST_CASE("group_query: what a cached call refuses leaves the state as it was") {
  const Layer layer = small();
  const auto state = layer->make_state(2);
  const Array x = random({2, 13, kDim}, 11);
  const Array whole = causal(*layer, {x});
  in_chunks(*layer, *state, x, {9});
  const auto refused = [&](const Array& input, CallOptions options) {
    options.state = state.get();
    const std::string text = refusal([&] { return layer->forward(input, options); });
    CHECK(state->length() == 9);
    return text;
  };
  const Array next = cut(x, 1, 9, 13);
  const Argument elsewhere("position_offset", 8), here("position_offset", 9);
  CHECK_THAT(refused(reshaped(next, {2, 2, 2, kDim}), {}), says("(2, 2, 2, 24)"));
  CHECK_THAT(refused(next, {.training = true}), says("training"));
  CHECK_FALSE(refused(cut(next, 0, 0, 1), {}).empty());
  CHECK_FALSE(refused(random({2, 8, kDim}, 1), {}).empty());
  CHECK_THAT(refused(next, {.arguments = {&elsewhere, 1}}), says("position_offset (8)"));
  REQUIRE(distance(layer->forward(next, {.arguments = {&here, 1}, .state = state.get()}),
                   cut(whole, 1, 9, 13)) < kSameMath);

  CHECK_FALSE(refusal([&] { return layer->make_state(2, 17); }).empty());
  CHECK_FALSE(refusal([&] { return layer->make_state(0); }).empty());
  const Layer other = small();
  CHECK_FALSE(refusal([&] { return other->forward(next, {.state = state.get()}); }).empty());
}

TEST_CASE("group_query: norms and axes that mix positions cannot be cached") {
  const Array x = random({2, 4, kDim}, 12);
  const auto cached = [&](std::initializer_list<Json::Member> parameters) {
    const Layer layer = small(parameters);
    CHECK(refusal([&] { return layer->forward(x); }).empty());
    const auto state = layer->make_state(2);
    return refusal([&] { return layer->forward(x, {.state = state.get()}); });
  };
  for (const char* norm :
       {"global_response_norm", "adaptive_band_rms", "zero_centered_adaptive_band_rms_norm"})
    CHECK_THAT(cached({{"qk_norm_type", norm}}), says(norm));
  CHECK_THAT(cached({{"qk_norm_type", "rms_norm"},
                     {"qk_norm_kwargs", Json{{"axis", 2}, {"use_scale", false}}}}),
             says("rms_norm"));
  // Over the heads of one position: nothing mixes.
  CHECK(cached({{"qk_norm_type", "rms_norm"},
                {"qk_norm_kwargs", Json{{"axis", 1}, {"use_scale", false}}}})
            .empty());
  CHECK(cached({{"qk_norm_type", "batch_norm"}}).empty());
  CHECK(cached({{"qk_norm_type", "layer_norm"}}).empty());
  CHECK_THAT(cached({{"probability_config", Json{{"axis", -2}}}}), says("axis"));
}
