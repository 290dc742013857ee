// SPDX-License-Identifier: Apache-2.0
//
// What training calls promise: tapes, accumulation, seeds, statistics, penalties.
#include <catch2/catch.hpp>
#include <cmath>

#include "tests/layers/layers.hpp"

namespace attn::testing {
namespace {

const Json kDropout = {{"dim", 16}, {"num_heads", 4}, {"dropout_rate", 0.5}};

}  // namespace

TEST_CASE("training: several forwards before one backward, a context each, add up") {
  const auto layer = create_attention_layer("multi_head", {{"dim", 16}, {"num_heads", 4}});
  const Array a = wave({2, 5, 16}, 1), b = wave({3, 4, 16}, 2);
  const Input ia(a), ib(b);
  Context ca, cb;
  layer->forward(ca, {&ia, 1}, {.record = true});
  layer->forward(cb, {&ib, 1}, {.record = true});
  Gradients both(*layer), first(*layer), second(*layer);
  const Array ga = wave({2, 5, 16}, 3), gb = wave({3, 4, 16}, 4);
  const Input ja(ga), jb(gb);
  layer->backward(ca, {&ja, 1}, both);
  layer->backward(cb, {&jb, 1}, both);
  layer->forward(ca, {&ia, 1}, {.record = true});
  layer->backward(ca, {&ja, 1}, first);
  layer->forward(cb, {&ib, 1}, {.record = true});
  layer->backward(cb, {&jb, 1}, second);
  for (const WeightInfo& w : layer->weights()) {
    const Array &s = *both.weight(w.name), &x = *first.weight(w.name), &y = *second.weight(w.name);
    float largest = 0, worst = 0;
    for (int64_t i = 0; i < s.size(); ++i) {
      largest = std::max(largest, std::abs(s.data<float>()[i]));
      worst =
          std::max(worst, std::abs(s.data<float>()[i] - x.data<float>()[i] - y.data<float>()[i]));
    }
    CHECK(worst <= 4 * 1.2e-7f * largest);  // one addition more, rounded
  }
}

TEST_CASE("training: a tape serves one backward, of its own layer, after recording") {
  const auto layer = create_attention_layer("multi_head", {{"dim", 16}, {"num_heads", 4}});
  const auto other = create_attention_layer("multi_head", {{"dim", 16}, {"num_heads", 4}});
  const Array x = wave({1, 3, 16});
  const Input in(x);
  Context ctx;
  (void)other->forward(x);
  layer->forward(ctx, {&in, 1}, {});
  Gradients g(*layer);
  CHECK_THROWS_AS(layer->backward(ctx, {&in, 1}, g), InvalidArgument);
  layer->forward(ctx, {&in, 1}, {.record = true});
  CHECK_THROWS_AS(other->backward(ctx, {&in, 1}, g), InvalidArgument);
  const Array wrong = wave({1, 4, 16});
  const Input bad(wrong);
  CHECK_THROWS_AS(layer->backward(ctx, {&bad, 1}, g), InvalidArgument);
  layer->backward(ctx, {&in, 1}, g);
  CHECK_THROWS_AS(layer->backward(ctx, {&in, 1}, g), InvalidArgument);
}

TEST_CASE(
    "training: dropout follows the seed, differs from call to call, and is off in inference") {
  const auto layer = create_attention_layer("multi_head", kDropout);
  const Array x = wave({2, 12, 16});
  const Array calm = layer->forward(x);
  CHECK(same_bits(calm, layer->forward(x)));
  const Array a = layer->forward(x, {.training = true, .seed = 3});
  CHECK(same_bits(a, layer->forward(x, {.training = true, .seed = 3})));
  CHECK_FALSE(same_bits(a, layer->forward(x, {.training = true, .seed = 4})));
  CHECK_FALSE(same_bits(a, calm));
  const Array free = layer->forward(x, {.training = true});
  CHECK_FALSE(same_bits(free, layer->forward(x, {.training = true})));
}

TEST_CASE("training: statistics wait for commit, and move as the norm says") {
  const auto layer = create_attention_layer(
      "non_local",
      {{"attention_channels", 8}, {"attention_mode", "dot_product"}, {"kernel_size", 3}});
  const Array x = wave({2, 4, 4, 8});
  const Input in(x);
  Context ctx;
  layer->forward(ctx, {&in, 1}, {.training = true});
  const std::string mean = "output_norm/moving_mean";
  const Array before = Array::copy_of(layer->weight(mean));
  layer->commit(ctx);
  const Array after = Array::copy_of(layer->weight(mean));
  CHECK_FALSE(same_bits(before, after));
  layer->commit(ctx);  // once only
  CHECK(same_bits(after, Array::copy_of(layer->weight(mean))));
  (void)layer->forward(x);  // inference changes nothing
  CHECK(same_bits(after, Array::copy_of(layer->weight(mean))));
  (void)layer->forward(x, {.training = true});  // the call without a context commits by itself
  CHECK_FALSE(same_bits(after, Array::copy_of(layer->weight(mean))));
}

TEST_CASE("training: penalties are listed, and counted in gradients only when asked for") {
  const auto layer = create_attention_layer(
      "multi_head",
      {{"dim", 8},
       {"num_heads", 2},
       {"kernel_regularizer", Json{{"class_name", "L2"}, {"config", Json{{"l2", 0.1}}}}}});
  const Array x = wave({1, 3, 8});
  const Input in(x);
  Context ctx;
  layer->build({Shape{1, 3, 8}});
  Gradients plain(*layer), full(*layer);
  layer->forward(ctx, {&in, 1}, {.record = true});
  layer->backward(ctx, {&in, 1}, plain);
  layer->forward(ctx, {&in, 1}, {.record = true});
  layer->backward(ctx, {&in, 1}, full, {.penalties = true});
  double sum = 0;
  for (const Penalty& p : layer->losses(ctx)) sum += p.value;
  double expected = 0;
  for (const WeightInfo& w : layer->weights()) {
    const ConstView v = layer->weight(w.name);
    const Array &a = *plain.weight(w.name), &b = *full.weight(w.name);
    for (int64_t i = 0; i < a.size(); ++i) {
      const float x_i = v.as<float>()[i];
      expected += 0.1 * static_cast<double>(x_i) * static_cast<double>(x_i);
      CHECK(b.data<float>()[i] - a.data<float>()[i] == Approx(0.2f * x_i).margin(2e-6));
    }
  }
  CHECK(sum == Approx(expected));
}

TEST_CASE(
    "training: the memory of an attention backward grows with the length, not with its square") {
  for (const char* probability : {"softmax", "sparsemax", "threshmax", "adaptive"}) {
    INFO(probability);
    const auto layer = create_attention_layer(
        "multi_head",
        {{"dim", 16}, {"num_heads", 4}, {"dropout_rate", 0.1}, {"probability_type", probability}});
    const auto bytes = [&](int64_t length) {
      const Array x = wave({1, length, 16});
      const std::vector<Input> in{x};
      Context ctx;
      layer->forward(ctx, in, {.training = true, .record = true});
      Gradients gradients(*layer);
      layer->backward(ctx, in, gradients);
      return static_cast<double>(ctx.peak_bytes());
    };
    const double some = bytes(1024), four = bytes(4096);
    CHECK(four < 4.5 * some);
    CHECK(four < 4096.0 * 4096 * sizeof(float));  // one head's scores
  }
}

TEST_CASE("training: a seed reproduces all weights, and equal shapes never get equal values") {
  const auto build = [&](uint64_t seed) {
    auto layer =
        create_attention_layer("group_query", {{"dim", 24}, {"num_heads", 4}, {"num_kv_heads", 4}});
    layer->build({Shape{1, 2, 24}}, {.seed = seed});
    return layer;
  };
  const auto a = build(1), b = build(1), c = build(2);
  for (const WeightInfo& w : a->weights()) {
    if (w.not_stored) continue;
    CHECK(same_bits(Array::copy_of(a->weight(w.name)), Array::copy_of(b->weight(w.name))));
    CHECK_FALSE(same_bits(Array::copy_of(a->weight(w.name)), Array::copy_of(c->weight(w.name))));
  }
  CHECK_FALSE(
      same_bits(Array::copy_of(a->weight("w_q/kernel")), Array::copy_of(a->weight("w_k/kernel"))));
  CHECK_FALSE(
      same_bits(Array::copy_of(a->weight("w_k/kernel")), Array::copy_of(a->weight("w_v/kernel"))));
}

}  // namespace attn::testing
