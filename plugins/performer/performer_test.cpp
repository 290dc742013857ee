// SPDX-License-Identifier: Apache-2.0
#include <attn/safetensors.hpp>

#include "tests/tools/layers.hpp"

#include <cstring>
#include <filesystem>

using namespace attn;
using namespace attn::test;

namespace {

constexpr int64_t kDim = 16, kHeads = 2, kHead = kDim / kHeads;

Json with(std::initializer_list<Json::Member> more) {
  Json parameters{{"dim", kDim}, {"num_heads", kHeads}, {"nb_features", 24}, {"seed", 5}};
  for (const Json::Member& m : more) parameters.set(m.first, m.second);
  return parameters;
}
Layer small(std::initializer_list<Json::Member> more = {}) {
  return make("performer", with(more), {{2, 9, kDim}});
}

// x (rows, in) times w (in, out), in double.
std::vector<double> product(const Array& x, int64_t rows, const Array& w) {
  const int64_t in = w.shape()[0], out = w.shape()[1];
  std::vector<double> y(static_cast<size_t>(rows * out));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t o = 0; o < out; ++o) {
      double sum = 0;
      for (int64_t i = 0; i < in; ++i)
        sum += static_cast<double>(x.data<float>()[r * in + i]) * w.at<float>({i, o});
      y[static_cast<size_t>(r * out + o)] = sum;
    }
  return y;
}

// log sum_f exp(w_f . q' + w_f . k' - |k'|^2 / 2): rows of the projection at w, q and k of a head.
double log_kernel(const float* w, int64_t features, int64_t d, const double* q, const double* k) {
  const double factor = std::pow(static_cast<double>(d), -0.25);
  double square = 0;
  for (int64_t i = 0; i < d; ++i) square += factor * k[i] * factor * k[i];
  std::vector<double> e(static_cast<size_t>(features));
  for (int64_t f = 0; f < features; ++f) {
    double dot = 0;
    for (int64_t i = 0; i < d; ++i)
      dot += static_cast<double>(w[f * d + i]) * factor * (q[i] + k[i]);
    e[static_cast<size_t>(f)] = dot - square / 2;
  }
  const double top = *std::max_element(e.begin(), e.end());
  double sum = 0;
  for (const double x : e) sum += std::exp(x - top);
  return top + std::log(sum);
}

// The definition with all pairs, for a layer without biases.
Array by_definition(const Attention& layer, const Array& x, bool causal) {
  const int64_t batch = x.shape()[0], seq = x.shape()[1];
  const Array w = weight(layer, "projection_matrix");
  const int64_t features = w.shape()[1];
  const std::vector<double> qkv = product(x, batch * seq, weight(layer, "qkv_projection/kernel"));
  Array merged(ATTN_F32, x.shape());
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t h = 0; h < kHeads; ++h)
      for (int64_t n = 0; n < seq; ++n) {
        const auto part = [&](int64_t token, int64_t which) {
          return qkv.data() + (b * seq + token) * 3 * kDim + which * kDim + h * kHead;
        };
        const int64_t keys = causal ? n + 1 : seq;
        std::vector<double> a;
        for (int64_t j = 0; j < keys; ++j)
          a.push_back(log_kernel(w.data<float>() + h * features * kHead, features, kHead,
                                 part(n, 0), part(j, 1)));
        const double top = *std::max_element(a.begin(), a.end());
        double sum = 0;
        for (double& e : a) sum += e = std::exp(e - top);
        for (int64_t i = 0; i < kHead; ++i) {
          double value = 0;
          for (int64_t j = 0; j < keys; ++j) value += a[static_cast<size_t>(j)] * part(j, 2)[i];
          merged.at<float>({b, n, h * kHead + i}) = static_cast<float>(value / sum);
        }
      }
  const std::vector<double> y =
      product(merged, batch * seq, weight(layer, "output_projection/kernel"));
  Array out(ATTN_F32, x.shape());
  for (int64_t i = 0; i < out.size(); ++i)
    out.data<float>()[i] = static_cast<float>(y[static_cast<size_t>(i)]);
  return out;
}

bool same_bits(const Array& a, const Array& b) {
  return a.shape() == b.shape() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

Array token_by_token(Attention& layer, State& state, const Array& x, int64_t step) {
  std::vector<Array> parts;
  for (int64_t at = 0; at < x.shape()[1]; at += step)
    parts.push_back(
        layer.forward(cut(x, 1, at, std::min(at + step, x.shape()[1])), {.state = &state}));
  return joined(parts, 1);
}

}  // namespace

TEST_CASE("performer: what is computed is the definition") {
  for (const bool causal : {false, true})
    for (const int64_t seq : {1, 9, 64, 65, 200}) {
      const Layer layer = small({{"causal", causal}});
      const Array x = random({2, seq, kDim}, 1, 2.0F);
      INFO("causal " << causal << ", " << seq << " tokens");
      CHECK(distance(layer->forward(x), by_definition(*layer, x, causal)) < kSameMath);
    }
}

TEST_CASE("performer: more tokens than a segment of keys") {
  const Layer layer = small();
  const Array x = random({1, 2300, kDim}, 2);
  const Array y = layer->forward(x);
  // The order of the tokens does not matter to their sums.
  std::vector<int64_t> turned(2300);
  for (int64_t i = 0; i < 2300; ++i) turned[static_cast<size_t>(i)] = (i + 700) % 2300;
  REQUIRE(distance(layer->forward(reordered(x, 1, turned)), reordered(y, 1, turned)) <
          4 * kSameMath);
  REQUIRE(distance(cut(by_definition(*layer, cut(x, 1, 0, 65), false), 1, 0, 1), cut(y, 1, 0, 1)) >
          1000);
  REQUIRE(same_bits(layer->forward(x), y));
}

TEST_CASE("performer: huge inputs stay convex combinations") {
  for (const bool causal : {false, true}) {
    const Layer layer = small({{"causal", causal}});
    // Values and output as they are: every output lies between the smallest and the largest value.
    Array output = filled({kDim, kDim}, 0);
    for (int64_t i = 0; i < kDim; ++i) output.at<float>({i, i}) = 1;
    layer->set_weight("output_projection/kernel", output);
    Array kernel = weight(*layer, "qkv_projection/kernel");
    for (int64_t i = 0; i < kDim; ++i)
      for (int64_t o = 0; o < kDim; ++o) kernel.at<float>({i, 2 * kDim + o}) = i == o ? 1.0F : 0.0F;
    layer->set_weight("qkv_projection/kernel", kernel);
    for (const float size : {1.0F, 30.0F, 1000.0F}) {
      const Array x = random({1, 150, kDim}, 3, size);
      const Array y = layer->forward(x);
      INFO("size " << size << ", causal " << causal);
      for (int64_t i = 0; i < kDim; ++i) {
        float low = 1e30F, high = -1e30F;
        for (int64_t n = 0; n < 150; ++n) {
          low = std::min(low, x.at<float>({0, n, i}));
          high = std::max(high, x.at<float>({0, n, i}));
        }
        const float slack = size * 1e-5F;  // about 64 eps for each of two sums
        for (int64_t n = 0; n < 150; ++n) {
          const float v = y.at<float>({0, n, i});
          REQUIRE((v >= low - slack && v <= high + slack));
        }
      }
    }
  }
}

TEST_CASE("performer: no later token touches an earlier row, to the last bit") {
  const Layer layer = small({{"causal", true}});
  for (const float size : {1.0F, 10.0F, 100.0F}) {
    const Array x = random({1, 200, kDim}, 4, size);
    const Array y = layer->forward(x);
    for (const int64_t at : {1, 17, 63, 64, 65, 130, 199})
      for (const float change : {-3.0F, 50.0F, std::numeric_limits<float>::quiet_NaN()}) {
        Array moved = x.clone();
        for (int64_t i = 0; i < kDim; ++i) moved.at<float>({0, at, i}) *= change;
        const Array z = layer->forward(moved);
        INFO("size " << size << ", token " << at << " times " << change);
        CHECK(same_bits(cut(z, 1, 0, at), cut(y, 1, 0, at)));
        CHECK_FALSE(same_bits(cut(z, 1, at, at + 1), cut(y, 1, at, at + 1)));
      }
  }
}

TEST_CASE("performer: token by token gives what one call gives") {
  for (const char* map : {"positive", "clamped_trig"})
    for (const float size : {1.0F, 20.0F}) {
      if (size > 1 && map[0] == 'c') continue;  // its denominators vanish
      const Layer layer = small({{"causal", true}, {"feature_map", map}});
      const auto state = layer->make_state(2);
      const Array x = random({2, 150, kDim}, 5, size);
      const Array y = layer->forward(x);
      size_t bytes = 0;
      for (const int64_t step : {1, 7, 64, 150}) {
        INFO(map << ", size " << size << ", " << step << " at a time");
        state->reset();
        CHECK(distance(token_by_token(*layer, *state, x, step), y) < 4 * kSameMath);
        CHECK(state->length() == 150);
        // However long the sequence: the state has one size.
        if (bytes == 0) bytes = state->bytes();
        CHECK(state->bytes() == bytes);
        CHECK(bytes > 0);
      }
    }
}

TEST_CASE("performer: a state is reordered, begun again, and cannot go back") {
  const Layer layer = small({{"causal", true}});
  const auto state = layer->make_state(2);
  const Array x = random({2, 12, kDim}, 6);
  const Array y = layer->forward(x);
  token_by_token(*layer, *state, cut(x, 1, 0, 8), 3);
  CHECK_THAT(refusal([&] { state->truncate(4); }), says("reset"));
  state->reorder({1, 1, 0});
  const Array three = reordered(cut(x, 1, 8, 12), 0, {1, 1, 0});
  REQUIRE(distance(layer->forward(three, {.state = state.get()}),
                   reordered(cut(y, 1, 8, 12), 0, {1, 1, 0})) < kSameMath);
  // What is refused changes nothing.
  state->reset();
  REQUIRE(state->length() == 0);
  state->reorder({0, 1});
  token_by_token(*layer, *state, cut(x, 1, 0, 8), 8);
  CHECK_FALSE(
      refusal([&] { return layer->forward(cut(x, 0, 0, 1), {.state = state.get()}); }).empty());
  CHECK_FALSE(
      refusal([&] { return layer->forward(x, {.training = true, .state = state.get()}); }).empty());
  REQUIRE(state->length() == 8);
  REQUIRE(distance(layer->forward(cut(x, 1, 8, 12), {.state = state.get()}), cut(y, 1, 8, 12)) <
          kSameMath);
  // The first call fixes nothing that the state did not say.
  const auto one = layer->make_state(1);
  CHECK_THAT(refusal([&] { return layer->forward(x, {.state = one.get()}); }), says("batch 1"));
  CHECK_THAT(refusal([&] { return small()->make_state(1); }), says("no state"));
}

TEST_CASE("performer: the rows of a seed are the published ones") {
  const Layer layer = make(
      "performer", {{"dim", 2}, {"num_heads", 1}, {"nb_features", 3}, {"seed", 1}}, {{1, 4, 2}});
  const float expected[]{-0.03375792F, -1.27339304F, -0.51138807F,
                         0.013557F,    0.36739216F,  -1.29499039F};
  const Array w = weight(*layer, "projection_matrix");
  REQUIRE(w.shape() == Shape{1, 3, 2});
  for (int i = 0; i < 6; ++i) CHECK(w.data<float>()[i] == Approx(expected[i]).margin(1e-7));
}

TEST_CASE("performer: rows of a block are orthogonal and have the length asked for") {
  for (const double scaling : {0.0, 0.5, 1.0}) {
    const Layer layer = make("performer", with({{"ortho_scaling", scaling}}), {{1, 4, kDim}});
    const Array w = weight(*layer, "projection_matrix");
    const auto dot = [&](int64_t h, int64_t a, int64_t b) {
      double sum = 0;
      for (int64_t i = 0; i < kHead; ++i)
        sum += static_cast<double>(w.at<float>({h, a, i})) * w.at<float>({h, b, i});
      return sum;
    };
    for (int64_t h = 0; h < kHeads; ++h)
      for (int64_t a = 0; a < 24; ++a) {
        const double length = std::sqrt(dot(h, a, a));
        if (scaling > 0) CHECK(length == Approx(scaling * std::sqrt(8.0)).epsilon(1e-6));
        for (int64_t b = 0; b < a; ++b) {
          const double cosine = dot(h, a, b) / (length * std::sqrt(dot(h, b, b)));
          CHECK((std::fabs(cosine) < 1e-6) == (a / kHead == b / kHead));
        }
      }
  }
}

TEST_CASE("performer: more features come closer to softmax") {
  // Mean over rows of sum_j |weight - softmax weight| for queries and keys 0.5 times normal, width 16.
  const int64_t d = 16, seq = 64;
  const Array tokens = random({2, seq, d, 12}, 7);  // sums of 12 uniform numbers are nearly normal
  std::vector<double> q, k;
  for (int64_t i = 0; i < 2 * seq * d; ++i) {
    double sum = 0;
    for (int64_t t = 0; t < 12; ++t) sum += static_cast<double>(tokens.data<float>()[i * 12 + t]);
    (i < seq * d ? q : k).push_back(0.5 * sum / 2);
  }
  const auto error = [&](int64_t features) {
    const Layer layer =
        make("performer", {{"dim", d}, {"num_heads", 1}, {"nb_features", features}, {"seed", 11}},
             {{1, 4, d}});
    const Array w = weight(*layer, "projection_matrix");
    double total = 0;
    for (int64_t n = 0; n < seq; ++n) {
      std::vector<double> a, s;
      double a_sum = 0, s_sum = 0;
      for (int64_t j = 0; j < seq; ++j) {
        double dot = 0;
        for (int64_t i = 0; i < d; ++i)
          dot += q[static_cast<size_t>(n * d + i)] * k[static_cast<size_t>(j * d + i)];
        s.push_back(std::exp(dot / 4));
        a.push_back(
            std::exp(log_kernel(w.data<float>(), features, d, &q[static_cast<size_t>(n * d)],
                                &k[static_cast<size_t>(j * d)])));
        a_sum += a.back();
        s_sum += s.back();
      }
      for (size_t j = 0; j < a.size(); ++j) total += std::fabs(a[j] / a_sum - s[j] / s_sum);
    }
    return total / static_cast<double>(seq);
  };
  const std::pair<int64_t, double> known[]{{16, 0.28}, {64, 0.17}, {256, 0.10}, {1024, 0.05}};
  for (const auto& [features, expected] : known) {
    INFO(features << " features");
    const double found = error(features);
    CHECK(found < 1.5 * expected);
    CHECK(found > expected / 1.5);
  }
}

TEST_CASE("performer: seeds") {
  const auto rows = [](const Json& parameters) {
    return weight(*make("performer", parameters, {{1, 4, kDim}}), "projection_matrix");
  };
  CHECK(same_bits(rows(with({})), rows(with({}))));
  CHECK_FALSE(same_bits(rows(with({})), rows(with({{"seed", 6}}))));
  // Without one the layer draws it and reports it.
  const Layer layer = create_attention_layer("performer", with({{"seed", nullptr}}));
  const Json seed = layer->config().at("seed");
  REQUIRE(seed.to_uint64());
  layer->build({Shape{1, 4, kDim}});
  CHECK(same_bits(weight(*layer, "projection_matrix"), rows(with({{"seed", seed}}))));
  CHECK(create_attention_layer("performer", with({{"seed", nullptr}}))->config().at("seed") !=
        seed);
  // The global seed decides, too.
  set_seed(3);
  const Json first = create_attention_layer("performer", with({{"seed", nullptr}}))->config();
  set_seed(3);
  const Json again = create_attention_layer("performer", with({{"seed", nullptr}}))->config();
  CHECK(first.at("seed") == again.at("seed"));
  // All 64 bits are kept.
  const Layer big = create_attention_layer("performer", with({{"seed", Json(UINT64_MAX - 1)}}));
  big->build({Shape{1, 4, kDim}});
  const ConstView words = big->weight("projection_seed");
  REQUIRE(words.dtype == ATTN_U32);
  CHECK(static_cast<const uint32_t*>(words.data)[0] == 0xFFFFFFFEu);
  CHECK(static_cast<const uint32_t*>(words.data)[1] == 0xFFFFFFFFu);
  CHECK(big->config().at("seed") == Json(UINT64_MAX - 1));
}

TEST_CASE("performer: a file keeps the projection, whatever the config says") {
  const std::string path =
      (std::filesystem::temp_directory_path() / "attn_performer_test.safetensors").string();
  const Layer layer = small();
  layer->set_weight("projection_matrix", random({kHeads, 24, kHead}, 8));
  layer->save(path);
  const auto restored = load_attention(path);
  const Array x = random({2, 9, kDim}, 9);
  CHECK(same_bits(restored->forward(x), layer->forward(x)));
  CHECK(same_bits(weight(*restored, "projection_matrix"), weight(*layer, "projection_matrix")));
  std::filesystem::remove(path);
  // The words of the seed are whole numbers and stay such.
  CHECK_THAT(refusal([&] {
               layer->set_weight("projection_seed", filled({2}, 1));
               return 0;
             }),
             says("uint32"));
}

TEST_CASE("performer: drawn again from another seed") {
  const Layer layer = small(), wanted = small({{"seed", Json(UINT64_MAX - 1)}});
  const Array kernel = weight(*layer, "qkv_projection/kernel");
  layer->redraw(UINT64_MAX - 1);
  for (const char* name : {"projection_matrix", "projection_seed"})
    CHECK(same_bits(weight(*layer, name), weight(*wanted, name)));
  CHECK(same_bits(weight(*layer, "qkv_projection/kernel"), kernel));
  CHECK(layer->config().at("seed") == Json(UINT64_MAX - 1));
  // The calls follow.
  for (const char* name : {"qkv_projection/kernel", "output_projection/kernel"})
    wanted->set_weight(name, weight(*layer, name));
  const Array x = random({2, 9, kDim}, 4);
  CHECK(same_bits(layer->forward(x), wanted->forward(x)));

  const Layer none = make("multi_head", {{"dim", 8}, {"num_heads", 2}}, {{1, 3, 8}});
  CHECK_THAT(refusal([&] { none->redraw(1); }), says("no seed"));
}

TEST_CASE("performer: a file without projection leaves the one of the seed") {
  const std::string path =
      (std::filesystem::temp_directory_path() / "attn_performer_trained.safetensors").string();
  const Layer from = small(), to = small({{"seed", 9}});
  const Array w = weight(*to, "projection_matrix");
  std::vector<NamedView> tensors;
  for (const WeightInfo& info : from->weights())
    if (info.trainable) tensors.push_back({info.name, from->weight(info.name)});
  save_safetensors(path, tensors);
  to->load(path);
  CHECK(same_bits(weight(*to, "projection_matrix"), w));
  CHECK(same_bits(weight(*to, "qkv_projection/kernel"), weight(*from, "qkv_projection/kernel")));
  // Any other weight has to be there.
  tensors.pop_back();
  save_safetensors(path, tensors);
  CHECK_THAT(refusal([&] {
               to->load(path);
               return 0;
             }),
             says("is missing"));
  std::filesystem::remove(path);
}

TEST_CASE("performer: dropout is the last step") {
  const Layer layer = small({{"dropout_rate", 0.25}});
  const Array x = random({2, 9, kDim}, 10);
  const Array y = layer->forward(x), z = layer->forward(x, {.training = true, .seed = 1});
  int zeros = 0;
  for (int64_t i = 0; i < y.size(); ++i) {
    if (z.data<float>()[i] == 0)
      ++zeros;
    else
      CHECK(z.data<float>()[i] == Approx(y.data<float>()[i] / 0.75F));
  }
  // 288 draws at rate 1/4: 72 with a deviation of 7.3.
  CHECK(zeros > 40);
  CHECK(zeros < 110);
}

TEST_CASE("performer: gradients match differences, over chunks that end early and over segments") {
  for (const bool causal : {false, true})
    for (const float size : {0.5F, 12.0F}) {
      const int64_t tokens = causal ? 150 : 2200;
      Layer layer = create_attention_layer("performer", with({{"causal", causal}}));
      layer->build({Shape{1, tokens, kDim}}, {.dtype = ATTN_F64, .seed = 3});
      const Array x = random({1, tokens, kDim}, 11, size).astype(ATTN_F64),
                  g = random({1, tokens, kDim}, 12).astype(ATTN_F64),
                  direction = random({1, tokens, kDim}, 13).astype(ATTN_F64);
      Context ctx(ATTN_F64);
      const std::vector<Input> inputs{x}, cotangents{g};
      layer->forward(ctx, inputs, {.record = true});
      Gradients gradients(*layer);
      layer->backward(ctx, cotangents, gradients);
      const Array dx = Array::copy_of(*ctx.input_gradient("inputs"));
      double slope = 0, magnitude = 0;
      for (int64_t i = 0; i < x.size(); ++i) {
        slope += dx.data<double>()[i] * direction.data<double>()[i];
        magnitude += std::fabs(dx.data<double>()[i]);
      }
      const auto value = [&](double step) {
        Array moved = x.clone();
        for (int64_t i = 0; i < x.size(); ++i)
          moved.data<double>()[i] += step * direction.data<double>()[i];
        const Array y = layer->forward(moved);
        double sum = 0;
        for (int64_t i = 0; i < y.size(); ++i) sum += y.data<double>()[i] * g.data<double>()[i];
        return sum;
      };
      // Step 1e-6: errors of the formula and of rounding are both near 1e-9 of the slope's terms.
      const double difference = (value(1e-6) - value(-1e-6)) / 2e-6;
      INFO("causal " << causal << ", size " << size);
      CHECK(std::fabs(slope - difference) < 1e-6 * (1 + magnitude));
    }
}

TEST_CASE("performer: what is refused") {
  const Layer layer = small();
  const Array x = random({2, 9, kDim}, 14);
  CHECK_THAT(refusal([&] { return layer->forward(random({9, kDim}, 1)); }), says("(9, 16)"));
  CHECK_THAT(refusal([&] {
               return layer->forward(random({2, 9, 8}, 1));
             }),
             says("Last dimension of input (8) must match dim (16)"));
  CHECK_THAT(refusal([&] { return layer->forward({x, filled({2, 9}, 1)}); }), says("inputs"));
  CHECK_THAT(refusal([&] {
               return layer->forward({{"inputs", x}, {"attention_mask", filled({2, 9}, 1)}});
             }),
             says("attention_mask"));
  CHECK_THAT(refusal([] {
               const Layer huge =
                   create_attention_layer("performer", with({{"nb_features", int64_t{1} << 60}}));
               huge->build({Shape{1, 4, kDim}});
             }),
             says("nb_features"));
  const Argument scores("return_attention_scores", true);
  const std::vector<Input> inputs{x};
  CHECK(layer->forward_all(inputs, {.arguments = {&scores, 1}}).size() == 1);
}

TEST_CASE("performer: inputs of up to 1e15 give finite outputs, as a whole and by states") {
  for (const char* map : {"positive", "clamped_trig"})
    for (const float scale : {1e5F, 1e9F, 1e15F}) {
      const Layer layer = make("performer",
                               {{"dim", 16},
                                {"num_heads", 2},
                                {"nb_features", 24},
                                {"seed", 3},
                                {"causal", true},
                                {"feature_map", map}},
                               {{2, 70, 16}});
      const Array x = random({2, 70, 16}, 41, scale);
      const Array whole = layer->forward(x);
      const auto state = layer->make_state(2);
      const Array steps = token_by_token(*layer, *state, x, 7);
      INFO(map << ", inputs of " << scale);
      for (int64_t i = 0; i < whole.size(); ++i) {
        CHECK(std::isfinite(whole.data<float>()[i]));
        CHECK(std::isfinite(steps.data<float>()[i]));
      }
    }
}
