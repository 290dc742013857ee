// SPDX-License-Identifier: Apache-2.0
#include <attn/log.hpp>

#include "tests/tools/layers.hpp"

using namespace attn;
using namespace attn::test;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// 12 pixels, 8 channels.
Layer small(std::initializer_list<Json::Member> more = {}) {
  Json parameters{
      {"attention_channels", 16}, {"kernel_size", 3}, {"attention_mode", "dot_product"}};
  for (const Json::Member& m : more) parameters.set(m.first, m.second);
  return make("non_local", parameters, {{2, 3, 4, 8}});
}

Array image(uint64_t seed) { return random({2, 3, 4, 8}, seed); }

}  // namespace

TEST_CASE("non_local: a bias row of -infinity alone counts as zeros") {
  const char* const probability = GENERATE("softmax", "sparsemax", "threshmax", "adaptive");
  INFO(probability);
  const Layer layer = small({{"probability_type", probability}});
  const Array x = image(1);
  Array bias = random({12, 12}, 2, 3);
  for (int64_t k = 0; k < 12; ++k) bias.at<float>({5, k}) = 0;
  for (int64_t k = 0; k < 9; ++k) bias.at<float>({7, k}) = -kInfinity;
  const Array expected = layer->forward({x, bias});
  for (int64_t k = 0; k < 12; ++k) bias.at<float>({5, k}) = -kInfinity;
  REQUIRE(distance(layer->forward({x, bias}), expected) < kSameMath);
  // The lowest finite number is no infinity, and works beside such a row.
  Array low = random({12, 12}, 3);
  for (int64_t k = 0; k < 11; ++k) low.at<float>({2, k}) = -std::numeric_limits<float>::max();
  const Array before = layer->forward({x, low});
  for (int64_t k = 0; k < 12; ++k) low.at<float>({6, k}) = -kInfinity;
  const Array after = layer->forward({x, low});
  const auto pixel = [](const Array& y, int64_t n) {
    return cut(reshaped(y, {2, 12, 8}), 1, n, n + 1);
  };
  REQUIRE(distance(pixel(after, 2), pixel(before, 2)) < kSameMath);
}

TEST_CASE("non_local: with probabilities over the queries a column of -infinity counts as zeros") {
  const char* const probability = GENERATE("softmax", "sparsemax", "threshmax");
  INFO(probability);
  const Layer layer =
      small({{"probability_type", probability}, {"probability_config", Json{{"axis", -2}}}});
  const Array x = image(1);
  Array bias = random({12, 12}, 2, 3);
  for (int64_t q = 0; q < 12; ++q) bias.at<float>({q, 5}) = 0;
  for (int64_t q = 0; q < 9; ++q) bias.at<float>({q, 7}) = -kInfinity;
  for (int64_t k = 0; k < 12; ++k)
    if (k != 5) bias.at<float>({3, k}) = -kInfinity;  // a query that gets nothing of these
  struct Result {
    Array y, dx, db;
  };
  const auto result = [&] {
    Context ctx;
    const std::vector<Input> in{x, bias};
    layer->forward(ctx, in, {.record = true});
    Array y = Array::copy_of(*ctx.output());
    const Array cotangent = random(y.shape(), 4);
    const std::vector<Input> cotangents{cotangent};
    Gradients gradients(*layer);
    layer->backward(ctx, cotangents, gradients);
    return Result{std::move(y), Array::copy_of(*ctx.input_gradient("inputs")),
                  Array::copy_of(*ctx.input_gradient("attention_mask"))};
  };
  const Result expected = result();
  for (int64_t q = 0; q < 12; ++q) bias.at<float>({q, 5}) = -kInfinity;
  const Result found = result();
  CHECK(distance(found.y, expected.y) < kSameMath);
  CHECK(distance(found.dx, expected.dx) < kSameMath);
  // No other number in place of -infinity changes anything a little.
  CHECK(distance(cut(found.db, 1, 5, 6), filled({12, 1}, 0)) == 0);
  CHECK(distance(cut(found.db, 1, 0, 5), cut(expected.db, 1, 0, 5)) < kSameMath);
}

TEST_CASE("non_local: a keep mask is a bias of -infinity where it is not") {
  const Layer layer = small();
  const Array x = image(4);
  std::vector<uint8_t> keep(2 * 12 * 12);
  Array bias(ATTN_F32, {2, 12, 12});
  for (size_t i = 0; i < keep.size(); ++i) {
    keep[i] = (i / 12) % 12 != 3 && (i * 7 % 5) < 3;  // row 3 keeps nothing
    bias.data<float>()[i] = keep[i] ? 0.0F : -kInfinity;
  }
  const Array mask = Array::from(keep, {2, 12, 12});
  const Array masked = layer->forward({x, mask});
  REQUIRE(distance(masked, layer->forward({x, bias})) < kSameMath);
  REQUIRE(distance(masked, layer->forward({x, Array::from(keep, {2, 1, 12, 12})})) == 0);
  REQUIRE(distance(masked, layer->forward(x)) > 1000);
  // Rank 2 of whole numbers is (batch, key), of floating ones (query, key).
  const Array keys = Array::from(std::vector<int32_t>(24, 1), {2, 12});
  REQUIRE(distance(layer->forward({x, keys}), layer->forward(x)) < kSameMath);
  CHECK_THAT(refusal([&] { return layer->forward({x, filled({2, 12}, 0)}); }), says("(2, 12)"));
}

TEST_CASE("non_local: a bias broadcasts at its last axes") {
  const Layer layer = small();
  const Array x = image(5), keys = random({12}, 6, 2);
  const Array plain = layer->forward({x, keys});
  REQUIRE(distance(layer->forward({x, reshaped(keys, {1, 12})}), plain) == 0);
  REQUIRE(distance(layer->forward({x, reshaped(keys, {1, 1, 12})}), plain) == 0);
  REQUIRE(distance(plain, layer->forward(x)) > 1000);
  // The same for all keys of a row: no effect.
  REQUIRE(distance(layer->forward({x, random({12, 1}, 7)}), layer->forward(x)) < kSameMath);
  for (const Shape& shape : {Shape{11}, Shape{3, 12, 12}, Shape{2, 1, 12, 12}, Shape{1, 1, 1, 12}})
    CHECK_THAT(refusal([&] {
                 return layer->forward({x, filled(shape, 0)});
               }),
               says(shape.to_string()));
}

TEST_CASE("non_local: a warning, once, that a floating mask of 0 and 1 is added") {
  int warnings = 0;
  set_log_sink([&](LogLevel level, std::string_view text) {
    warnings += level == LogLevel::warning && text.find("is added to the scores") != text.npos;
  });
  const Layer layer = small();
  const Array x = image(3);
  Array mask = filled({12}, 0);
  static_cast<void>(layer->forward({x, mask}));
  CHECK(warnings == 0);  // zeros change nothing
  mask.at<float>({4}) = 0.5F;
  static_cast<void>(layer->forward({x, mask}));
  CHECK(warnings == 0);
  mask.at<float>({4}) = 1;
  for (int i = 0; i < 2; ++i) static_cast<void>(layer->forward({x, mask}));
  CHECK(warnings == 1);
  set_log_sink({});
}

TEST_CASE("non_local: names and widths") {
  const auto width = [](const Layer& layer, const char* name, size_t axis) {
    return layer->weight(name).shape[axis];
  };
  REQUIRE(width(small(), "query_conv/kernel", 3) == 16);
  REQUIRE(width(small({{"attention_mode", "gaussian"}}), "query_conv/kernel", 3) == 2);
  REQUIRE(width(small({{"attention_mode", "gaussian"}, {"attention_channels", 7}}),
                "value_conv/kernel", 3) == 1);
  REQUIRE(small()->weight("depthwise_conv/kernel").shape == Shape{3, 3, 8, 1});
  REQUIRE(small({{"kernel_size", std::vector<int>{2, 5}}})->weight("depthwise_conv/kernel").shape ==
          Shape{2, 5, 8, 1});
  for (const int out : {-1, 0, 8})
    REQUIRE(small({{"output_channels", out}})->forward(image(8)).shape() == Shape{2, 3, 4, 8});
  REQUIRE(small({{"output_channels", 5}})->forward(image(8)).shape() == Shape{2, 3, 4, 5});
  // The aliases, and the names that the norms have elsewhere.
  const Array x = image(9);
  const Array batch = small()->forward(x);
  REQUIRE(distance(small({{"normalization", "batch_norm"}})->forward(x), batch) == 0);
  REQUIRE(distance(small({{"output_norm_type", "batch"}})->forward(x), batch) == 0);
  const Layer layer = small({{"output_norm_type", "layer"},
                             {"output_norm_kwargs", Json{{"epsilon", 0.5}, {"scale", false}}}});
  REQUIRE(layer->config().at("normalization").as_string() == "layer");
  REQUIRE_FALSE(layer->config().contains("output_norm_type"));
  REQUIRE(layer->weight("output_norm/beta").shape == Shape{8});
  CHECK_FALSE(refusal([&] { return layer->weight("output_norm/gamma"); }).empty());
}

TEST_CASE("non_local: normalization_kwargs are checked for batch and layer") {
  const auto check = [](const char* norm, const char* key) {
    return refusal([&] {
      validate_attention_config("non_local", {{"attention_channels", 8},
                                              {"normalization", norm},
                                              {"normalization_kwargs", {{key, 0.5}}}});
    });
  };
  CHECK(check("batch", "momentum").empty());
  CHECK(check("layer", "epsilon").empty());
  CHECK_THAT(check("layer", "momentum"), says("momentum"));
  CHECK_THAT(check("batch", "max_band_width"), says("max_band_width"));
}

TEST_CASE("non_local: attention has no position of its own") {
  // With a kernel of one pixel nothing depends on where a pixel is.
  const Layer layer = small({{"kernel_size", 1}});
  const Array x = image(10);
  const std::vector<int64_t> order{5, 2, 11, 0, 8, 1, 10, 3, 7, 4, 6, 9};
  const auto moved = [&](const Array& a) {
    return reshaped(reordered(reshaped(a, {2, 12, 8}), 1, order), {2, 3, 4, 8});
  };
  REQUIRE(distance(layer->forward(moved(x)), moved(layer->forward(x))) < kSameMath);
  const Layer wide = small();
  REQUIRE(distance(wide->forward(moved(x)), moved(wide->forward(x))) > 1000);
}

TEST_CASE("non_local: training calls move the statistics of batch norm") {
  const Layer layer = small({{"normalization_kwargs", Json{{"momentum", 0.5}}}});
  const Array x = image(11);
  const Array before = layer->forward(x);
  static_cast<void>(layer->forward(x, {.training = true}));
  REQUIRE(distance(weight(*layer, "output_norm/moving_mean"), filled({8}, 0)) > 1000);
  REQUIRE(distance(layer->forward(x), before) > 1000);
  // They end where the batch is: calls of both kinds agree.
  for (int i = 0; i < 40; ++i) static_cast<void>(layer->forward(x, {.training = true}));
  REQUIRE(distance(layer->forward(x), layer->forward(x, {.training = true})) < kSameMath);
}

TEST_CASE("non_local: dropout acts on the weights and again on the output") {
  const Layer layer = small({{"dropout_rate", 0.5}});
  const Array x = image(12);
  Context ctx;
  const std::vector<Input> inputs{x};
  layer->forward(ctx, inputs, {.training = true, .seed = 5});
  const Array y = Array::copy_of(*ctx.output());
  const auto zeros = std::count(y.data<float>(), y.data<float>() + y.size(), 0.0F);
  // 192 coins: 96 +- 5 standard deviations of 7.
  REQUIRE(zeros > 61);
  REQUIRE(zeros < 131);
  // The rest is not just twice the undropped output: the weights were dropped too.
  layer->forward(ctx, inputs, {.training = true, .seed = 6});
  const Array z = Array::copy_of(*ctx.output());
  int differ = 0;
  for (int64_t i = 0; i < y.size(); ++i) {
    const float a = y.data<float>()[i], b = z.data<float>()[i];
    differ += a != 0 && b != 0 && std::fabs(a - b) > 1e-3F * std::fabs(a);
  }
  REQUIRE(differ > 10);
  REQUIRE(distance(layer->forward(x), layer->forward(x)) == 0);
}

TEST_CASE("non_local: activities are penalised at five convolutions and at the output") {
  const Layer layer =
      small({{"activity_regularizer", Json{{"class_name", "L2"}, {"config", Json{{"l2", 0.5}}}}}});
  const Array x = image(13);
  Context ctx;
  const std::vector<Input> inputs{x};
  layer->forward(ctx, inputs);
  const auto penalties = layer->losses(ctx);
  REQUIRE(penalties.size() == 6);
  const Array y = Array::copy_of(*ctx.output());
  double squares = 0;
  for (int64_t i = 0; i < y.size(); ++i)
    squares += static_cast<double>(y.data<float>()[i]) * y.data<float>()[i];
  const auto last = std::find_if(penalties.begin(), penalties.end(),
                                 [](const Penalty& p) { return p.name == "activity"; });
  REQUIRE(last != penalties.end());
  // 192 squares summed, divided by the batch of 2.
  REQUIRE(last->value == Approx(0.5 * squares / 2).epsilon(192 * 1.2e-7));
  REQUIRE(distance(y, small()->forward(x)) == 0);
}

TEST_CASE("non_local: what a call refuses") {
  const Layer layer = small();
  CHECK_THAT(refusal([&] { return layer->forward(random({2, 12, 8}, 1)); }), says("(2, 12, 8)"));
  CHECK_THAT(refusal([&] { return layer->forward(random({2, 3, 4, 7}, 1)); }), says("7"));
  CHECK_THAT(refusal([&] {
               return layer->forward(Array(ATTN_F32, {2, 0, 4, 8}));
             }),
             says("(2, 0, 4, 8)"));
  // Another size of the map is fine.
  REQUIRE(layer->forward(random({1, 5, 2, 8}, 1)).shape() == Shape{1, 5, 2, 8});
}

TEST_CASE("non_local: a bias of the lowest number all along a row or column leaves equal scores") {
  const char* const probability = GENERATE("softmax", "sparsemax", "threshmax", "adaptive");
  const int64_t axis = GENERATE(-1, -2);
  if (axis == -2 && probability == std::string("adaptive")) return;  // has no axis
  const attn_dtype dtype = GENERATE(ATTN_F32, ATTN_F64);
  INFO(probability << ", axis " << axis << ", kind " << dtype);
  Json options = Json::object();
  if (axis == -2) options.set("axis", axis);
  const Layer layer = create_attention_layer("non_local", Json{{"attention_channels", 16},
                                                               {"kernel_size", 3},
                                                               {"attention_mode", "dot_product"},
                                                               {"probability_type", probability},
                                                               {"probability_config", options}});
  layer->build({Shape{2, 3, 4, 8}, Shape{12, 12}}, {.dtype = dtype, .seed = 7});
  const Array x = image(1).astype(dtype);
  // Any number far below the scores absorbs them.
  const auto results = [&](double low) {
    Array bias = random({12, 12}, 2).astype(ATTN_F64);
    for (int64_t i = 0; i < 12; ++i)
      (axis == -1 ? bias.at<double>({5, i}) : bias.at<double>({i, 5})) = low;
    const Array given = bias.astype(dtype);
    Context ctx(dtype);
    const std::vector<Input> in{x, given};
    layer->forward(ctx, in, {.record = true});
    std::vector<Array> all;
    all.push_back(Array::copy_of(*ctx.output()));
    const Array cotangent = random(all[0].shape(), 4).astype(dtype);
    const std::vector<Input> cotangents{cotangent};
    Gradients gradients(*layer);
    layer->backward(ctx, cotangents, gradients);
    all.push_back(Array::copy_of(*ctx.input_gradient("inputs")));
    for (const Gradients::Entry& e : gradients.entries())
      if (e.trained) all.push_back(e.gradient.clone());
    return all;
  };
  const auto expected = results(-1e20);
  for (const double low :
       {-1e30, -1e35, static_cast<double>(std::numeric_limits<float>::lowest())}) {
    const auto got = results(low);
    REQUIRE(got.size() == expected.size());
    for (size_t i = 0; i < got.size(); ++i)
      CHECK(distance(got[i].astype(ATTN_F32), expected[i].astype(ATTN_F32)) < kSameMath);
  }
}
