// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/layers.hpp"

using namespace attn;
using namespace attn::test;

namespace {

Layer small(std::initializer_list<Json::Member> more = {}) {
  Json parameters{{"num_heads", 3}};
  for (const Json::Member& m : more) parameters.set(m.first, m.second);
  return make("capsule_routing", parameters, {{2, 7, 12}});
}

using Vector = std::vector<double>;

Vector squash(const Vector& s, double eps) {
  double n2 = 0;
  for (const double x : s) n2 += x * x;
  Vector v = s;
  for (double& x : v) x *= n2 / (1 + n2) / std::sqrt(n2 + eps);
  return v;
}

void softmax(Vector& z) {
  const double top = *std::max_element(z.begin(), z.end());
  double sum = 0;
  for (double& x : z) sum += x = std::exp(x - top);
  for (double& x : z) x /= sum;
}

// Procedure 1 word for word. seen: gets the coefficients of all rounds.
Vector route(const std::vector<const Vector*>& u, int rounds, double eps, Vector* seen = nullptr) {
  Vector b(u.size(), 0.0), v;
  for (int t = 0; t < rounds; ++t) {
    Vector c = b, s(u[0]->size(), 0.0);
    softmax(c);
    if (seen) seen->insert(seen->end(), c.begin(), c.end());
    for (size_t i = 0; i < u.size(); ++i)
      for (size_t j = 0; j < s.size(); ++j) s[j] += c[i] * (*u[i])[j];
    v = squash(s, eps);
    for (size_t i = 0; i < u.size(); ++i)
      for (size_t j = 0; j < s.size(); ++j) b[i] += (*u[i])[j] * v[j];
  }
  return v;
}

// The layer by its definition, one example (seq, dim), in double, softmax, no mask. seen: gets (query, round, head).
Array definition(const Attention& layer, const Array& x, Vector* seen = nullptr) {
  const Json config = layer.config();
  const auto on = [&](const char* name) { return config.at(name).as_bool(); };
  const auto heads = *config.at("num_heads").to_int64();
  const auto rounds = static_cast<int>(*config.at("routing_iterations").to_int64());
  const double eps = config.at("epsilon").to_double();
  const int64_t n = x.shape()[1], e = x.shape()[2];
  const auto project = [&](const std::vector<Vector>& in, const std::string& name) {
    const Array w = weight(layer, name + "/kernel"), bias = weight(layer, name + "/bias");
    std::vector<Vector> out(in.size(), Vector(static_cast<size_t>(w.shape()[1])));
    for (size_t i = 0; i < in.size(); ++i)
      for (int64_t j = 0; j < w.shape()[1]; ++j) {
        double y = bias.at<float>({j});
        for (int64_t k = 0; k < w.shape()[0]; ++k)
          y += in[i][static_cast<size_t>(k)] * static_cast<double>(w.at<float>({k, j}));
        out[i][static_cast<size_t>(j)] = y;
      }
    return out;
  };
  const auto H = static_cast<size_t>(heads), N = static_cast<size_t>(n);
  std::vector<Vector> rows(N, Vector(static_cast<size_t>(e)));
  for (size_t i = 0; i < N; ++i)
    for (size_t j = 0; j < rows[i].size(); ++j)
      rows[i][j] = static_cast<double>(x.data<float>()[i * rows[i].size() + j]);
  const auto q = project(rows, "query"), k = project(rows, "key"), v = project(rows, "value");
  const size_t d = q[0].size() / H, dv = v[0].size() / H;
  std::vector<std::vector<Vector>> a(H, std::vector<Vector>(N, Vector(N, 0.0)));
  for (size_t h = 0; h < H; ++h)
    for (size_t i = 0; i < N; ++i)
      for (size_t j = 0; j < N; ++j)
        for (size_t c = 0; c < d; ++c)
          a[h][i][j] += q[i][h * d + c] * k[j][h * d + c] / std::sqrt(static_cast<double>(d));
  Array wa, ba;
  if (on("use_vertical_routing")) {
    wa = weight(layer, "vertical_aggregation_weights");
    ba = weight(layer, "vertical_aggregation_bias");
  }
  std::vector<Vector> merged(N, Vector(H * dv, 0.0));
  for (size_t i = 0; i < N; ++i) {
    std::vector<const Vector*> votes;
    for (size_t h = 0; h < H; ++h) votes.push_back(&a[h][i]);
    const Vector cap = route(votes, rounds, eps, seen);
    std::vector<Vector> r;
    for (size_t h = 0; h < H; ++h) r.push_back(a[h][i]);
    for (size_t j = 0; j < N && on("use_vertical_routing"); ++j) {
      Vector z(H);
      for (size_t g = 0; g < H; ++g) {
        double sum = 0;
        for (int64_t h = 0; h < heads; ++h)
          sum += static_cast<double>(wa.at<float>({h, static_cast<int64_t>(g)}));
        z[g] = cap[j] * sum + static_cast<double>(ba.at<float>({static_cast<int64_t>(g)}));
      }
      softmax(z);
      for (size_t g = 0; g < H; ++g) r[g][j] += z[g] * cap[j];
    }
    for (size_t h = 0; h < H; ++h) {
      if (on("use_horizontal_routing")) {
        Vector more = on("use_positional_routing") ? a[h][0] : cap;
        if (on("use_positional_routing") && i > 0) {
          votes.clear();
          for (size_t l = 0; l <= i; ++l) votes.push_back(&a[h][l]);
          more = route(votes, rounds, eps);
        }
        for (size_t j = 0; j < N; ++j) r[h][j] += more[j];
      }
      softmax(r[h]);
      for (size_t j = 0; j < N; ++j)
        for (size_t c = 0; c < dv; ++c) merged[i][h * dv + c] += r[h][j] * v[j][h * dv + c];
    }
  }
  const auto y = project(merged, "output");
  Array out(ATTN_F32, {1, n, e});
  for (size_t i = 0; i < N; ++i)
    for (size_t j = 0; j < y[i].size(); ++j)
      out.data<float>()[i * y[i].size() + j] = static_cast<float>(y[i][j]);
  return out;
}

}  // namespace

TEST_CASE("capsule_routing: the low-rank form equals routing by its definition") {
  const int rounds = GENERATE(1, 2, 4);
  for (const int flags : {1, 2, 3, 4, 5, 6, 7}) {
    const bool vertical = (flags & 1) != 0, horizontal = (flags & 2) != 0;
    INFO("rounds " << rounds << ", flags " << flags);
    const Layer layer = make("capsule_routing",
                             {{"num_heads", 3},
                              {"key_dim", 5},
                              {"value_dim", 4},
                              {"routing_iterations", rounds},
                              {"use_vertical_routing", vertical},
                              {"use_horizontal_routing", horizontal},
                              {"use_positional_routing", (flags & 4) != 0}},
                             {{1, 37, 12}});
    if (vertical) layer->set_weight("vertical_aggregation_bias", random({3}, 2));
    const Array x = random({1, 37, 12}, 3, 3);
    // The rounds add up errors: some times those of one pass.
    REQUIRE(distance(layer->forward(x), definition(*layer, x)) < 4 * kSameMath);
  }
}

TEST_CASE("capsule_routing: what is observed of the heads is the coefficients of each round") {
  const Layer layer = small({{"use_horizontal_routing", false}, {"routing_iterations", 4}});
  const Array x = random({1, 7, 12}, 5);
  Vector expected;
  static_cast<void>(definition(*layer, x, &expected));
  Context context;
  context.observe({.names = {"head_routing"}});
  layer->forward(context, std::vector<Input>{x});
  const std::vector<Observed> all = context.take_observed();
  REQUIRE(all.size() == 1);
  const Array& seen = all[0].value;
  REQUIRE(seen.shape() == Shape{1, 4, 3, 7});
  double most = 0;
  for (int64_t i = 0; i < 7; ++i)
    for (int64_t t = 0; t < 4; ++t)
      for (int64_t h = 0; h < 3; ++h) {
        const double c = expected[static_cast<size_t>((i * 4 + t) * 3 + h)];
        CHECK(static_cast<double>(seen.at<float>({0, t, h, i})) ==
              Catch::Detail::Approx(c).margin(1e-5));
        most = std::max(most, std::abs(c - 1.0 / 3));
      }
  CHECK(most > 0.01);  // they are not all alike
}

TEST_CASE("capsule_routing: long sequences are computed in pieces with the same result") {
  // 2 * 740^2 scores: more than one piece.
  const Layer layer = make("capsule_routing",
                           {{"num_heads", 2},
                            {"key_dim", 3},
                            {"use_horizontal_routing", false},
                            {"routing_iterations", 2}},
                           {{1, 740, 4}});
  layer->set_weight("vertical_aggregation_bias", random({2}, 2));
  const Array x = random({1, 740, 4}, 4, 2);
  const Array y = layer->forward(x);
  REQUIRE(distance(y, definition(*layer, x)) < 4 * kSameMath);
  // A mask by query is cut with its rows.
  Array mask(ATTN_F32, {1, 740, 740});
  for (int64_t i = 0; i < 740; ++i)
    for (int64_t j = 0; j < 740; ++j) mask.at<float>({0, i, j}) = j <= i || i < 3 ? 1.0F : 0.0F;
  const Array masked = layer->forward({x, mask});
  REQUIRE(distance(cut(masked, 1, 0, 3), cut(y, 1, 0, 3)) < kSameMath);
  REQUIRE(distance(cut(masked, 1, 739, 740), cut(y, 1, 739, 740)) < kSameMath);
  REQUIRE(distance(cut(masked, 1, 400, 401), cut(y, 1, 400, 401)) > 1000);
  CHECK_THAT(refusal([&] {
               return layer->forward({x, filled({1, 739, 740}, 1)});
             }),
             says("(1, 2, 740, 740)"));
}

TEST_CASE("capsule_routing: gradients through pieces agree with differences") {
  const auto layer = create_attention_layer(
      "capsule_routing", {{"num_heads", 2}, {"key_dim", 3}, {"routing_iterations", 2}});
  layer->build({Shape{1, 730, 4}, std::nullopt}, {.dtype = ATTN_F64, .seed = 3});
  const auto wide = [](const Array& a) {
    Array d(ATTN_F64, a.shape());
    for (int64_t i = 0; i < a.size(); ++i) d.data<double>()[i] = a.data<float>()[i];
    return d;
  };
  const Array x = wide(random({1, 730, 4}, 5)), v = wide(random({1, 730, 4}, 6)),
              dy = wide(random({1, 730, 4}, 7));
  const auto objective = [&](double h) {
    Array moved = x.clone();
    for (int64_t i = 0; i < x.size(); ++i) moved.data<double>()[i] += h * v.data<double>()[i];
    const Array y = layer->forward(moved);
    double sum = 0;
    for (int64_t i = 0; i < y.size(); ++i) sum += y.data<double>()[i] * dy.data<double>()[i];
    return sum;
  };
  Context ctx(ATTN_F64);
  const Input in(x), cotangent(dy);
  layer->forward(ctx, {&in, 1}, {.record = true});
  Gradients gradients(*layer);
  layer->backward(ctx, {&cotangent, 1}, gradients);
  const Array dx = Array::copy_of(*ctx.input_gradient("inputs"));
  double expected = 0;
  for (int64_t i = 0; i < dx.size(); ++i) expected += dx.data<double>()[i] * v.data<double>()[i];
  const double h = 1e-5;
  // Differences: h^2 of the curvature, and eps / h of the value.
  REQUIRE((objective(h) - objective(-h)) / (2 * h) == Approx(expected).epsilon(1e-6).margin(1e-6));
}

TEST_CASE("capsule_routing: without routing it is plain attention") {
  const Layer layer = small({{"use_vertical_routing", false}, {"use_horizontal_routing", false}});
  Array x = random({2, 7, 12}, 1);
  const std::vector<int64_t> order{3, 0, 6, 1, 5, 2, 4};
  REQUIRE(distance(layer->forward(reordered(x, 1, order)), reordered(layer->forward(x), 1, order)) <
          kSameMath);
  Array mask(ATTN_F32, {1, 7, 7});
  for (int64_t i = 0; i < 7; ++i)
    for (int64_t j = 0; j <= i; ++j) mask.at<float>({0, i, j}) = 1;
  const Array before = layer->forward({x, mask});
  for (int64_t j = 0; j < 12; ++j) x.at<float>({1, 6, j}) = 5;
  REQUIRE(distance(cut(layer->forward({x, mask}), 1, 0, 6), cut(before, 1, 0, 6)) == 0);
}

TEST_CASE("capsule_routing: masked tokens take part in routing, and in nothing else") {
  const Layer layer = small();
  Array x = random({2, 7, 12}, 2, 2);
  Array mask = filled({2, 7}, 1);
  mask.at<float>({0, 5}) = mask.at<float>({1, 5}) = 0;
  const Array before = layer->forward({x, mask});
  const Array free = layer->forward(x);
  for (int64_t j = 0; j < 12; ++j) x.at<float>({0, 5, j}) += 1;
  const Array after = layer->forward({x, mask});
  // Example 1 was not touched; rows of example 0 move a little, far less than without the mask.
  REQUIRE(distance(cut(after, 0, 1, 2), cut(before, 0, 1, 2)) == 0);
  const double masked =
      distance(cut(cut(after, 0, 0, 1), 1, 0, 5), cut(cut(before, 0, 0, 1), 1, 0, 5));
  const double open =
      distance(cut(cut(layer->forward(x), 0, 0, 1), 1, 0, 5), cut(cut(free, 0, 0, 1), 1, 0, 5));
  REQUIRE(masked > 100);
  REQUIRE(open > 2 * masked);
}

TEST_CASE("capsule_routing: a row that keeps nothing behaves as without a mask") {
  const Layer layer = small();
  const Array x = random({2, 7, 12}, 8);
  Array mask = filled({2, 7, 7}, 1);
  for (int64_t k = 0; k < 7; ++k) mask.at<float>({1, 3, k}) = 0;
  REQUIRE(distance(layer->forward({x, mask}), layer->forward(x)) < kSameMath);
}

TEST_CASE("capsule_routing: an axis among the options is ignored") {
  const Array x = random({2, 7, 12}, 9);
  const Layer plain = small({{"probability_type", "sparsemax"}});
  const Layer other =
      small({{"probability_type", "sparsemax"}, {"probability_config", Json{{"axis", 0}}}});
  REQUIRE(distance(other->forward(x), plain->forward(x)) == 0);
}

TEST_CASE("capsule_routing: weights depend on what is switched on") {
  const auto names = [](const Layer& layer) {
    std::vector<std::string> list;
    for (const WeightInfo& w : layer->weights()) list.push_back(w.name);
    return list;
  };
  using Catch::Matchers::VectorContains;
  const auto all = names(small({{"probability_type", "threshmax"}}));
  REQUIRE(all.size() == 8 + 2 + 3);
  CHECK_THAT(all, VectorContains(std::string("attn_prob_routing/threshmax/slope")));
  const auto bare = names(small({{"probability_type", "threshmax"},
                                 {"use_bias", false},
                                 {"use_vertical_routing", false},
                                 {"use_horizontal_routing", false}}));
  REQUIRE(bare.size() == 4 + 3);
  REQUIRE(names(small({{"use_bias", false}})).size() == 4 + 1);
}

TEST_CASE("capsule_routing: dropout acts in training calls only, on the weights") {
  const Layer layer = small({{"dropout_rate", 1.0}});
  layer->set_weight("output/bias", random({12}, 11));
  const Array x = random({2, 7, 12}, 12);
  const Array y = layer->forward(x, {.training = true, .seed = 1});
  const Array bias = weight(*layer, "output/bias");
  REQUIRE(distance(reshaped(cut(cut(y, 0, 1, 2), 1, 4, 5), {12}), bias) == 0);
  REQUIRE(distance(layer->forward(x), y) > 1000);
}

TEST_CASE("capsule_routing: the output is penalised") {
  const Layer layer =
      small({{"activity_regularizer", Json{{"class_name", "L1"}, {"config", Json{{"l1", 0.5}}}}}});
  const Array x = random({2, 7, 12}, 13);
  Context ctx;
  const Input in(x);
  layer->forward(ctx, {&in, 1});
  const Array y = Array::copy_of(*ctx.output());
  double sum = 0;
  for (int64_t i = 0; i < y.size(); ++i) sum += std::fabs(static_cast<double>(y.data<float>()[i]));
  const auto penalties = layer->losses(ctx);
  REQUIRE(penalties.size() == 1);
  REQUIRE(penalties[0].value == Approx(0.5 * sum / 2).epsilon(168 * 1.2e-7));
}

TEST_CASE("capsule_routing: what is refused") {
  const Layer layer = small();
  CHECK_THAT(refusal([&] { return layer->forward(random({7, 12}, 1)); }), says("3D"));
  CHECK_THAT(refusal([&] { return layer->forward(random({2, 7, 11}, 1)); }), says("12"));
  CHECK_THAT(refusal([&] {
               return layer->forward({random({2, 7, 12}, 1), filled({2, 8}, 1)});
             }),
             says("(2, 8)"));
  CHECK_THAT(refusal([&] {
               return make("capsule_routing", {{"num_heads", 5}}, {{2, 7, 12}});
             }),
             says("embed_dim (12) must be divisible by num_heads (5) when key_dim is None"));
  REQUIRE(make("capsule_routing", {{"num_heads", 5}, {"key_dim", 2}}, {{2, 7, 12}})
              ->forward(random({2, 7, 12}, 1))
              .shape() == Shape{2, 7, 12});
  REQUIRE(layer->forward(random({1, 1, 12}, 1)).shape() == Shape{1, 1, 12});
}
