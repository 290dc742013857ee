// SPDX-License-Identifier: Apache-2.0
#include <attn/log.hpp>
#include <attn/safetensors.hpp>

#include <filesystem>

#include "tests/tools/layers.hpp"

using namespace attn;
using namespace attn::test;

namespace {

// A few eps of the largest element, growing with the logarithm of the length.
constexpr double kRounding = 16;

Layer fnet(const Shape& shape, bool normalize = true) {
  return make("fnet", {{"normalize_dft", normalize}}, {shape});
}

constexpr double kTwoPi = 6.28318530717958647692;

// One axis of a transform after another, from the definition, in double; the real part, normalised.
Array definition(const Array& x) {
  const int64_t batch = x.shape()[0], s = x.shape()[1], d = x.shape()[2];
  Array y(ATTN_F32, x.shape());
  const auto roots = [](int64_t n) {
    std::vector<double> t(static_cast<size_t>(2 * n));
    for (int64_t k = 0; k < n; ++k) {
      const double angle = kTwoPi * static_cast<double>(k) / static_cast<double>(n);
      t[static_cast<size_t>(2 * k)] = std::cos(angle);
      t[static_cast<size_t>(2 * k + 1)] = -std::sin(angle);
    }
    return t;
  };
  const std::vector<double> ws = roots(s), wd = roots(d);
  std::vector<double> re(static_cast<size_t>(s * d)), im(re.size());
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t i = 0; i < s; ++i)
      for (int64_t l = 0; l < d; ++l) {
        double r = 0, m = 0;
        for (int64_t f = 0; f < d; ++f) {
          const double v = x.at<float>({b, i, f});
          r += v * wd[static_cast<size_t>(2 * (f * l % d))];
          m += v * wd[static_cast<size_t>(2 * (f * l % d) + 1)];
        }
        re[static_cast<size_t>(i * d + l)] = r;
        im[static_cast<size_t>(i * d + l)] = m;
      }
    for (int64_t k = 0; k < s; ++k)
      for (int64_t l = 0; l < d; ++l) {
        double sum = 0;
        for (int64_t i = 0; i < s; ++i) {
          const size_t at = static_cast<size_t>(i * d + l),
                       w = static_cast<size_t>(2 * (i * k % s));
          sum += re[at] * ws[w] - im[at] * ws[w + 1];
        }
        y.at<float>({b, k, l}) =
            static_cast<float>(sum / std::sqrt(static_cast<double>(s) * static_cast<double>(d)));
      }
  }
  return y;
}

// x turned around both axes: element (s, f) becomes (S - s, D - f), modulo both.
Array mirrored(const Array& x) {
  const auto order = [](int64_t n) {
    std::vector<int64_t> o;
    for (int64_t i = 0; i < n; ++i) o.push_back((n - i) % n);
    return o;
  };
  return reordered(reordered(x, 1, order(x.shape()[1])), 2, order(x.shape()[2]));
}

}  // namespace

TEST_CASE("fnet: it follows the definition, whatever the length") {
  // Every radix, products of them, primes, and products of primes that have no pass of their own.
  const Shape shape = GENERATE(
      Shape{1, 1, 1}, Shape{3, 1, 7}, Shape{3, 2, 3}, Shape{2, 4, 5}, Shape{2, 8, 1},
      Shape{1, 13, 16}, Shape{1, 11, 17}, Shape{2, 31, 32}, Shape{1, 33, 64}, Shape{1, 45, 100},
      Shape{1, 97, 49}, Shape{1, 127, 36}, Shape{1, 128, 121}, Shape{1, 129, 19}, Shape{2, 34, 38},
      Shape{1, 257, 24}, Shape{1, 512, 13}, Shape{1, 1009, 3}, Shape{1, 6, 1013}, Shape{70, 5, 6});
  INFO(shape.to_string());
  const Array x = random(shape, 1);
  REQUIRE(distance(fnet(shape)->forward(x), definition(x)) < kRounding);
}

TEST_CASE("fnet: either word for the implementation gives the same bits") {
  const Array x = random({2, 33, 34}, 12), y = fnet({2, 33, 34})->forward(x);
  for (const char* word : {"matrix", "fft"})
    REQUIRE(distance(make("fnet", {{"implementation", word}}, {{2, 33, 34}})->forward(x), y) == 0);
}

TEST_CASE("fnet: twice is the mean of x and its mirror image") {
  const Shape shape = GENERATE(Shape{2, 60, 77}, Shape{1, 1021, 64}, Shape{1, 96, 509},
                               Shape{1, 2048, 21}, Shape{1, 512, 768});
  INFO(shape.to_string());
  const Layer layer = fnet(shape);
  const Array x = random(shape, 2), other = mirrored(x);
  Array expected(ATTN_F32, shape);
  for (int64_t i = 0; i < x.size(); ++i)
    expected.data<float>()[i] = (x.data<float>()[i] + other.data<float>()[i]) / 2;
  REQUIRE(distance(layer->forward(layer->forward(x)), expected) < kRounding);
}

TEST_CASE("fnet: a constant has one number, an impulse a constant") {
  const Layer layer = fnet({1, 30, 34});
  Array y = layer->forward(filled({1, 30, 34}, 0.5F));
  const float first = 0.5F * std::sqrt(30.0F * 34.0F);
  for (int64_t i = 0; i < y.size(); ++i)
    REQUIRE(std::fabs(y.data<float>()[i] - (i == 0 ? first : 0)) < 1e-6F * first);
  Array x = filled({1, 30, 34}, 0);
  x.data<float>()[0] = 3;
  y = layer->forward(x);
  for (int64_t i = 0; i < y.size(); ++i)
    REQUIRE(std::fabs(y.data<float>()[i] - 3 / std::sqrt(30.0F * 34.0F)) < 1e-6F);
}

TEST_CASE("fnet: without normalisation it is the plain sum") {
  const Array x = random({2, 12, 10}, 3);
  const Array y = fnet({2, 12, 10}, false)->forward(x);
  const Array small = fnet({2, 12, 10})->forward(x);
  Array expected(ATTN_F32, {2, 12, 10});
  for (int64_t i = 0; i < x.size(); ++i)
    expected.data<float>()[i] = small.data<float>()[i] * std::sqrt(120.0F);
  REQUIRE(distance(y, expected) < kRounding);
}

TEST_CASE("fnet: a mask multiplies rows, as it is") {
  const Layer layer = fnet({2, 5, 18});
  const Array x = random({2, 5, 18}, 4), plain = layer->forward(x);
  const std::vector<float> factors{1, 0.5F, -1, 2, 0, 0, 0, 0, 0, 3};
  const Array y = layer->forward({x, Array::from(factors, {2, 5})});
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t s = 0; s < 5; ++s)
      for (int64_t f = 0; f < 18; ++f)
        REQUIRE(y.at<float>({b, s, f}) ==
                Approx(plain.at<float>({b, s, f}) * factors[static_cast<size_t>(b * 5 + s)]));
  // One row of factors for all items; whole numbers and bools count by their value.
  const Array one = layer->forward({x, Array::from(std::vector<int32_t>{1, 2, 0, 1, -3}, {1, 5})});
  REQUIRE(one.at<float>({1, 4, 7}) == Approx(-3 * plain.at<float>({1, 4, 7})));
  REQUIRE(one.at<float>({0, 2, 7}) == 0);
}

TEST_CASE("fnet: a layer takes sequences of any length") {
  const Layer layer = fnet({2, 12, 10});
  const Array x = random({3, 37, 9}, 5);
  REQUIRE(distance(layer->forward(x), fnet({3, 37, 9})->forward(x)) == 0);
}

TEST_CASE("fnet: items of a batch do not meet, in any number") {
  const Layer layer = fnet({70, 9, 20});
  const Array x = random({70, 9, 20}, 6), y = layer->forward(x);
  for (const int64_t b : {0, 31, 69})
    REQUIRE(distance(layer->forward(cut(x, 0, b, b + 1)), cut(y, 0, b, b + 1)) < kRounding);
}

TEST_CASE("fnet: the gradient is the transform of the gradient, rows times the mask first") {
  const Shape shape{2, 22, 35};
  const Layer layer = fnet(shape);
  const Array x = random(shape, 7), g = random(shape, 8), mask = random({2, 22}, 9);
  const Input in[] = {Input(x), Input(mask)};
  const Input cotangent(g);
  Context ctx;
  Gradients none(*layer);
  layer->forward(ctx, in, {.record = true});
  layer->backward(ctx, {&cotangent, 1}, none);
  Array scaled(ATTN_F32, shape);
  for (int64_t i = 0; i < g.size(); ++i)
    scaled.data<float>()[i] = g.data<float>()[i] * mask.data<float>()[i / 35];
  REQUIRE(distance(Array::copy_of(*ctx.input_gradient("inputs")), layer->forward(scaled)) <
          kRounding);
}

TEST_CASE("fnet: tables of other libraries are accepted and ignored") {
  const Layer layer = fnet({1, 6, 4});
  const Array x = random({1, 6, 4}, 10), y = layer->forward(x);
  const auto loaded = [&](const Shape& of_tokens, const Shape& of_features) {
    const std::string path =
        (std::filesystem::temp_directory_path() / "attn_fnet_test.safetensors").string();
    const Array tokens = filled(of_tokens, 3), features = filled(of_features, 3);
    save_safetensors(path,
                     {{"dft_matrix_seq", tokens.view()}, {"dft_matrix_hidden", features.view()}});
    const std::string text = refusal([&] {
      layer->load(path);
      return 0;
    });
    std::filesystem::remove(path);
    return text;
  };
  CHECK(loaded({6, 6, 2}, {4, 4, 2}).empty());
  REQUIRE(distance(layer->forward(x), y) == 0);
  // Those of another length belong to another layer.
  CHECK_THAT(loaded({5, 5, 2}, {4, 4, 2}), says("'dft_matrix_seq' has shape (5, 5, 2)"));
  CHECK_THAT(loaded({6, 6, 2}, {4, 4}), says("'dft_matrix_hidden' has shape (4, 4)"));
}

TEST_CASE("fnet: a table with other values is warned of") {
  std::vector<std::string> told;
  set_log_sink([&](LogLevel level, std::string_view text) {
    if (level == LogLevel::warning) told.emplace_back(text);
  });
  const std::string path =
      (std::filesystem::temp_directory_path() / "attn_fnet_table.safetensors").string();
  for (const bool normalize : {true, false}) {
    const Layer layer = fnet({1, 5, 4}, normalize);
    // [n, k] = (cos, -sin)(2 pi n k / 5), off by `more` in one place.
    const auto loaded = [&](float more) {
      const double factor = normalize ? 1 / std::sqrt(5.0) : 1.0;
      Array table(ATTN_F32, {5, 5, 2});
      for (int64_t n = 0; n < 5; ++n)
        for (int64_t k = 0; k < 5; ++k) {
          const double angle = kTwoPi * static_cast<double>(n * k) / 5;
          table.at<float>({n, k, 0}) = static_cast<float>(factor * std::cos(angle));
          table.at<float>({n, k, 1}) = static_cast<float>(-factor * std::sin(angle));
        }
      table.at<float>({4, 3, 1}) += more * static_cast<float>(factor);
      save_safetensors(path, {{"dft_matrix_seq", table.view()}});
      told.clear();
      layer->load(path);
      return told.size();
    };
    CHECK(loaded(0) == 0);
    CHECK(loaded(0.019F) == 0);
    REQUIRE(loaded(-0.021F) == 1);
    CHECK_THAT(told[0], says("'dft_matrix_seq' differs") && says("ignored"));
    CHECK(loaded(std::numeric_limits<float>::quiet_NaN()) == 1);
  }
  set_log_sink({});
  std::filesystem::remove(path);
}

TEST_CASE("fnet: sizes have to be known when it is built") {
  const auto built = [](const Shape& shape) {
    return refusal([&] {
      create_attention_layer("fnet", Json::object())->build({shape, std::nullopt}, {});
      return 0;
    });
  };
  CHECK(built({-1, 5, 18}).empty());
  CHECK_THAT(built({2, -1, 18}), says("known sequence and hidden size"));
  CHECK_THAT(built({2, 5, -1}), says("known sequence and hidden size"));
  CHECK_THAT(built({5, 18}), says("3D (batch, sequence, hidden)"));
}

TEST_CASE("fnet: what a call refuses") {
  const Layer layer = fnet({2, 5, 18});
  const Array x = random({2, 5, 18}, 11);
  CHECK_THAT(refusal([&] {
               return layer->forward(random({5, 18}, 1));
             }),
             says("3D (batch, sequence, hidden), got shape (5, 18)"));
  CHECK_THAT(refusal([&] { return layer->forward({x, filled({5}, 1)}); }), says("(2, 5)"));
  CHECK_THAT(refusal([&] { return layer->forward({x, filled({2, 1, 5}, 1)}); }), says("(2, 1, 5)"));
  CHECK_THAT(refusal([&] { return layer->forward({x, filled({2, 18}, 1)}); }), says("(2, 18)"));
  CHECK_THAT(refusal([&] { return layer->forward(random({2, 0, 18}, 1)); }), says("empty"));
}
