// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/layers.hpp"

using namespace attn;
using namespace attn::test;

namespace {

constexpr int64_t kDim = 12, kTokens = 11;

Layer small(std::initializer_list<Json::Member> more = {}) {
  Json parameters{{"dim", kDim}, {"num_heads", 3}};
  for (const Json::Member& m : more) parameters.set(m.first, m.second);
  Layer layer = make("anchor", parameters, {{2, kTokens, kDim}});
  for (const WeightInfo& w : layer->weights())
    if (w.name.ends_with("/bias")) layer->set_weight(w.name, random(w.shape, w.name.size(), 0.3F));
  return layer;
}
Array anchored(Attention& layer, const Array& x, int64_t anchors) {
  const Argument a("num_anchor_tokens", anchors);
  return layer.forward(x, {.arguments = {&a, 1}});
}
Array row(const Array& x, int64_t token) { return cut(x, 1, token, token + 1); }
Array disturbed(const Array& x, int64_t token) {
  Array y = x.clone();
  for (int64_t b = 0; b < x.shape()[0]; ++b)
    for (int64_t i = 0; i < x.shape()[2]; ++i) y.at<float>({b, token, i}) += 3;
  return y;
}

}  // namespace

TEST_CASE("anchor: with as many anchors as tokens it is plain attention") {
  const Layer layer = small();
  const Layer plain = make("multi_head", {{"dim", kDim}, {"num_heads", 3}, {"use_bias", true}},
                           {{2, kTokens, kDim}});
  const auto w = [&](const char* name) { return weight(*layer, name); };
  for (const char* part : {"kernel", "bias"}) {
    std::vector<Array> three;
    for (const char* name : {"query_proj/", "key_proj/", "value_proj/"})
      three.push_back(weight(*layer, std::string(name) + part));
    plain->set_weight(std::string("cross_attention/qkv/") + part,
                      joined(three, part[0] == 'k' ? 1 : 0));
  }
  plain->set_weight("cross_attention/proj/kernel", w("output_proj/kernel"));
  plain->set_weight("cross_attention/proj/bias", w("output_proj/bias"));
  const Array x = random({2, kTokens, kDim}, 1);
  const Array y = layer->forward(x);
  REQUIRE(distance(y, plain->forward(x)) < kSameMath);
  REQUIRE(distance(anchored(*layer, x, kTokens), y) == 0);
  REQUIRE(distance(anchored(*layer, x, 500), y) == 0);

  // Fewer anchors: a mask of the other keys, once both kinds of queries are projected alike.
  layer->set_weight("query_token_proj/kernel", w("query_proj/kernel"));
  layer->set_weight("query_token_proj/bias", w("query_proj/bias"));
  for (const int64_t anchors : {1, 4, 10}) {
    Array mask = filled({2, kTokens}, 0);
    for (int64_t b = 0; b < 2; ++b)
      for (int64_t k = 0; k < anchors; ++k) mask.at<float>({b, k}) = 1;
    CHECK(distance(anchored(*layer, x, anchors), plain->forward({x, mask})) < kSameMath);
  }
}

TEST_CASE("anchor: no position attends to one that is no anchor") {
  const Layer layer = small();
  const Array x = random({2, kTokens, kDim}, 2);
  const Array y = anchored(*layer, x, 4);
  for (int64_t t = 0; t < kTokens; ++t) {
    const Array moved = anchored(*layer, disturbed(x, t), 4);
    for (int64_t q = 0; q < kTokens; ++q) {
      INFO("token " << t << ", query " << q);
      CHECK((distance(row(moved, q), row(y, q)) > 0) == (t < 4 || q == t));
    }
  }
}

TEST_CASE("anchor: queries of the rest have a projection of their own") {
  const Layer layer = small();
  const Array x = random({2, kTokens, kDim}, 3);
  const Array y = anchored(*layer, x, 4), standard = layer->forward(x);
  layer->set_weight("query_token_proj/kernel", random({kDim, kDim}, 4));
  const Array z = anchored(*layer, x, 4);
  CHECK(distance(cut(z, 1, 0, 4), cut(y, 1, 0, 4)) == 0);
  CHECK(distance(cut(z, 1, 4, kTokens), cut(y, 1, 4, kTokens)) > 1000);
  CHECK(distance(layer->forward(x), standard) == 0);
  // One anchor: every row is its value.
  const Array one = anchored(*layer, x, 1);
  for (int64_t q = 1; q < kTokens; ++q) CHECK(distance(row(one, q), row(one, 0)) < kSameMath);
}

TEST_CASE("anchor: the unused projection has a gradient of zeros") {
  const Layer layer = small();
  const Array x = random({2, kTokens, kDim}, 5);
  for (const bool standard : {true, false}) {
    Context ctx;
    const Argument four("num_anchor_tokens", 4);
    const std::vector<Input> inputs{x};
    CallOptions options{.record = true};
    if (!standard) options.arguments = {&four, 1};
    layer->forward(ctx, inputs, options);
    Gradients gradients(*layer);
    layer->backward(ctx, inputs, gradients);
    const Array* g = gradients.weight("query_token_proj/kernel");
    REQUIRE(g != nullptr);
    double largest = 0;
    for (int64_t i = 0; i < g->size(); ++i)
      largest = std::max(largest, std::fabs(static_cast<double>(g->data<float>()[i])));
    CHECK((largest == 0) == standard);
  }
}

TEST_CASE("anchor: the width of a head") {
  CHECK(create_attention_layer("anchor", {{"dim", 32}})->config().at("head_dim") == Json(4));
  const Layer layer = small({{"head_dim", 5}});
  CHECK(layer->config().at("head_dim") == Json(5));
  CHECK(layer->weight("query_proj/kernel").shape == Shape{kDim, 15});
  CHECK(layer->weight("output_proj/kernel").shape == Shape{15, kDim});
  CHECK(anchored(*layer, random({2, kTokens, kDim}, 6), 3).shape() == Shape{2, kTokens, kDim});
  // Null and the number that it stands for are the same layer.
  const Array x = random({2, kTokens, kDim}, 7);
  CHECK(distance(small({{"head_dim", nullptr}})->forward(x),
                 small({{"head_dim", 4}})->forward(x)) == 0);
}

TEST_CASE("anchor: weights over the queries") {
  const Layer layer = small({{"probability_config", Json{{"axis", -2}}}});
  const Array x = random({2, kTokens, kDim}, 8);
  const Array y = anchored(*layer, x, 4);
  // Every row has a say in the others' weights now.
  CHECK(distance(row(anchored(*layer, disturbed(x, 9), 4), 2), row(y, 2)) > 0);
}

TEST_CASE("anchor: dropout acts in training only") {
  const Layer layer = small({{"dropout_rate", 0.5}});
  const Array x = random({2, kTokens, kDim}, 9);
  CHECK(distance(layer->forward(x), small()->forward(x)) == 0);
  const Array y = layer->forward(x, {.training = true, .seed = 1});
  CHECK(distance(layer->forward(x, {.training = true, .seed = 1}), y) == 0);
  CHECK(distance(layer->forward(x, {.training = true, .seed = 2}), y) > 1000);
}

TEST_CASE("anchor: what is refused") {
  const Layer layer = small();
  const Array x = random({2, kTokens, kDim}, 10);
  CHECK_THAT(refusal([&] { return anchored(*layer, x, 0); }),
             says("num_anchor_tokens must be positive"));
  CHECK_THAT(refusal([&] { return anchored(*layer, x, -3); }),
             says("num_anchor_tokens must be positive"));
  const Argument half("num_anchor_tokens", 2.5);
  CHECK_THAT(refusal([&] {
               return layer->forward(x, {.arguments = {&half, 1}});
             }),
             says("must be an integer"));
  CHECK_THAT(refusal([&] { return layer->forward(random({kTokens, kDim}, 1)); }), says("(11, 12)"));
  CHECK_THAT(refusal([&] { return layer->forward(random({2, kTokens, 8}, 1)); }), says("12"));
  CHECK_FALSE(refusal([&] { return layer->forward({x, filled({2, kTokens}, 1)}); }).empty());
  CHECK_THAT(
      refusal([] {
        return create_attention_layer("anchor", {{"dim", 12}, {"probability_type", "Routing"}});
      }),
      says("not supported by attention layers"));
}
