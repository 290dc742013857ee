// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/layers.hpp"

using namespace attn;
using namespace attn::test;

namespace {

constexpr int64_t kDim = 16, kHeads = 2;

// A grid and what a token sees of it, by every axis.
struct Sample {
  std::vector<int64_t> extents, kernel, dilation;
  int64_t causal = 0, missing = 0;  // causal axes; tokens that the grid lacks at its end

  [[nodiscard]] int64_t axes() const { return static_cast<int64_t>(extents.size()); }
  [[nodiscard]] int64_t tokens() const {
    int64_t n = 1;
    for (const int64_t e : extents) n *= e;
    return n - missing;
  }
  [[nodiscard]] Json config(std::initializer_list<Json::Member> more = {}) const {
    Json c{{"dim", kDim}, {"num_heads", kHeads}, {"num_axes", axes()}, {"causal_axes", causal}};
    const auto sizes = [](const std::vector<int64_t>& x) {
      return x.size() == 3 ? Json::list({x[0], x[1], x[2]}) : Json::list({x.front(), x.back()});
    };
    c.set("kernel_size", sizes(kernel));
    c.set("dilation", sizes(dilation));
    if (axes() > 1) c.set("grid_width", extents.back());
    if (axes() == 3) c.set("grid_height", extents[1]);
    for (const Json::Member& m : more) c.set(m.first, m.second);
    return c;
  }
  [[nodiscard]] std::vector<int64_t> place(int64_t token) const {
    std::vector<int64_t> at(extents.size());
    for (size_t a = extents.size(); a-- > 0; token /= extents[a]) at[a] = token % extents[a];
    return at;
  }
  // Along one axis, by the definition: as far to the left as half the kernel, moved inwards.
  [[nodiscard]] bool near(size_t a, int64_t x, int64_t y) const {
    const int64_t d = dilation[a], w = kernel[a];
    if (x % d != y % d) return false;
    if (causal > static_cast<int64_t>(a)) return y <= x && (x - y) / d < w;
    int64_t line = 0;
    for (int64_t i = x % d; i < extents[a]; i += d) ++line;
    int64_t first = x / d - w / 2;
    if (first + w > line) first = line - w;
    if (first < 0) first = 0;
    return first <= y / d && y / d < first + w;
  }
  // The place of a pair in the table of a head; -1: it is not seen.
  [[nodiscard]] int64_t entry(int64_t query, int64_t key) const {
    const std::vector<int64_t> q = place(query), k = place(key);
    int64_t at = 0;
    for (size_t a = 0; a < extents.size(); ++a) {
      if (!near(a, q[a], k[a])) return -1;
      at = at * (2 * kernel[a] - 1) + (k[a] - q[a]) / dilation[a] + kernel[a] - 1;
    }
    return at;
  }
};

std::vector<Sample> samples() {
  return {{{13}, {5}, {1}},
          {{13}, {5}, {1}, 1},
          {{14}, {4}, {3}},
          {{14}, {4}, {3}, 1},
          {{4}, {7}, {1}},
          {{150}, {9}, {2}},
          {{6, 7}, {3, 3}, {1, 1}},
          {{7, 9}, {3, 5}, {2, 1}, 0, 4},
          {{20, 15}, {7, 7}, {1, 2}},
          {{6, 5}, {3, 2}, {1, 2}, 1},
          {{5, 6}, {3, 4}, {1, 1}, 2},
          {{3, 5, 6}, {2, 3, 3}, {1, 2, 2}},
          {{3, 5, 7}, {2, 3, 5}, {1, 2, 1}},
          {{4, 4, 5}, {3, 3, 3}, {1, 1, 1}, 1, 7}};
}

// softmax over the neighborhood in double; rows of `keep` that keep nothing of it keep all of it.
Array plainly(const Attention& layer, const Sample& s, const Array& x,
              const Array* keep = nullptr) {
  const Array w = weight(layer, "qkv/kernel"), b = weight(layer, "qkv/bias"),
              table = weight(layer, "relative_position_bias_table"),
              out_w = weight(layer, "proj/kernel"), out_b = weight(layer, "proj/bias");
  const int64_t n = s.tokens(), head = kDim / kHeads, batch = x.shape()[0],
                entries = table.size() / kHeads;
  const auto dense = [](const Array& kernel, const Array& bias, const double* row, int64_t column) {
    double sum = bias.at<float>({column});
    for (int64_t i = 0; i < kDim; ++i)
      sum += row[i] * static_cast<double>(kernel.at<float>({i, column}));
    return sum;
  };
  Array out(ATTN_F32, {batch, n, kDim});
  for (int64_t e = 0; e < batch; ++e) {
    std::vector<double> y(static_cast<size_t>(n * 3 * kDim)), row(kDim);
    const auto at = [&](int64_t t, int64_t c) -> double& {
      return y[static_cast<size_t>(t * 3 * kDim + c)];
    };
    for (int64_t t = 0; t < n; ++t) {
      for (int64_t i = 0; i < kDim; ++i) row[static_cast<size_t>(i)] = x.at<float>({e, t, i});
      for (int64_t c = 0; c < 3 * kDim; ++c) at(t, c) = dense(w, b, row.data(), c);
    }
    for (int64_t q = 0; q < n; ++q) {
      std::fill(row.begin(), row.end(), 0.0);
      bool any = keep == nullptr;
      for (int64_t k = 0; k < n && !any; ++k)
        any = s.entry(q, k) >= 0 && keep->at<float>({e, k}) > 0;
      for (int64_t h = 0; h < kHeads; ++h) {
        std::vector<double> weights(static_cast<size_t>(n), 0.0);
        double sum = 0;
        for (int64_t k = 0; k < n; ++k) {
          const int64_t entry = s.entry(q, k);
          if (entry < 0 || (keep && any && !(keep->at<float>({e, k}) > 0))) continue;
          double score = 0;
          for (int64_t i = h * head; i < (h + 1) * head; ++i) score += at(q, i) * at(k, kDim + i);
          score = score / std::sqrt(static_cast<double>(head)) +
                  static_cast<double>(table.data<float>()[h * entries + entry]);
          sum += weights[static_cast<size_t>(k)] = std::exp(score);
        }
        for (int64_t k = 0; k < n; ++k)
          for (int64_t i = h * head; i < (h + 1) * head; ++i)
            row[static_cast<size_t>(i)] +=
                weights[static_cast<size_t>(k)] / sum * at(k, 2 * kDim + i);
      }
      for (int64_t c = 0; c < kDim; ++c)
        out.at<float>({e, q, c}) = static_cast<float>(dense(out_w, out_b, row.data(), c));
    }
  }
  return out;
}

Layer layer_of(const Sample& s, std::initializer_list<Json::Member> more = {}) {
  Layer layer = make("neighborhood", s.config(more), {{2, s.tokens(), kDim}});
  uint64_t seed = 1;
  for (const WeightInfo& w : layer->weights())
    layer->set_weight(w.name, random(w.shape, ++seed, w.name.ends_with("table") ? 2.0F : 0.5F));
  return layer;
}

}  // namespace

TEST_CASE("neighborhood: sequences, maps and frames, by loops in double") {
  for (const Sample& s : samples()) {
    const Layer layer = layer_of(s);
    INFO(layer->config().dump() << ", " << s.tokens() << " tokens");
    const Array x = random({2, s.tokens(), kDim}, 3);
    CHECK(distance(layer->forward(x), plainly(*layer, s, x)) < kSameMath);
    Array keep = filled({2, s.tokens()}, 1);
    for (int64_t k = 0; k < s.tokens(); ++k) {
      keep.at<float>({0, k}) = k % 3 == 1 ? 1 : 0;
      keep.at<float>({1, k}) = k < s.tokens() / 2 ? 1 : 0;  // the last neighborhoods keep nothing
    }
    CHECK(distance(layer->forward({x, keep}), plainly(*layer, s, x, &keep)) < kSameMath);
  }
}

TEST_CASE("neighborhood: gradients of a small map are the differences of the loops") {
  const Sample s{{4, 5}, {3, 3}, {1, 2}};
  const Layer layer = layer_of(s);
  const Array x = random({2, s.tokens(), kDim}, 4), c = random({2, s.tokens(), kDim}, 5);
  Context ctx;
  const std::vector<Input> inputs{x}, cotangents{c};
  layer->forward(ctx, inputs, {.record = true});
  Gradients gradients(*layer);
  layer->backward(ctx, cotangents, gradients);
  const auto value = [&] {
    const Array y = plainly(*layer, s, x);
    double sum = 0;
    for (int64_t i = 0; i < y.size(); ++i)
      sum += static_cast<double>(y.data<float>()[i]) * static_cast<double>(c.data<float>()[i]);
    return sum;
  };
  for (const char* name : {"relative_position_bias_table", "qkv/kernel", "proj/kernel"}) {
    const Array w = weight(*layer, name), found = gradients.weight(name)->clone();
    for (int64_t i = 0; i < w.size(); i += w.size() / 11 + 1) {
      INFO(name << "[" << i << "]");
      Array moved = w.clone();
      const float step = 1.0F / 64;
      moved.data<float>()[i] += step;
      layer->set_weight(name, moved);
      double difference = value();
      moved.data<float>()[i] -= 2 * step;
      layer->set_weight(name, moved);
      difference -= value();
      layer->set_weight(name, w);
      // Results are rounded to float32 and steps are not small: third derivatives of some units.
      CHECK(found.data<float>()[i] == Approx(difference / (2 * step)).margin(5e-3));
    }
  }
}

TEST_CASE("neighborhood: a map whose rows follow from the tokens is one whose rows are given") {
  const Sample s{{6, 7}, {3, 3}, {1, 1}};
  const Layer free = layer_of(s), given = layer_of(s, {{"grid_height", 6}});
  const Array x = random({2, 42, kDim}, 6);
  CHECK(distance(given->forward(x), free->forward(x)) == 0);
  // Frames of that map each have neighbors of their own, unless the kernel reaches further.
  const Layer frames = make("neighborhood",
                            {{"dim", kDim},
                             {"num_heads", kHeads},
                             {"num_axes", 3},
                             {"kernel_size", Json::list({1, 3})},
                             {"grid_height", 6},
                             {"grid_width", 7}},
                            {{2, 84, kDim}});
  for (const WeightInfo& w : frames->weights())
    frames->set_weight(w.name, reshaped(weight(*free, w.name), w.shape));
  std::vector<Array> both;
  both.push_back(x.clone());
  both.push_back(random({2, 42, kDim}, 7));
  const Array y = frames->forward(joined(both, 1));
  for (size_t i = 0; i < 2; ++i)
    CHECK(distance(cut(y, 1, 42 * static_cast<int64_t>(i), 42 * static_cast<int64_t>(i) + 42),
                   free->forward(both[i])) < kSameMath);
}

TEST_CASE("neighborhood: a kernel over all without the table is multi_head") {
  const Layer layer = make("neighborhood",
                           {{"dim", 24},
                            {"num_heads", 4},
                            {"num_axes", 1},
                            {"kernel_size", 13},
                            {"use_relative_position_bias", false}},
                           {{2, 13, 24}});
  const Layer plain =
      make("multi_head", {{"dim", 24}, {"num_heads", 4}, {"use_bias", true}}, {{2, 13, 24}});
  for (const char* part : {"qkv/kernel", "qkv/bias", "proj/kernel", "proj/bias"}) {
    const Array w = random(layer->weight(part).shape, 8, 0.4F);
    layer->set_weight(part, w);
    plain->set_weight(std::string("cross_attention/") + part, w);
  }
  const Array x = random({2, 13, 24}, 9);
  CHECK(distance(layer->forward(x), plain->forward(x)) < kSameMath);
}

TEST_CASE("neighborhood: what a config and a call refuse") {
  const auto refused = [](std::initializer_list<Json::Member> more) {
    Json parameters{{"dim", kDim}, {"num_heads", kHeads}};
    for (const Json::Member& m : more) parameters.set(m.first, m.second);
    return refusal([&] { return make("neighborhood", parameters, {{1, 20, kDim}}); });
  };
  CHECK_THAT(refused({{"num_axes", 4}}), says("num_axes"));
  CHECK_THAT(refused({{"causal_axes", 3}}), says("causal_axes (3) must be at most num_axes (2)"));
  CHECK_THAT(refused({{"num_axes", 1}, {"kernel_size", Json::list({3, 5})}}), says("single"));
  CHECK_THAT(refused({{"kernel_size", 0}}), says("kernel_size"));
  const Json three = Json::list({3, 5, 7});
  CHECK_THAT(refused({{"kernel_size", three}}), says("num_axes 3 [frames, rows, columns]"));
  CHECK_THAT(refused({{"num_axes", 1}, {"dilation", three}}), says("single"));
  CHECK_THAT(refused({{"kernel_size", Json::list({3, 5, 7, 9})}}), says("two or three integers"));
  CHECK(refused({{"num_axes", 3}, {"grid_width", 2}, {"kernel_size", three}, {"dilation", three}})
            .empty());
  CHECK_THAT(refused({{"num_axes", 1}, {"grid_width", 6}}),
             says("'grid_width' (6) has no effect here, only with num_axes 2 or 3"));
  CHECK_THAT(refused({{"kernel_size", 1025}}), says("kernel_size (1025) must be at most 1024"));
  CHECK_THAT(refused({{"grid_height", 3}, {"grid_width", 6}}), says("20 tokens are more than"));
  CHECK_THAT(refused({{"probability_config", Json{{"axis", -2}}}}), says("axis"));
  CHECK_THAT(refused({{"kernel_size", 3}, {"dilation", 32768}, {"grid_width", 32768}}),
             says("kernel_size 3 * dilation 32768 * 32768 tokens"));
  CHECK_THAT(refused({{"num_axes", 3}, {"kernel_size", 3}, {"grid_width", 32768}}),
             says("spans 3221225472 tokens"));
  CHECK(refused({{"grid_height", 4}, {"grid_width", 6}}).empty());
  CHECK(refused({{"num_axes", 3}, {"grid_width", 2}}).empty());
}
