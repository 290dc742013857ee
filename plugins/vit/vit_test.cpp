// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/layers.hpp"

#include <functional>

using namespace attn;
using namespace attn::test;

namespace {

Json config(const char* kind, std::initializer_list<Json::Member> more = {}) {
  Json parameters{{"dim", 16},        {"num_heads", 2},  {"position_kind", kind},
                  {"grid_height", 3}, {"grid_width", 4}, {"num_prefix_tokens", 1}};
  if (kind == std::string("swin_v2")) parameters.set("cpb_hidden_dim", 8);
  for (const Json::Member& m : more) parameters.set(m.first, m.second);
  return parameters;
}

// What is added to the scores of a head, read from the weights of equal queries and keys: P(B) but for a constant of each
// query. (head, query, key)
Array bias_of(Attention& layer, int64_t tokens) {
  const Array x = filled({1, tokens, 16}, 0);
  const Argument asked("return_attention_weights", true);
  const std::vector<Input> inputs{x};
  const Array w = layer.forward_all(inputs, {.arguments = {&asked, 1}}).at(1).value.clone();
  Array out(ATTN_F32, {2, tokens, tokens});
  for (int64_t i = 0; i < w.size(); ++i)
    out.data<float>()[i] = std::log(w.data<float>()[i] / w.data<float>()[i / tokens * tokens]);
  return out;
}

// The same of numbers that are known: those of key 0 taken off.
double expect(const Array& bias, const std::function<double(int64_t, int64_t, int64_t)>& entry) {
  double worst = 0;
  for (int64_t h = 0; h < 2; ++h)
    for (int64_t i = 0; i < bias.shape()[1]; ++i)
      for (int64_t j = 0; j < bias.shape()[2]; ++j)
        worst =
            std::max(worst, std::fabs(bias.at<float>({h, i, j}) - entry(h, i, j) + entry(h, i, 0)));
  return worst;
}

// log of a quotient of weights in float32, of biases of up to 16.
constexpr double kRead = 1e-4;

}  // namespace

TEST_CASE("vit: without positions it is multi_head") {
  const Layer layer =
      make("vit", config("none", {{"grid_height", 1}, {"grid_width", 1}}), {{2, 13, 16}});
  const Layer plain =
      make("multi_head", {{"dim", 16}, {"num_heads", 2}, {"use_bias", true}}, {{2, 13, 16}});
  std::vector<Array> kernels;
  for (const char* name : {"query/kernel", "key/kernel", "value/kernel"})
    kernels.push_back(weight(*layer, name));
  plain->set_weight("cross_attention/qkv/kernel", joined(kernels, 1));
  plain->set_weight("cross_attention/proj/kernel", layer->weight("proj/kernel"));
  const Array x = random({2, 13, 16}, 1);
  CHECK(distance(layer->forward(x), plain->forward(x)) < kSameMath);
}

TEST_CASE("vit: rows of the table of beit, by hand") {
  const Layer layer = make("vit", config("beit"), {{1, 13, 16}});
  Array table(ATTN_F32, {5 * 7 + 3, 2});
  for (int64_t r = 0; r < 38; ++r)
    for (int64_t h = 0; h < 2; ++h)
      table.at<float>({r, h}) = 0.05F * static_cast<float>(r) * (h == 0 ? 1.0F : -1.0F);
  layer->set_weight("relative_position_bias_table", table);
  const Array bias = bias_of(*layer, 13);
  const auto entry = [&](int64_t h, int64_t row) {
    return static_cast<double>(table.at<float>({row, h}));
  };
  // Token 1 + 4 r + c is at row r, column c. The middle row of the table, 2 * 7 + 3, is distance 0.
  CHECK(expect(bias, [&](int64_t h, int64_t i, int64_t j) {
          if (i == 0 || j == 0) return entry(h, i == 0 && j == 0 ? 37 : i == 0 ? 35 : 36);
          const int64_t down = (i - 1) / 4 - (j - 1) / 4, right = (i - 1) % 4 - (j - 1) % 4;
          return entry(h, 17 + 7 * down + right);
        }) < kRead);
  // The first tokens of the map are told apart in the same way.
  CHECK(distance(bias_of(*layer, 6), cut(cut(bias, 1, 0, 6), 2, 0, 6)) < 1000);
}

TEST_CASE("vit: swin gives prefix tokens no bias") {
  const Layer layer = make("vit", config("swin", {{"num_prefix_tokens", 2}}), {{1, 14, 16}});
  const Array table = random({35, 2}, 2);
  layer->set_weight("relative_position_bias_table", table);
  CHECK(expect(bias_of(*layer, 14), [&](int64_t h, int64_t i, int64_t j) {
          if (i < 2 || j < 2) return 0.0;
          const int64_t down = (i - 2) / 4 - (j - 2) / 4, right = (i - 2) % 4 - (j - 2) % 4;
          return static_cast<double>(table.at<float>({17 + 7 * down + right, h}));
        }) < kRead);
}

TEST_CASE("vit: buckets of t5, as published") {
  const Layer layer = make("vit", config("t5"), {{1, 300, 16}});
  Array table(ATTN_F32, {32, 2});
  for (int64_t r = 0; r < 32; ++r)
    for (int64_t h = 0; h < 2; ++h) table.at<float>({r, h}) = 0.2F * static_cast<float>(r);
  layer->set_weight("relative_position_bias_table", table);
  const Array bias = bias_of(*layer, 300);
  // Of key 0 as seen from query i: distances -i. First distances of buckets 8 to 15, for 32 buckets and 128.
  const std::vector<int64_t> first{0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91};
  const auto bucket = [&](int64_t ahead) {
    const int64_t distance = std::abs(ahead);
    const auto at = std::upper_bound(first.begin(), first.end(), distance) - first.begin() - 1;
    return static_cast<double>(at + (ahead > 0 ? 16 : 0));
  };
  CHECK(expect(bias, [&](int64_t, int64_t i, int64_t j) { return 0.2 * bucket(j - i); }) < kRead);
}

TEST_CASE("vit: swin_v2 compares directions, and its bias follows the logarithm of distances") {
  const Layer layer = make("vit", config("swin_v2"), {{1, 13, 16}});
  // One unit that is the distance down, and one that is its negative: the head sees |distance|.
  Array hidden = filled({2, 8}, 0), out = filled({8, 2}, 0);
  hidden.at<float>({0, 0}) = 1, hidden.at<float>({0, 1}) = -1;
  out.at<float>({0, 0}) = out.at<float>({1, 0}) = -1;
  layer->set_weight("cpb_mlp/hidden/kernel", hidden);
  layer->set_weight("cpb_mlp/out/kernel", out);
  const auto value = [](int64_t rows) {
    const double far = std::log2(8 * std::fabs(static_cast<double>(rows)) / 2 + 1) / 3;
    return 16 / (1 + std::exp(far));
  };
  CHECK(expect(bias_of(*layer, 13), [&](int64_t h, int64_t i, int64_t j) {
          if (i == 0 || j == 0) return 0.0;
          return h == 1 ? 8.0 : value((i - 1) / 4 - (j - 1) / 4);
        }) < kRead);
  // The length of a token does not matter to the scores: with the values taken off, weights stay.
  const Layer plain = make("vit", config("swin_v2", {{"qv_bias", false}}), {{1, 13, 16}});
  const Array x = random({1, 13, 16}, 3);
  Array scaled = x.clone();
  for (int64_t i = 0; i < x.size(); ++i) scaled.data<float>()[i] *= 8;
  const Argument asked("return_attention_weights", true);
  const auto weights = [&](const Array& in) {
    const std::vector<Input> inputs{in};
    return plain->forward_all(inputs, {.arguments = {&asked, 1}}).at(1).value.clone();
  };
  CHECK(distance(weights(scaled), weights(x)) < kSameMath);
}

TEST_CASE("vit: rotations by row and column, of the map alone") {
  // Heads of size 8: two pairs by the row, two by the column, of frequencies 1 and 1 / 10 each.
  for (const bool apart : {false, true}) {
    const Layer layer = make("vit",
                             config("rope", {{"rope_theta", 100.0},
                                             {"rope_style", apart ? "half_split" : "interleaved"}}),
                             {{1, 13, 16}});
    layer->set_weight("query/bias", random({16}, 4));
    const Array x = random({1, 13, 16}, 5);
    const Argument asked("return_attention_weights", true);
    const std::vector<Input> inputs{x};
    const Array w = layer->forward_all(inputs, {.arguments = {&asked, 1}}).at(1).value.clone();
    const Array wq = weight(*layer, "query/kernel"), bq = weight(*layer, "query/bias"),
                wk = weight(*layer, "key/kernel");
    const auto head = [&](const Array& kernel, const Array* bias, int64_t token, int64_t h) {
      std::vector<double> t(8), out(8);
      for (int64_t j = 0; j < 8; ++j) {
        if (bias) t[static_cast<size_t>(j)] = bias->at<float>({8 * h + j});
        for (int64_t i = 0; i < 16; ++i)
          t[static_cast<size_t>(j)] += static_cast<double>(x.at<float>({0, token, i})) *
                                       static_cast<double>(kernel.at<float>({i, 8 * h + j}));
      }
      const int64_t row = token == 0 ? 0 : (token - 1) / 4,
                    column = token == 0 ? 0 : (token - 1) % 4;
      const double angle[] = {1.0 * static_cast<double>(row), 0.1 * static_cast<double>(row),
                              1.0 * static_cast<double>(column), 0.1 * static_cast<double>(column)};
      for (size_t p = 0; p < 4; ++p) {
        const size_t a = apart ? p : 2 * p, b = apart ? p + 4 : 2 * p + 1;
        out[a] = t[a] * std::cos(angle[p]) - t[b] * std::sin(angle[p]);
        out[b] = t[a] * std::sin(angle[p]) + t[b] * std::cos(angle[p]);
      }
      return out;
    };
    double worst = 0;
    for (int64_t h = 0; h < 2; ++h)
      for (int64_t i = 0; i < 13; ++i) {
        const std::vector<double> q = head(wq, &bq, i, h);
        std::vector<double> score;
        double sum = 0;
        for (int64_t j = 0; j < 13; ++j) {
          const std::vector<double> k = head(wk, nullptr, j, h);
          double s = 0;
          for (size_t e = 0; e < 8; ++e) s += q[e] * k[e];
          score.push_back(std::exp(s / std::sqrt(8.0)));
          sum += score.back();
        }
        for (int64_t j = 0; j < 13; ++j)
          worst = std::max(worst, std::fabs(score[static_cast<size_t>(j)] / sum -
                                            static_cast<double>(w.at<float>({0, h, i, j}))));
      }
    CHECK(worst < 1e-6);
  }
}

TEST_CASE("vit: how pairs are shared by rows and columns") {
  const auto scaled = [](const Json& scaling) {
    const Layer layer = make("vit", config("rope", {{"rope_scaling", scaling}}), {{1, 13, 16}});
    const Layer plain = make("vit", config("rope"), {{1, 13, 16}});
    for (const WeightInfo& w : plain->weights()) layer->set_weight(w.name, plain->weight(w.name));
    const Array x = random({1, 13, 16}, 6);
    return distance(layer->forward(x), plain->forward(x));
  };
  const auto sections = [](std::initializer_list<Json> list, bool axial) {
    return Json{
        {"rope_type", "default"}, {"mrope_section", Json::list(list)}, {"mrope_axial", axial}};
  };
  CHECK(scaled(sections({2, 2}, true)) == 0);
  CHECK(scaled(sections({2, 2}, false)) > 1000);
  CHECK(scaled(sections({1, 3}, true)) > 1000);
  CHECK(scaled(Json{{"rope_type", "linear"}, {"factor", 1.0}}) == 0);
  CHECK(scaled(Json{{"rope_type", "linear"}, {"factor", 2.0}}) > 1000);
  CHECK_THAT(refusal([&] {
               return scaled(sections({1, 1, 2}, true));
             }),
             says("has 3 axes; expected 2"));
  CHECK_THAT(refusal([&] {
               return scaled(sections({1, 1}, true));
             }),
             says("mrope_section that sums to the pairs of a head"));
  CHECK_THAT(refusal([&] {
               return scaled(Json{{"rope_type", "default"}, {"mrope_axial", true}});
             }),
             says("must be false without mrope_section"));
}

TEST_CASE("vit: what a config and a call refuse") {
  const auto refused = [](const Json& parameters) {
    return refusal([&] {
      validate_attention_config("vit", parameters);
      return 0;
    });
  };
  CHECK(refused(config("beit", {{"num_prefix_tokens", 0}})) ==
        "position_kind 'beit' needs num_prefix_tokens of at least 1, got 0");
  CHECK(refused(config("swin", {{"num_prefix_tokens", 0}})).empty());
  CHECK(refused(config("t5", {{"num_buckets", 31}})) == "num_buckets (31) must be even");
  CHECK_THAT(refused(config("t5", {{"max_distance", 8}})), says("max_distance (8)"));
  CHECK_THAT(refused(config("alibi")), says("position_kind"));
  // What is another kind's, unless it is as by default.
  const Json linear{{"rope_type", "linear"}, {"factor", 2}};
  CHECK_THAT(refused(config("none", {{"rope_scaling", linear}})),
             says("has no effect here, only with position_kind 'rope'"));
  CHECK(refused(config("rope", {{"rope_scaling", linear}})).empty());
  CHECK(refused(config("swin", {{"num_buckets", 8}, {"max_distance", 16}})) ==
        "Parameter 'num_buckets' (8) has no effect here, only with position_kind 't5'; "
        "expected its default elsewhere");
  CHECK_THAT(refused(config("t5", {{"cpb_hidden_dim", 8}})), says("position_kind 'swin_v2'"));
  CHECK_THAT(refused(config("beit", {{"pretrained_grid_size", 8}})), says("'swin_v2'"));
  // Distances are divided by one less.
  CHECK_THAT(refused(config("swin_v2", {{"pretrained_grid_size", 1}})), says("greater than 1"));
  CHECK_THAT(refused(config("swin_v2", {{"qk_scale", 1.0}})), says("'qk_scale' (1.0)"));
  CHECK(refused(config("none", {{"num_buckets", 32}, {"rope_scaling", nullptr}})).empty());
  const Json uneven{{"rope_type", "default"}, {"mrope_section", Json::list({1, 2})}};
  CHECK_THAT(refused(config("rope", {{"rope_scaling", uneven}})), says("mrope_section that sums"));
  CHECK(refused(config("rope", {{"num_heads", 8}})) ==
        "position_kind 'rope' turns pairs of two axes: dim / num_heads must be a multiple of 4");
  CHECK_THAT(refusal([] {
               return make("vit", config("beit"), {{1, 14, 16}});
             }),
             says("14 tokens are more than"));
  const Layer layer = make("vit", config("swin"), {{1, 13, 16}});
  CHECK_THAT(refusal([&] {
               return layer->forward(random({1, 14, 16}, 1));
             }),
             says("14 tokens are more than"));
  CHECK(refusal([] { return make("vit", config("t5"), {{1, 99, 16}}); }).empty());
}
