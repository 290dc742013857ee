// SPDX-License-Identifier: Apache-2.0
//
// Observables of whole layers: against the maps of the same call, in slices of large batches and with any number of
// threads; and what types have of their own.
#include <attn/threads.hpp>
#include <catch2/catch.hpp>
#include <span>

#include <cmath>
#include <map>

#include "tests/layers/layers.hpp"
#include "tests/tools/layers.hpp"

namespace attn::testing {
namespace {

using Found = std::map<std::string, Array>;
using test::worst;

Found observed(Context& ctx) {
  Found out;
  for (Observed& o : ctx.take_observed())
    out.emplace((o.label.empty() ? "" : o.label + ".") + o.name, std::move(o.value));
  return out;
}

Found observe(Attention& layer, std::span<const Array> in, const Observe& what,
              const CallOptions& options = {}) {
  Context ctx(layer.built() ? layer.dtype() : ATTN_F32);
  ctx.observe(what);
  std::vector<Input> views(in.begin(), in.end());
  layer.forward(ctx, views, options);
  return observed(ctx);
}

// Entropy and column mass of a map.
std::pair<Array, Array> told_by(const Array& map) {
  const Shape& s = map.shape();
  Array entropy(ATTN_F32, {s[0], s[1], s[2]}), mass(ATTN_F32, {s[0], s[1], s[3]});
  for (int64_t bh = 0; bh < s[0] * s[1]; ++bh) {
    std::vector<double> sums(static_cast<size_t>(s[3]));
    for (int64_t i = 0; i < s[2]; ++i) {
      double h = 0;
      for (int64_t j = 0; j < s[3]; ++j) {
        const double w = map.data<float>()[(bh * s[2] + i) * s[3] + j];
        sums[static_cast<size_t>(j)] += w;
        if (w > 0) h -= w * std::log(w);
      }
      entropy.data<float>()[bh * s[2] + i] = static_cast<float>(h);
    }
    for (int64_t j = 0; j < s[3]; ++j)
      mass.data<float>()[bh * s[3] + j] = static_cast<float>(sums[static_cast<size_t>(j)]);
  }
  return {std::move(entropy), std::move(mass)};
}

}  // namespace

TEST_CASE("observe: every attention of every type tells what its map tells") {
  struct Observed {
    const char* type;
    Json config;
    std::vector<Shape> inputs;
  };
  const Json dim = {{"dim", 32}, {"num_heads", 4}};
  const std::vector<Observed> samples = {
      {"anchor", dim, {{2, 19, 32}}},
      {"capsule_routing", {{"num_heads", 4}, {"key_dim", 8}}, {{2, 12, 32}}},
      {"differential", {{"dim", 32}, {"num_heads", 4}, {"head_dim", 8}}, {{2, 19, 32}}},
      {"forgetting", dim, {{2, 19, 32}}},
      {"gated", dim, {{2, 19, 32}}},
      {"group_query", {{"dim", 32}, {"num_heads", 4}, {"num_kv_heads", 2}}, {{2, 19, 32}}},
      {"hopfield", {{"num_heads", 4}, {"key_dim", 8}, {"update_steps_max", 2}}, {{2, 19, 32}}},
      {"joint", dim, {{2, 19, 32}, {2, 7, 24}}},
      {"linear", dim, {{2, 19, 32}}},
      {"mobile_mqa", dim, {{2, 5, 6, 32}}},
      {"multi_head", dim, {{2, 19, 32}}},
      {"multi_head_cross", dim, {{2, 19, 32}, {2, 23, 32}}},
      {"neighborhood",
       {{"dim", 32}, {"num_heads", 4}, {"kernel_size", 3}, {"grid_width", 5}},
       {{2, 19, 32}}},
      {"non_local", {{"attention_channels", 16}}, {{2, 5, 6, 32}}},
      {"perceiver", dim, {{2, 7, 32}, {2, 19, 32}}},
      {"performer", dim, {{2, 19, 32}}},
      {"performer", {{"dim", 32}, {"num_heads", 4}, {"causal", true}}, {{2, 19, 32}}},
      {"linear", {{"dim", 32}, {"num_heads", 4}, {"causal", true}}, {{2, 99, 32}}},
      {"ring", {{"dim", 32}, {"num_heads", 4}, {"block_size", 16}}, {{2, 19, 32}}},
      {"rpc", dim, {{2, 19, 32}}},
      {"shared_weights_cross", dim, {{2, 20, 32}}},
      {"talking_heads", dim, {{2, 19, 32}}},
      {"vit", dim, {{2, 19, 32}}},
      {"window", {{"dim", 32}, {"num_heads", 4}, {"window_size", 3}}, {{2, 19, 32}}},
  };
  for (const Observed& s : samples) {
    INFO(s.type);
    const auto layer = create_attention_layer(s.type, s.config);
    std::vector<Array> in;
    for (const Shape& shape : s.inputs) in.push_back(wave(shape, in.size() + 1));
    CallOptions options;
    const std::vector<int64_t> sizes{12, 8};
    const Argument split("split_sizes", sizes);
    if (s.type == std::string("shared_weights_cross")) options.arguments = {&split, 1};
    Context plain;
    std::vector<Input> views(in.begin(), in.end());
    layer->forward(plain, views, options);
    Context ctx;
    ctx.observe({.names = {"all", "map"}});
    layer->forward(ctx, views, options);
    CHECK(same_bits(Array::copy_of(*plain.output()), Array::copy_of(*ctx.output())));
    const Found found = observed(ctx);
    int maps = 0;
    for (const auto& [name, map] : found) {
      if (!name.ends_with("map")) continue;
      ++maps;
      const std::string prefix = name.substr(0, name.size() - 3);
      INFO(name);
      const auto [entropy, mass] = told_by(map);
      CHECK(worst(found.at(prefix + "entropy"), entropy) <= 1e-6);
      CHECK(worst(found.at(prefix + "column_mass"), mass) <= 1e-6);
      const Array &keys = found.at(prefix + "top_keys"), &top = found.at(prefix + "top_weights");
      const int64_t k = map.shape()[3], n = top.shape()[3];
      for (int64_t i = 0; i < top.size(); ++i) {
        const int64_t key = keys.data<int64_t>()[i];
        const float w = top.data<float>()[i];
        CHECK(w == (key < 0 ? 0 : map.data<float>()[i / n * k + key]));
        CHECK((i % n == 0 || w <= top.data<float>()[i - 1]));
      }
    }
    CHECK(maps > 0);
  }
}

TEST_CASE("observe: a slice of a map is that slice of the whole, and threads change no bit") {
  const auto layer =
      create_attention_layer("group_query", {{"dim", 32}, {"num_heads", 4}, {"num_kv_heads", 2}});
  const Array x = wave({2, 300, 32});
  const std::span<const Array> in(&x, 1);
  const Found whole = observe(*layer, in, {.names = {"map"}});
  REQUIRE(whole.at("attention.map").shape() == Shape{2, 4, 300, 300});
  std::optional<Found> first;
  for (const int threads : {1, 2, 3}) {
    set_threads(threads);
    Found part = observe(*layer, in,
                         {.names = {"all", "map"},
                          .head = 1,
                          .heads = 2,
                          .query = 120,
                          .queries = 7,
                          .key = 3,
                          .keys = 290});
    const Array& map = part.at("attention.map");
    REQUIRE(map.shape() == Shape{2, 2, 7, 290});
    for (int64_t b = 0; b < 2; ++b)
      for (int64_t h = 0; h < 2; ++h)
        for (int64_t i = 0; i < 7; ++i)
          for (int64_t j = 0; j < 290; ++j)
            REQUIRE(map.data<float>()[((b * 2 + h) * 7 + i) * 290 + j] ==
                    whole.at("attention.map")
                        .data<float>()[((b * 4 + h + 1) * 300 + i + 120) * 300 + j + 3]);
    if (first)
      for (const auto& [name, value] : part) CHECK(same_bits(value, first->at(name)));
    first = std::move(part);
  }
  set_threads(2);
}

TEST_CASE("observe: a state's keys, all of them, whatever the calls") {
  const auto layer = create_attention_layer("multi_head", {{"dim", 16}, {"num_heads", 2}});
  const Array x = wave({1, 9, 16});
  const Argument causal("use_causal_mask", true);
  const Found all = observe(*layer, {&x, 1}, {.names = {"entropy", "row_max", "lse"}},
                            {.arguments = {&causal, 1}});
  const auto state = layer->make_state(1, 9);
  for (int64_t i = 0; i < 9; ++i) {
    ConstView token = x.view();
    token.data = x.data<float>() + i * 16;
    token.shape[1] = 1;
    const Array one_token = Array::copy_of(token);
    const Found one =
        observe(*layer, {&one_token, 1}, {.names = {"entropy", "column_mass", "row_max", "lse"}},
                {.state = state.get()});
    CHECK(one.at("attention.column_mass").shape() == Shape{1, 2, i + 1});
    for (const char* name : {"attention.entropy", "attention.row_max", "attention.lse"})
      for (int64_t h = 0; h < 2; ++h)
        CHECK(std::fabs(one.at(name).data<float>()[h] - all.at(name).data<float>()[h * 9 + i]) <=
              1e-5F);
  }
}

TEST_CASE("observe: what types have of their own") {
  const auto names = [](const char* type, const Json& config, const Shape& shape) {
    const auto layer = create_attention_layer(type, config);
    const Array x = wave(shape);
    return observe(*layer, {&x, 1}, {.names = {"all", "map"}, .optional = true});
  };
  const Found channel = names("channel", {{"channels", 16}}, {2, 5, 6, 16});
  CHECK(channel.at("gate").shape() == Shape{2, 1, 1, 16});
  CHECK(names("spatial", Json::object(), {2, 5, 6, 16}).at("gate").shape() == Shape{2, 5, 6, 1});
  const Found cbam = names("cbam", {{"channels", 16}}, {2, 5, 6, 16});
  CHECK(cbam.at("channel.gate").shape() == Shape{2, 1, 1, 16});
  CHECK(cbam.at("spatial.gate").shape() == Shape{2, 5, 6, 1});
  CHECK(names("fnet", Json::object(), {2, 7, 6}).at("spectrum").shape() == Shape{2, 7, 6});
  const Found performer = names("performer", {{"dim", 16}, {"num_heads", 2}}, {2, 20, 16});
  const Array& map = performer.at("map");
  REQUIRE(map.shape() == Shape{2, 2, 20, 20});
  for (int64_t row = 0; row < 80; ++row) {
    double sum = 0;
    for (int64_t j = 0; j < 20; ++j) sum += map.data<float>()[row * 20 + j];
    CHECK(std::fabs(sum - 1) <= 1e-5);
  }
  const Found hopfield =
      names("hopfield", {{"num_heads", 2}, {"key_dim", 8}, {"update_steps_max", 3}}, {2, 7, 16});
  const Array &before = hopfield.at("step_0.energy"), &after = hopfield.at("step_1.energy");
  REQUIRE(before.shape() == Shape{2, 2, 7});
  for (int64_t i = 0; i < before.size(); ++i)
    CHECK(after.data<float>()[i] <= before.data<float>()[i] + 1e-5F);
  const Found ring = names("ring", {{"dim", 16}, {"num_heads", 2}, {"block_size", 8}}, {2, 9, 16});
  CHECK(ring.at("schedule").to_vector<int64_t>() == std::vector<int64_t>{0, 0, 9});
  const Found rpc = names("rpc", {{"dim", 16}, {"num_heads", 2}}, {2, 7, 16});
  CHECK(rpc.at("rpc.pursuit.low_rank").shape() == Shape{2, 2, 7, 7});
  CHECK(rpc.at("rpc.pursuit.sparse").shape() == Shape{2, 2, 7, 7});
  const Found differential =
      names("differential", {{"dim", 16}, {"num_heads", 2}, {"head_dim", 8}}, {2, 9, 16});
  CHECK(differential.contains("attention_1.map"));
  CHECK(differential.contains("attention_2.map"));
  CHECK(differential.at("lambda").size() == 1);
}

TEST_CASE("observe: weights that features imply are told without holding them") {
  const int64_t n = 1200;
  const Array x = wave({1, n, 16});
  const std::pair<const char*, Json> types[] = {
      {"performer", {{"dim", 16}, {"num_heads", 2}, {"nb_features", 8}}},
      {"linear", {{"dim", 16}, {"num_heads", 2}, {"causal", true}}}};
  for (const auto& [type, config] : types) {
    INFO(type);
    const auto layer = create_attention_layer(type, config);
    Context ctx;
    ctx.observe({.names = {"all"}});
    layer->forward(ctx, std::vector<Input>{x});
    CHECK(static_cast<int64_t>(ctx.peak_bytes()) < n * n * 4);  // the map of one of two heads
    const Found told = observed(ctx);
    const Found part =
        observe(*layer, {&x, 1}, {.names = {"map"}, .head = 1, .query = 1000, .queries = 50});
    const Array &map = part.at("map"), &entropy = told.at("entropy");
    REQUIRE(map.shape() == Shape{1, 1, 50, n});
    const Array expected = told_by(map).first;
    for (int64_t i = 0; i < 50; ++i)
      CHECK(std::fabs(entropy.data<float>()[n + 1000 + i] - expected.data<float>()[i]) <= 1e-5F);
  }
}

TEST_CASE("observe: a map beyond the memory is refused by its size before it is there") {
  const Array x = wave({1, 400000, 8});
  const std::pair<const char*, Json> types[] = {
      {"performer", {{"dim", 8}, {"num_heads", 2}, {"nb_features", 4}}},
      {"multi_head", {{"dim", 8}, {"num_heads", 2}}}};
  for (const auto& [type, config] : types)
    CHECK_THROWS_WITH(observe(*create_attention_layer(type, config), {&x, 1}, {.names = {"map"}}),
                      Catch::Matchers::Contains("'map' of shape (1, 2, 400000, 400000) takes "
                                                "1280000 MB, and") &&
                          Catch::Matchers::Contains("ask for fewer heads, queries or keys"));
}

TEST_CASE("observe: a history in fewer bits tells what it does in float32") {
  const auto layer =
      create_attention_layer("group_query", {{"dim", 32}, {"num_heads", 4}, {"num_kv_heads", 2}});
  const Array prompt = wave({2, 300, 32}), next = wave({2, 5, 32}, 2);
  layer->build({Shape{2, 300, 32}}, {.seed = 1});
  const auto told = [&](StorageKind kind) {
    const auto state = layer->make_state(2, 310, kind);
    Context ctx;
    layer->forward(ctx, std::vector<Input>{prompt}, {.state = state.get()});
    ctx.observe({.names = {"lse", "column_mass"}});
    layer->forward(ctx, std::vector<Input>{next}, {.state = state.get()});
    return observed(ctx);
  };
  const Found exact = told(StorageKind::float32);
  for (const StorageKind kind : {StorageKind::bfloat16, StorageKind::int8})
    for (const auto& [name, value] : told(kind)) {
      INFO(name << ", kind " << static_cast<int>(kind));
      CHECK(worst(value, exact.at(name)) <= 0.02);
    }
}

TEST_CASE("observe: nothing asked for, nothing kept; and what is refused") {
  const auto layer = create_attention_layer("multi_head", {{"dim", 16}, {"num_heads", 2}});
  const Array x = wave({1, 9, 16});
  Context ctx;
  ctx.observe({.names = {"entropy"}});
  layer->forward(ctx, std::vector<Input>{x});
  CHECK(ctx.take_observed().size() == 1);
  const std::vector<std::string> there = ctx.observables();
  CHECK(std::find(there.begin(), there.end(), "column_mass") != there.end());
  ctx.observe({});
  layer->forward(ctx, std::vector<Input>{x});
  CHECK(ctx.take_observed().empty());
  CHECK_THROWS_AS(ctx.observe({.names = {"top_keys"}, .top = 0}), InvalidArgument);
  CHECK_THROWS_AS(ctx.observe({.names = {"map"}, .query = -1}), InvalidArgument);
}

TEST_CASE("observe: a name that a call does not have is refused after it, with what it gave") {
  using Catch::Matchers::Contains;
  const auto layer = create_attention_layer("multi_head", {{"dim", 16}, {"num_heads", 2}}, "mine");
  const Array x = wave({1, 9, 16});
  const std::vector<Input> in{x};
  Context plain, ctx;
  layer->forward(plain, in);
  const auto state = layer->make_state(1, 20);
  Array y(ATTN_F32, {1, 9, 16});
  const std::vector<OutputMemory> memory{{"output", y.view()}};
  ctx.observe({.names = {"column_mass", "entropie", "gate"}});
  const auto refusal = [&](const CallOptions& options) -> std::string {
    try {
      layer->forward(ctx, in, options, memory);
    } catch (const InvalidArgument& e) {
      CHECK(e.details().parameter == "entropie");
      return e.what();
    }
    return "";
  };
  CHECK_THAT(refusal({}), Contains("mine: a call of 'multi_head' has no 'entropie' to observe") &&
                              Contains("'column_mass'") && Contains("did you mean 'entropy'?"));
  CHECK(same_bits(y, Array::copy_of(*plain.output())));
  CHECK(same_bits(Array::copy_of(*ctx.output()), y));
  CHECK(observed(ctx).at("attention.column_mass").shape() == Shape{1, 2, 9});
  CHECK_FALSE(refusal({.state = state.get()}).empty());
  CHECK(state->length() == 0);
  ctx.observe({.names = {"column_mass", "entropie"}, .optional = true});
  layer->forward(ctx, in, {.state = state.get()});
  CHECK(state->length() == 9);
  CHECK(observed(ctx).size() == 1);
  // Types whose calls have none, and a probability without one.
  const auto channel = create_attention_layer("channel", {{"channels", 16}});
  ctx.observe({.names = {"entropy"}});
  CHECK_THROWS_WITH(channel->forward(ctx, std::vector<Input>{wave({1, 3, 3, 16})}),
                    Contains("has no 'entropy' to observe; expected one of ['gate']"));
  const auto adaptive = create_attention_layer(
      "multi_head", {{"dim", 16}, {"num_heads", 2}, {"probability_type", "adaptive"}});
  ctx.observe({.names = {"lse"}});
  CHECK_THROWS_WITH(adaptive->forward(ctx, in), Contains("has no 'lse' to observe"));
}

}  // namespace attn::testing
