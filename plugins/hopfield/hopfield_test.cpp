// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/layers.hpp"

using namespace attn;
using namespace attn::test;

namespace {

// 2 heads of 4, softmax, no norm: what the reference below computes.
Json plain(std::initializer_list<Json::Member> more = {}) {
  Json parameters{{"num_heads", 2}, {"key_dim", 4}, {"use_bias", false}, {"qk_norm_type", nullptr}};
  for (const Json::Member& m : more) parameters.set(m.first, m.second);
  return parameters;
}
// Weights large enough that queries move for some steps.
Layer lively(std::initializer_list<Json::Member> more, const Shape& input) {
  Layer layer = make("hopfield", plain(more), {input});
  const int64_t width = input[2];
  layer->set_weight("query_dense/kernel", random({width, 8}, 101, 1.2F));
  layer->set_weight("key_dense/kernel", random({width, 8}, 102, 1.2F));
  return layer;
}

using Matrix = std::vector<std::vector<double>>;

// Rows of x times columns begin..end-1 of a kernel.
Matrix project(const Array& x, int64_t b, const Array& kernel, int64_t begin, int64_t end) {
  Matrix y(static_cast<size_t>(x.shape()[1]),
           std::vector<double>(static_cast<size_t>(end - begin)));
  for (int64_t s = 0; s < x.shape()[1]; ++s)
    for (int64_t j = begin; j < end; ++j)
      for (int64_t i = 0; i < x.shape()[2]; ++i)
        y[static_cast<size_t>(s)][static_cast<size_t>(j - begin)] +=
            static_cast<double>(x.at<float>({b, s, i})) * kernel.at<float>({i, j});
  return y;
}
Matrix weights_of(const Matrix& q, const Matrix& k) {
  Matrix a(q.size(), std::vector<double>(k.size()));
  for (size_t i = 0; i < q.size(); ++i) {
    double largest = -1e300, sum = 0;
    for (size_t j = 0; j < k.size(); ++j) {
      for (size_t d = 0; d < q[i].size(); ++d) a[i][j] += q[i][d] * k[j][d];
      a[i][j] /= std::sqrt(static_cast<double>(q[i].size()));
      largest = std::max(largest, a[i][j]);
    }
    for (double& x : a[i]) sum += x = std::exp(x - largest);
    for (double& x : a[i]) x /= sum;
  }
  return a;
}
Matrix product(const Matrix& a, const Matrix& k) {
  Matrix y(a.size(), std::vector<double>(k[0].size()));
  for (size_t i = 0; i < a.size(); ++i)
    for (size_t j = 0; j < k.size(); ++j)
      for (size_t d = 0; d < k[j].size(); ++d) y[i][d] += a[i][j] * k[j][d];
  return y;
}
double change(const Matrix& a, const Matrix& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i)
    for (size_t j = 0; j < a[i].size(); ++j) sum += (a[i][j] - b[i][j]) * (a[i][j] - b[i][j]);
  return std::sqrt(sum);
}

// The definition, head by head. changes: that of step 1 of each batch element and head.
Array reference(const Attention& layer, const Array& x, int steps, double eps,
                std::vector<double>* changes = nullptr) {
  const Array wq = weight(layer, "query_dense/kernel"), wk = weight(layer, "key_dense/kernel"),
              wv = weight(layer, "value_dense/kernel"), wo = weight(layer, "output_dense/kernel");
  Array y(ATTN_F32, x.shape());
  for (int64_t b = 0; b < x.shape()[0]; ++b) {
    std::vector<std::vector<double>> sum(static_cast<size_t>(x.shape()[1]),
                                         std::vector<double>(static_cast<size_t>(x.shape()[2])));
    for (int64_t h = 0; h < 2; ++h) {
      Matrix q = project(x, b, wq, 4 * h, 4 * h + 4);
      const Matrix k = project(x, b, wk, 4 * h, 4 * h + 4), v = project(x, b, wv, 4 * h, 4 * h + 4);
      Matrix a = weights_of(q, k);
      for (int t = 0; t < steps; ++t) {
        q = product(a, k);
        const Matrix next = weights_of(q, k);
        const double delta = change(next, a);
        if (t == 0 && changes) changes->push_back(delta);
        a = next;
        if (delta < eps) break;
      }
      const Matrix o = product(a, v);
      for (size_t s = 0; s < o.size(); ++s)
        for (size_t j = 0; j < sum[s].size(); ++j)
          for (size_t d = 0; d < 4; ++d)
            sum[s][j] +=
                o[s][d] * wo.at<float>({4 * h + static_cast<int64_t>(d), static_cast<int64_t>(j)});
    }
    for (size_t s = 0; s < sum.size(); ++s)
      for (size_t j = 0; j < sum[s].size(); ++j)
        y.at<float>({b, static_cast<int64_t>(s), static_cast<int64_t>(j)}) =
            static_cast<float>(sum[s][j]);
  }
  return y;
}

// Every step multiplies the error of the queries by at most the largest score, here below 10.
constexpr double kSteps = 20 * kSameMath;

}  // namespace

TEST_CASE("hopfield: without updates and norms it is multi-head attention") {
  const Layer layer =
      make("hopfield", {{"num_heads", 4}, {"key_dim", 6}, {"qk_norm_type", nullptr}},
           {{2, 5, 24}, {2, 9, 24}});
  const Layer cross =
      make("multi_head_cross", {{"dim", 24}, {"num_heads", 4}}, {{2, 5, 24}, {2, 9, 24}});
  const auto copy = [&](const char* what, size_t axis) {
    const std::string kind = what;
    cross->set_weight("q/" + kind, layer->weight("query_dense/" + kind));
    std::vector<Array> both;
    both.push_back(weight(*layer, "key_dense/" + kind));
    both.push_back(weight(*layer, "value_dense/" + kind));
    cross->set_weight("kv/" + kind, joined(both, axis));
    cross->set_weight("proj/" + kind, layer->weight("output_dense/" + kind));
  };
  layer->set_weight("key_dense/bias", random({24}, 1));
  layer->set_weight("value_dense/bias", random({24}, 2));
  copy("kernel", 1);
  copy("bias", 0);
  const Array x = random({2, 5, 24}, 3), y = random({2, 9, 24}, 4);
  REQUIRE(distance(layer->forward({x, y}), cross->forward({x, y})) < kSameMath);
  REQUIRE(distance(layer->forward(x), cross->forward(x)) < kSameMath);
}

TEST_CASE("hopfield: the queries iterate as the definition says") {
  const Array x = random({2, 7, 10}, 5);
  for (int steps = 0; steps < 5; ++steps) {
    INFO(steps << " updates");
    const Layer layer =
        lively({{"update_steps_max", steps}, {"update_steps_eps", 1e-30}}, x.shape());
    REQUIRE(distance(layer->forward(x), reference(*layer, x, steps, 1e-30)) < kSteps);
  }
}

TEST_CASE("hopfield: each head of each batch element stops by itself") {
  const Array x = random({3, 7, 10}, 6);
  std::vector<double> changes;
  const Layer free = lively({{"update_steps_max", 4}, {"update_steps_eps", 1e-30}}, x.shape());
  const Array full = reference(*free, x, 4, 1e-30, &changes);
  std::sort(changes.begin(), changes.end());
  REQUIRE(changes.size() == 6);
  // Between two of them: some heads stop after step 1, others go on.
  const double eps = std::sqrt(changes[2] * changes[3]);
  REQUIRE(changes[3] > 1.05 * changes[2]);
  const Layer layer = lively({{"update_steps_max", 4}, {"update_steps_eps", eps}}, x.shape());
  const Array y = layer->forward(x);
  REQUIRE(distance(y, reference(*layer, x, 4, eps)) < kSteps);
  REQUIRE(distance(y, full) > 10 * kSteps);
  // A batch element does not depend on the others.
  for (int64_t b = 0; b < 3; ++b)
    REQUIRE(distance(layer->forward(cut(x, 0, b, b + 1)), cut(y, 0, b, b + 1)) < kSameMath);
  // The same while gradients are recorded.
  Context ctx;
  const std::vector<Input> inputs{x};
  layer->forward(ctx, inputs, {.record = true});
  REQUIRE(distance(Array::copy_of(*ctx.output()), y) < kSameMath);
}

TEST_CASE("hopfield: the gradient goes as far as each head iteration") {
  const Array x = random({3, 7, 10}, 6).astype(ATTN_F64);
  std::vector<double> changes;
  const Layer free = lively({{"update_steps_max", 4}}, x.shape());
  static_cast<void>(reference(*free, random({3, 7, 10}, 6), 1, 1e-30, &changes));
  std::sort(changes.begin(), changes.end());
  const Layer layer = create_attention_layer(
      "hopfield",
      plain({{"update_steps_max", 4}, {"update_steps_eps", std::sqrt(changes[2] * changes[3])}}));
  layer->build({x.shape()}, {.dtype = ATTN_F64, .seed = 7});
  for (const WeightInfo& w : free->weights()) layer->set_weight(w.name, free->weight(w.name));

  const Array direction = random({3, 7, 10}, 24).astype(ATTN_F64),
              cotangent = random({3, 7, 10}, 25).astype(ATTN_F64);
  const auto dot = [](const double* a, const double* b) {
    double sum = 0;
    for (int64_t i = 0; i < 3 * 7 * 10; ++i) sum += a[i] * b[i];
    return sum;
  };
  const auto loss = [&](double step) {
    Array moved = x.clone();
    for (int64_t i = 0; i < x.size(); ++i)
      moved.data<double>()[i] += step * direction.data<double>()[i];
    return dot(layer->forward(moved).data<double>(), cotangent.data<double>());
  };
  Context ctx(ATTN_F64);
  const std::vector<Input> inputs{x};
  layer->forward(ctx, inputs, {.record = true});
  Gradients g(*layer);
  const Input c(cotangent);
  layer->backward(ctx, {&c, 1}, g);
  const Array gradient = Array::copy_of(*ctx.input_gradient("query"));
  // A central difference with step h is wrong by h^2 times a third derivative, which four steps with
  // scores of up to 10 make large; and by rounding, eps / h.
  const double h = 1e-5;
  const double slope = (loss(h) - loss(-h)) / (2 * h);
  REQUIRE(std::fabs(slope) > 1e-2);
  REQUIRE(dot(gradient.data<double>(), direction.data<double>()) == Approx(slope).epsilon(1e-5));
}

TEST_CASE("hopfield: a large eps is one update, also for the gradient") {
  const Array x = random({2, 7, 10}, 7), cotangent = random({2, 7, 10}, 8);
  const Layer one = lively({{"update_steps_max", 1}}, x.shape());
  const Layer five = lively({{"update_steps_max", 5}, {"update_steps_eps", 1e6}}, x.shape());
  REQUIRE(distance(five->forward(x), one->forward(x)) < kSameMath);
  const auto gradient = [&](Attention& layer, const char* name) {
    Context ctx;
    const std::vector<Input> inputs{x};
    layer.forward(ctx, inputs, {.record = true});
    Gradients g(layer);
    const Input c(cotangent);
    layer.backward(ctx, {&c, 1}, g);
    return g.weight(name)->clone();
  };
  for (const char* name : {"query_dense/kernel", "key_dense/kernel", "output_dense/kernel"})
    REQUIRE(distance(gradient(*five, name), gradient(*one, name)) < kSameMath);
}

TEST_CASE("hopfield: many queries are compared by blocks, until all heads have moved") {
  const Array x = random({2, 300, 6}, 9);
  std::vector<double> changes;
  const Layer free = lively({{"update_steps_max", 3}, {"update_steps_eps", 1e-30}}, x.shape());
  const Array full = reference(*free, x, 3, 1e-30, &changes);
  REQUIRE(distance(free->forward(x), full) < kSteps);
  std::sort(changes.begin(), changes.end());
  const auto run = [&](double eps) {
    const Layer layer = lively({{"update_steps_max", 3}, {"update_steps_eps", eps}}, x.shape());
    const Array y = layer->forward(x);
    REQUIRE(distance(y, reference(*layer, x, 3, eps)) < kSteps);
    // The same while gradients are recorded.
    Context ctx;
    const std::vector<Input> inputs{x};
    layer->forward(ctx, inputs, {.record = true});
    REQUIRE(distance(Array::copy_of(*ctx.output()), y) < kSameMath);
    return distance(y, full);
  };
  // None converges in the first step, one, some, all; a sum over the first blocks alone would be less
  // than the largest eps in each case.
  REQUIRE(run(changes[0] * 0.999) > 0);
  for (const double eps : {changes[0] * 1.001, changes[1] * 1.001, changes[3] * 0.999})
    REQUIRE(run(eps) > 10 * kSteps);
  REQUIRE(run(changes[3] * 1.001) > 10 * kSteps);
}

TEST_CASE("hopfield: a mask of each query goes with its block") {
  const Array x = random({2, 300, 6}, 26);
  Array triangle(ATTN_F32, {1, 300, 300});
  for (int64_t q = 0; q < 300; ++q)
    for (int64_t k = 0; k <= q; ++k) triangle.at<float>({0, q, k}) = 1;
  const auto run = [&](double eps, const Array& input, const Array& mask) {
    const Layer layer = lively({{"update_steps_max", 2}, {"update_steps_eps", eps}}, input.shape());
    return layer->forward({{"inputs", input.view()}, {"attention_mask", mask.view()}});
  };
  // Nothing converges: the first 100 positions do not depend on the others, and are few.
  const Array some = cut(x, 1, 0, 100);
  REQUIRE(distance(cut(run(1e-30, x, triangle), 1, 0, 100),
                   run(1e-30, some, cut(cut(triangle, 1, 0, 100), 2, 0, 100))) < kSteps);
  CHECK_THAT(refusal([&] {
               return run(1e-30, x, filled({2, 299, 300}, 1));
             }),
             says("(2, 299, 300)"));
}

TEST_CASE("hopfield: whether a head has converged is seen before dropout") {
  // Equal keys: the weights are uniform and never change but for dropout.
  const Layer layer = make("hopfield", plain({{"update_steps_max", 5}, {"dropout_rate", 0.5}}),
                           {{2, 4, 10}, {2, 6, 10}});
  const Array x = random({2, 4, 10}, 10);
  const Array y = reordered(random({2, 1, 10}, 11), 1, {0, 0, 0, 0, 0, 0});
  Context ctx;
  ctx.keep_profile(true);
  const std::vector<Input> inputs{x, y};
  layer->forward(ctx, inputs, {.training = true, .seed = 1});
  std::vector<std::string> steps;
  for (const OperatorTime& t : ctx.profile())
    if (t.label.rfind("step_", 0) == 0) steps.push_back(t.label);
  REQUIRE(steps == std::vector<std::string>{"step_0"});
  const Array one = Array::copy_of(*ctx.output());
  layer->forward(ctx, inputs, {.training = true, .seed = 2});
  REQUIRE(distance(Array::copy_of(*ctx.output()), one) > 1000);
  layer->forward(ctx, inputs);
  const Array rest = Array::copy_of(*ctx.output());
  REQUIRE(distance(layer->forward({x, y}), rest) == 0);
}

TEST_CASE("hopfield: a noisy query finds its pattern") {
  // Queries and keys are the patterns four times, so that scores are 16 / sqrt(16) products of patterns.
  const Array patterns = random({1, 12, 16}, 12, 1.5F);
  Array noisy = patterns.clone();
  const Array noise = random({1, 12, 16}, 13, 0.6F);
  for (int64_t i = 0; i < noisy.size(); ++i) noisy.data<float>()[i] += noise.data<float>()[i];
  const auto identity = [](float scale) {
    Array a(ATTN_F32, {16, 16});
    for (int64_t i = 0; i < 16; ++i) a.at<float>({i, i}) = scale;
    return a;
  };
  const auto error = [&](int steps) {
    const Layer layer = make(
        "hopfield",
        {{"num_heads", 1}, {"key_dim", 16}, {"update_steps_max", steps}, {"qk_norm_type", nullptr}},
        {{1, 12, 16}, {1, 12, 16}});
    layer->set_weight("query_dense/kernel", identity(4));
    layer->set_weight("key_dense/kernel", identity(4));
    layer->set_weight("value_dense/kernel", identity(1));
    layer->set_weight("output_dense/kernel", identity(1));
    return distance(layer->forward({noisy, patterns}), patterns);
  };
  CHECK(error(3) < 0.2 * error(0));
}

TEST_CASE("hopfield: inputs is another name of query; key stands for value") {
  const Layer layer = make("hopfield", plain(), {{2, 5, 10}, {2, 9, 10}});
  const Array x = random({2, 5, 10}, 14), y = random({2, 9, 10}, 15);
  REQUIRE(distance(layer->forward({{"inputs", x.view()}}), layer->forward({x, x, x})) == 0);
  REQUIRE(distance(layer->forward({{"key", y.view()}, {"query", x.view()}}),
                   layer->forward({x, y, y})) == 0);
  // Its gradient has both names, too.
  Context ctx;
  const std::vector<Input> inputs{{"inputs", x.view()}};
  layer->forward(ctx, inputs, {.record = true});
  const Array cotangent = random({2, 5, 10}, 16);
  const Input c(cotangent);
  Gradients g(*layer);
  layer->backward(ctx, {&c, 1}, g);
  REQUIRE(ctx.input_gradient("inputs")->data == ctx.input_gradient("query")->data);
  REQUIRE_FALSE(ctx.input_gradient("key"));

  const auto wide = make("hopfield", {{"num_heads", 3}, {"key_dim", 5}, {"value_dim", 7}},
                         {{2, 6, 10}, {2, 11, 8}, {2, 11, 13}});
  REQUIRE(wide->weight("value_dense/kernel").shape == Shape{13, 21});
  REQUIRE(wide->weight("output_dense/kernel").shape == Shape{21, 10});
  REQUIRE(layer->config().at("value_dim").is_null());
}

TEST_CASE("hopfield: a mask holds in every step") {
  for (const char* probability : {"softmax", "sparsemax", "threshmax", "adaptive"}) {
    INFO(probability);
    const Layer layer =
        lively({{"update_steps_max", 3}, {"probability_type", probability}}, {2, 7, 10});
    const Array x = random({2, 7, 10}, 17);
    Array y = random({2, 9, 10}, 18);
    Array mask = filled({2, 9}, 1);
    mask.at<float>({0, 2}) = mask.at<float>({1, 8}) = 0;
    const Array before =
        layer->forward({{"query", x.view()}, {"key", y.view()}, {"attention_mask", mask.view()}});
    for (int64_t j = 0; j < 10; ++j) y.at<float>({0, 2, j}) = y.at<float>({1, 8, j}) = 9;
    const Array after =
        layer->forward({{"query", x.view()}, {"key", y.view()}, {"attention_mask", mask.view()}});
    CHECK(distance(after, before) == 0);
    // A row that keeps nothing behaves as without a mask.
    const Array none = filled({1, 9}, 0);
    CHECK(distance(layer->forward(
                       {{"query", x.view()}, {"key", y.view()}, {"attention_mask", none.view()}}),
                   layer->forward({x, y})) < kSteps);
  }
}

TEST_CASE("hopfield: the scores are those that read the values") {
  const Array x = random({2, 7, 10}, 19);
  const Layer layer = lively({{"update_steps_max", 2}, {"update_steps_eps", 1e-30}}, x.shape());
  const Argument asked("return_attention_scores", true);
  const std::vector<Input> inputs{x};
  const auto outputs = layer->forward_all(inputs, {.arguments = {&asked, 1}});
  REQUIRE(outputs.size() == 2);
  REQUIRE(outputs[1].name == "attention_scores");
  const Array& a = outputs[1].value;
  REQUIRE(a.shape() == Shape{2, 2, 7, 7});
  // output = sum over heads of A_h v_h Wo_h.
  const Array wv = weight(*layer, "value_dense/kernel"), wo = weight(*layer, "output_dense/kernel");
  Array expected(ATTN_F32, x.shape());
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t h = 0; h < 2; ++h) {
      const Matrix v = project(x, b, wv, 4 * h, 4 * h + 4);
      for (int64_t q = 0; q < 7; ++q)
        for (int64_t k = 0; k < 7; ++k)
          for (int64_t d = 0; d < 4; ++d)
            for (int64_t j = 0; j < 10; ++j)
              expected.at<float>({b, q, j}) += static_cast<float>(
                  a.at<float>({b, h, q, k}) * v[static_cast<size_t>(k)][static_cast<size_t>(d)] *
                  wo.at<float>({4 * h + d, j}));
    }
  REQUIRE(distance(outputs[0].value, expected) < kSameMath);
  REQUIRE(layer->forward_all(inputs).size() == 1);
}

TEST_CASE("hopfield: five penalties of activities") {
  const Layer layer = make(
      "hopfield",
      plain({{"activity_regularizer", Json{{"class_name", "L2"}, {"config", Json{{"l2", 0.5}}}}}}),
      {{2, 5, 10}});
  const Array x = random({2, 5, 10}, 20);
  Context ctx;
  const std::vector<Input> inputs{x};
  layer->forward(ctx, inputs);
  std::vector<std::string> names;
  double projected = 0, final = 0;
  for (const Penalty& p : layer->losses(ctx)) {
    names.push_back(p.name);
    if (p.name == "output_dense/activity") projected = p.value;
    if (p.name == "activity") final = p.value;
  }
  REQUIRE(names == std::vector<std::string>{"query_dense/activity", "key_dense/activity",
                                            "value_dense/activity", "output_dense/activity",
                                            "activity"});
  REQUIRE(final > 0);
  REQUIRE(final == projected);
}

TEST_CASE("hopfield: a probability over the queries") {
  const Json columns{{"axis", -2}};
  const Array x = random({2, 7, 10}, 21);
  const Layer layer = lively(
      {{"update_steps_max", 3}, {"update_steps_eps", 1e-30}, {"probability_config", columns}},
      x.shape());
  const Argument asked("return_attention_scores", true);
  const std::vector<Input> inputs{x};
  const Array a = layer->forward_all(inputs, {.arguments = {&asked, 1}}).at(1).value.clone();
  for (int64_t k = 0; k < 7; ++k) {
    double sum = 0;
    for (int64_t q = 0; q < 7; ++q) sum += a.at<float>({1, 1, q, k});
    REQUIRE(sum == Approx(1).margin(7 * 1.2e-7));
  }
}

TEST_CASE("hopfield: what a call refuses") {
  const Layer layer = make("hopfield", plain(), {{2, 5, 10}, {2, 9, 8}});
  const Array x = random({2, 5, 10}, 22), y = random({2, 9, 8}, 23);
  CHECK(refusal([&] { return layer->forward({x, y}); }).empty());
  CHECK_THAT(refusal([&] {
               return layer->forward({{"query", x.view()}, {"value", y.view()}});
             }),
             says("expected 2 or 3 inputs"));
  CHECK_THAT(refusal([&] { return layer->forward({{"key", y.view()}}); }), says("query"));
  CHECK_THAT(refusal([&] { return layer->forward(x); }), says("(2, 5, 10)"));  // keys are 8 wide
  CHECK_THAT(refusal([&] { return layer->forward({random({5, 10}, 1), y}); }), says("3D"));
  CHECK_THAT(refusal([&] { return layer->forward({x, random({3, 9, 8}, 1)}); }), says("batch"));
  CHECK_THAT(refusal([&] { return layer->forward({x, y, random({2, 8, 8}, 1)}); }), says("length"));
  CHECK_THAT(refusal([&] {
               return layer->forward({x, y, random({2, 9, 9}, 1)});
             }),
             says("value has last dimension 9"));
  CHECK_THAT(refusal([&] {
               return layer->forward({x, Array(ATTN_F32, {2, 0, 8})});
             }),
             says("(2, 0, 8)"));
  CHECK_THAT(refusal([&] { return layer->forward({x, y, y, filled({2, 5}, 1)}); }), says("(2, 5)"));
  CHECK_THAT(refusal([&] { return make("hopfield", plain(), {{5, 10}}); }), says("3D"));
}

TEST_CASE("hopfield: what a config refuses") {
  const auto with = [](const char* name, const Json& value) {
    Json config{{"num_heads", 2}, {"key_dim", 4}};
    config.set(name, value);
    return refusal([&] {
      validate_attention_config("hopfield", config);
      return 0;
    });
  };
  CHECK(with("value_dim", 0) == "Parameter 'value_dim' must be positive");
  CHECK(with("update_steps_eps", 0.0) == "Parameter 'update_steps_eps' must be positive");
  CHECK(with("update_steps_max", -1) == "Parameter 'update_steps_max' must not be negative");
  CHECK(with("probability_type", "Routing") ==
        "Probability type 'Routing' is not supported by attention layers");
}
