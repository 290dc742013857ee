// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/layers.hpp"

#include <filesystem>
#include <functional>

using namespace attn;
using namespace attn::test;

namespace {

constexpr int64_t kDim = 12;

Layer small(int64_t window, std::initializer_list<Json::Member> more = {}) {
  Json parameters{{"dim", kDim}, {"window_size", window}, {"num_heads", 2}};
  for (const Json::Member& m : more) parameters.set(m.first, m.second);
  Layer layer = make("window", parameters, {{2, 9, kDim}});
  // Biases begin at zero, which would hide the padding cells.
  for (const char* name : {"single_window_attention/qkv/bias", "single_window_attention/proj/bias"})
    for (const WeightInfo& w : layer->weights())
      if (w.name == name) layer->set_weight(name, random(w.shape, 99));
  return layer;
}

// Tokens of a side x side grid, each window's tokens one after the other.
std::vector<int64_t> by_windows(int64_t side, int64_t window) {
  std::vector<int64_t> order;
  for (int64_t top = 0; top < side; top += window)
    for (int64_t left = 0; left < side; left += window)
      for (int64_t i = 0; i < window; ++i)
        for (int64_t j = 0; j < window; ++j) order.push_back((top + i) * side + left + j);
  return order;
}

// x with a larger number in every component of one token.
Array disturbed(const Array& x, int64_t token) {
  Array y = x.clone();
  for (int64_t b = 0; b < x.shape()[0]; ++b)
    for (int64_t i = 0; i < x.shape()[2]; ++i) y.at<float>({b, token, i}) += 3;
  return y;
}

Array row(const Array& x, int64_t token) { return cut(x, 1, token, token + 1); }

}  // namespace

TEST_CASE("window: a grid of whole windows is its windows, one by one") {
  for (const char* norm : {"", "rms_norm"}) {
    const Layer layer = *norm ? small(3, {{"qk_norm_type", norm}}) : small(3);
    const Array x = random({2, 36, kDim}, 1);
    const Array windows = reordered(x, 1, by_windows(6, 3));
    std::vector<Array> parts;
    for (int64_t w = 0; w < 4; ++w)
      parts.push_back(layer->forward(cut(windows, 1, 9 * w, 9 * w + 9)));
    REQUIRE(distance(reordered(layer->forward(x), 1, by_windows(6, 3)), joined(parts, 1)) <
            kSameMath);
  }
}

TEST_CASE("window: without a bias table one window is plain attention") {
  const Layer layer = small(4, {{"use_relative_position_bias", false}});
  const Layer plain =
      make("multi_head", {{"dim", kDim}, {"num_heads", 2}, {"use_bias", true}}, {{2, 16, kDim}});
  for (const char* name : {"qkv/kernel", "qkv/bias", "proj/kernel", "proj/bias"})
    plain->set_weight(std::string("cross_attention/") + name,
                      layer->weight(std::string("single_window_attention/") + name));
  const Array x = random({2, 16, kDim}, 2);
  REQUIRE(distance(layer->forward(x), plain->forward(x)) < kSameMath);
}

TEST_CASE("window: the bias table is read by the distance from key to query") {
  const Layer layer = small(3);
  const std::string name = "single_window_attention/relative_position_bias_table";
  REQUIRE(layer->weight(name).shape == Shape{25, 2});
  // Only the key one row above and two columns to the left of a query counts.
  Array table = filled({25, 2}, 0);
  const int64_t entry = (1 + 2) * 5 + (2 + 2);
  for (int64_t h = 0; h < 2; ++h) table.at<float>({entry, h}) = 1000;
  layer->set_weight(name, table);
  const Array x = random({2, 9, kDim}, 3);
  const Array y = layer->forward(x);
  // Query 5 = (1, 2) has key 0 = (0, 0) there, query 8 = (2, 2) key 3 = (1, 0).
  for (const auto& [query, key] : {std::pair<int64_t, int64_t>{5, 0}, {8, 3}})
    for (int64_t t = 0; t < 9; ++t) {
      if (t == query) continue;
      const double moved = distance(row(layer->forward(disturbed(x, t)), query), row(y, query));
      INFO("query " << query << ", token " << t);
      CHECK((moved > 1000) == (t == key));
    }
}

TEST_CASE("window: tokens of other windows do not count") {
  const Layer layer = small(3);
  const Array x = random({2, 23, kDim}, 4);  // 5 x 5, padded to 6 x 6
  const Array y = layer->forward(x);
  for (int64_t t = 0; t < 23; ++t) {
    const Array moved = layer->forward(disturbed(x, t));
    for (int64_t q = 0; q < 23; ++q) {
      const bool same = t / 5 / 3 == q / 5 / 3 && t % 5 / 3 == q % 5 / 3;
      INFO("token " << t << ", query " << q);
      CHECK((distance(row(moved, q), row(y, q)) > 0) == same);
    }
  }
}

TEST_CASE("window: padding cells count until there is a mask") {
  const Layer layer = small(3);
  const Array padded = random({2, 23, kDim}, 5), whole = random({2, 36, kDim}, 6);
  REQUIRE(distance(layer->forward({padded, filled({2, 23}, 1)}), layer->forward(padded)) > 1000);
  REQUIRE(distance(layer->forward({whole, filled({2, 36}, 1)}), layer->forward(whole)) == 0);
  // Their keys and values are the projection's bias.
  layer->set_weight("single_window_attention/qkv/bias", filled({3 * kDim}, 0));
  Array zeros = filled({2, 25, kDim}, 0);
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t t = 0; t < 23; ++t)
      for (int64_t i = 0; i < kDim; ++i) zeros.at<float>({b, t, i}) = padded.at<float>({b, t, i});
  REQUIRE(distance(layer->forward(padded), cut(layer->forward(zeros), 1, 0, 23)) < kSameMath);
}

TEST_CASE("window: a key mask") {
  const Layer layer = small(3);
  const Array x = random({2, 23, kDim}, 7);
  Array mask = filled({2, 23}, 1);
  for (int64_t b = 0; b < 2; ++b) {
    mask.at<float>({b, 1}) = 0;
    mask.at<float>({b, 6}) = -2;
    mask.at<float>({b, 7}) = std::numeric_limits<float>::quiet_NaN();
    mask.at<float>({b, 8}) = 0.5F;
    mask.at<float>({b, 22}) = 0;
  }
  const Array y = layer->forward({x, mask});
  for (const int64_t t : {1, 6, 7, 8, 22}) {
    const Array moved = layer->forward({disturbed(x, t), mask});
    double others = 0;
    for (int64_t q = 0; q < 23; ++q)
      if (q != t) others = std::max(others, distance(row(moved, q), row(y, q)));
    INFO("token " << t);
    CHECK((others > 0) == (t == 8));
  }
  // One example's mask for all, and other dtypes.
  CHECK(distance(layer->forward({x, cut(mask, 0, 0, 1)}), y) == 0);
  Array bytes(ATTN_BOOL, {1, 23});
  for (int64_t t = 0; t < 23; ++t) bytes.data<bool>()[t] = mask.at<float>({0, t}) > 0;
  CHECK(distance(layer->forward({x, bytes}), y) == 0);
  CHECK(distance(layer->forward({x, mask.astype(ATTN_F64)}), y) == 0);

  // A window that keeps nothing is a window without a mask, padding cells included.
  Array emptied = filled({1, 23}, 1);
  for (int64_t t = 0; t < 23; ++t)
    if (t / 5 >= 3 && t % 5 >= 3) emptied.at<float>({0, t}) = 0;
  const Array with = layer->forward({x, emptied}), without = layer->forward(x);
  for (int64_t q = 18; q < 20; ++q) CHECK(distance(row(with, q), row(without, q)) == 0);
}

TEST_CASE("window: pairs of one window are masked by rank 3") {
  const Layer layer = small(3);
  const Array x = random({2, 9, kDim}, 8);
  Array causal = filled({1, 9, 9}, 0);
  for (int64_t q = 0; q < 9; ++q)
    for (int64_t k = 0; k <= q; ++k) causal.at<float>({0, q, k}) = 1;
  const Array y = layer->forward({x, causal});
  const Array moved = layer->forward({disturbed(x, 5), causal});
  REQUIRE(distance(cut(moved, 1, 0, 5), cut(y, 1, 0, 5)) == 0);
  REQUIRE(distance(cut(moved, 1, 5, 9), cut(y, 1, 5, 9)) > 1000);
  // A query extent of 1 is a key mask.
  Array keys = filled({2, 9}, 1);
  keys.at<float>({0, 3}) = keys.at<float>({1, 0}) = 0;
  REQUIRE(distance(layer->forward({x, reshaped(keys, {2, 1, 9})}), layer->forward({x, keys})) == 0);
}

TEST_CASE("window: the factor of the scores") {
  const Array x = random({2, 16, kDim}, 9);
  const double usual = 1 / std::sqrt(6.0);
  const Array y = small(4)->forward(x);
  CHECK(distance(small(4, {{"qk_scale", usual}})->forward(x), y) == 0);
  CHECK(distance(small(4, {{"qk_scale", 0.9}})->forward(x), y) > 1000);
  // 0: every weight is equal where there is no table.
  const Layer flat = small(4, {{"qk_scale", 0.0}, {"use_relative_position_bias", false}});
  const Array z = flat->forward(x);
  for (int64_t q = 1; q < 16; ++q) CHECK(distance(row(z, q), row(z, 0)) < kSameMath);
}

TEST_CASE("window: large scores are not clipped") {
  // One head over one component: query 1, key 0 scores s, all others 0.
  const Layer layer = make("window",
                           {{"dim", 1},
                            {"window_size", 2},
                            {"num_heads", 1},
                            {"use_relative_position_bias", false},
                            {"qk_scale", 1.0}},
                           {{1, 4, 1}});
  layer->set_weight("single_window_attention/qkv/kernel", filled({1, 3}, 1));
  layer->set_weight("single_window_attention/proj/kernel", filled({1, 1}, 1));
  const Array x = Array::from(std::vector<float>{8.0F, 7.75F, 0, 0}, {1, 4, 1});
  // Scores of query 0: 64, 62, 0, 0; clipped to 30 the first two would weigh the same.
  const double second = std::exp(-2.0) / (1 + std::exp(-2.0));
  REQUIRE(layer->forward(x).at<float>({0, 0, 0}) == Approx(8 - 0.25 * second).epsilon(1e-6));
}

TEST_CASE("window: dropout acts in training only") {
  const Layer layer = small(3, {{"attn_dropout_rate", 0.5}});
  const Layer alias = small(3, {{"dropout_rate", 0.5}});
  REQUIRE(alias->config().at("attn_dropout_rate") == Json(0.5));
  const Array x = random({2, 20, kDim}, 10);
  CHECK(distance(layer->forward(x), small(3)->forward(x)) == 0);
  const Array y = layer->forward(x, {.training = true, .seed = 1});
  CHECK(distance(layer->forward(x, {.training = true, .seed = 1}), y) == 0);
  CHECK(distance(layer->forward(x, {.training = true, .seed = 2}), y) > 1000);
}

TEST_CASE("window: gradients match differences, padding included") {
  // float64; sum(y cotangent) against central differences along one direction.
  for (const int64_t tokens : {2, 3, 5, 9, 11, 23}) {
    Layer layer = create_attention_layer(
        "window",
        Json{{"dim", 4}, {"window_size", 3}, {"num_heads", 2}, {"qk_norm_type", "batch_norm"}});
    layer->build({Shape{2, tokens, 4}, std::nullopt}, {.dtype = ATTN_F64, .seed = 3});
    const Array x = random({2, tokens, 4}, 11).astype(ATTN_F64),
                g = random({2, tokens, 4}, 12).astype(ATTN_F64);
    for (const WeightInfo& w : layer->weights())
      if (w.trainable) layer->set_weight(w.name, random(w.shape, w.name.size(), 0.7F));
    const auto value = [&] {
      const Array y = layer->forward(x, {.training = true});
      double sum = 0;
      for (int64_t i = 0; i < y.size(); ++i) sum += y.data<double>()[i] * g.data<double>()[i];
      return sum;
    };
    Context ctx(ATTN_F64);
    const std::vector<Input> inputs{x}, cotangents{g};
    layer->forward(ctx, inputs, {.training = true, .record = true});
    Gradients gradients(*layer);
    layer->backward(ctx, cotangents, gradients);
    for (const WeightInfo& w : layer->weights()) {
      if (!w.trainable) continue;
      const Array start = weight(*layer, w.name), direction = random(w.shape, 13).astype(ATTN_F64);
      double slope = 0, size = 0;
      for (int64_t i = 0; i < start.size(); ++i) {
        const double s = gradients.weight(w.name)->data<double>()[i];
        slope += s * direction.data<double>()[i];
        size = std::max(size, std::fabs(s));
      }
      const auto at = [&](double step) {
        Array moved = start.clone();
        for (int64_t i = 0; i < start.size(); ++i)
          moved.data<double>()[i] += step * direction.data<double>()[i];
        layer->set_weight(w.name, moved);
        const double y = value();
        layer->set_weight(w.name, start);
        return y;
      };
      // Step 1e-5: the error of the formula is of order 1e-10, that of rounding 1e-11.
      const double difference = (at(1e-5) - at(-1e-5)) / 2e-5;
      INFO(w.name << ", " << tokens << " tokens");
      CHECK(std::fabs(slope - difference) <= 1e-7 * (1 + std::fabs(size)));
    }
  }
}

TEST_CASE("window: what is refused") {
  const Layer layer = small(3);
  const Array x = random({2, 10, kDim}, 14);
  const auto masked = [&](const Shape& shape) {
    return refusal([&] { return layer->forward({x, filled(shape, 1)}); });
  };
  CHECK_THAT(refusal([&] { return layer->forward(random({10, kDim}, 1)); }), says("(10, 12)"));
  CHECK_THAT(refusal([&] { return layer->forward(random({2, 10, 8}, 1)); }), says("12"));
  CHECK_THAT(masked({10}), says("(batch, key)"));
  CHECK_THAT(masked({2, 9}), says("(2, 10)"));
  CHECK_THAT(masked({2, 1}), says("(2, 10)"));
  CHECK_THAT(masked({3, 10}), says("(2, 10)"));
  CHECK_THAT(masked({2, 10, 10}), says("window_size^2 = 9"));
  CHECK_THAT(masked({2, 1, 1, 10}), says("(2, 1, 1, 10)"));
  CHECK_THAT(refusal([&] {
               return layer->forward({random({2, 9, kDim}, 1), filled({2, 9, 1}, 1)});
             }),
             says("(2, 9, 9)"));
  CHECK_THAT(
      refusal([] {
        return create_attention_layer(
            "window",
            Json{{"dim", 8}, {"window_size", 3}, {"num_heads", 2}, {"attention_mode", "kan_key"}});
      }),
      says("must be one of ['linear']"));
  CHECK_THAT(refusal([] {
               const Layer huge = create_attention_layer(
                   "window", Json{{"dim", 8}, {"window_size", int64_t{1} << 40}, {"num_heads", 2}});
               huge->build({Shape{1, 4, 8}, std::nullopt});
             }),
             says("window_size"));
}

TEST_CASE(
    "window: the work follows the tokens, not the square of a window far larger than they are") {
  constexpr int64_t kTokens = 64, kWidth = 32, kHeads = 4;
  const Array x = random({1, kTokens, kWidth}, 15);
  for (const bool masked : {false, true})
    for (const int64_t w : {8, 9, 16, 64}) {
      const Layer layer =
          make("window", {{"dim", kWidth}, {"window_size", w}, {"num_heads", kHeads}},
               {{1, kTokens, kWidth}});
      Context ctx;
      ctx.keep_profile(true);
      std::vector<Input> inputs{x};
      const Array mask = filled({1, kTokens}, 1);
      if (masked) inputs.emplace_back("attention_mask", mask);
      layer->forward(ctx, inputs, {});
      double flops = 0;
      for (const OperatorTime& t : ctx.profile()) flops += t.flops;
      // Projections of the tokens; scores and sums of values of each token with each cell.
      const double projections = 8.0 * kTokens * kWidth * kWidth;
      const double pairs = static_cast<double>(kTokens * w * w);
      INFO("window " << w);
      CHECK(flops <= projections + pairs * (4 * kWidth + 16 * kHeads));
      // Cells with their queries, keys and values twice, and a bias for each pair and head.
      CHECK(static_cast<double>(ctx.peak_bytes()) <=
            1e6 + 4.0 * (pairs * kHeads + 8.0 * static_cast<double>(w * w) * kWidth));
    }
}

TEST_CASE("window: queries of a window that is not full are those of the full one") {
  // The same tokens, in a grid of one window with nothing but padding around them: 4 of 5 x 5 cells.
  for (const char* norm : {"", "rms_norm", "batch_norm", "global_response_norm"}) {
    Json parameters{{"dim", kDim}, {"window_size", 5}, {"num_heads", 2}, {"qkv_bias", false}};
    if (*norm) parameters.set("qk_norm_type", norm);
    const Layer layer = make("window", parameters, {{1, 25, kDim}});
    const Array few = random({1, 4, kDim}, 16);
    Array full = filled({1, 25, kDim}, 0);
    const std::vector<int64_t> at{0, 1, 5, 6};
    for (size_t t = 0; t < at.size(); ++t)
      for (int64_t i = 0; i < kDim; ++i)
        full.at<float>({0, at[t], i}) = few.at<float>({0, static_cast<int64_t>(t), i});
    const Array y = layer->forward(few), z = layer->forward(full);
    for (size_t t = 0; t < at.size(); ++t) {
      INFO(norm << ", token " << t);
      CHECK(distance(row(y, static_cast<int64_t>(t)), row(z, at[t])) < kSameMath);
    }
  }
}

TEST_CASE("window: entries of the table that lie far apart, beside padding") {
  // As above; the entry of no distance is so large that the others are nothing beside it, or so small.
  for (const float apart : {0.0F, 1000.0F, -1000.0F}) {
    const Layer layer =
        make("window", {{"dim", kDim}, {"window_size", 5}, {"num_heads", 2}, {"qkv_bias", false}},
             {{1, 25, kDim}});
    const std::string name = "single_window_attention/relative_position_bias_table";
    Array table = weight(*layer, name).clone();
    for (int64_t h = 0; h < 2; ++h) table.at<float>({40, h}) = apart;
    layer->set_weight(name, table);
    const Array few = random({1, 4, kDim}, 16), slope = random({1, 4, kDim}, 17);
    Array full = filled({1, 25, kDim}, 0), full_slope = filled({1, 25, kDim}, 0);
    const std::vector<int64_t> at{0, 1, 5, 6};
    for (size_t t = 0; t < at.size(); ++t)
      for (int64_t i = 0; i < kDim; ++i) {
        const auto token = static_cast<int64_t>(t);
        full.at<float>({0, at[t], i}) = few.at<float>({0, token, i});
        full_slope.at<float>({0, at[t], i}) = slope.at<float>({0, token, i});
      }
    const auto gradient = [&](const Array& x, const Array& dy) {
      Context ctx;
      const std::vector<Input> inputs{x}, cotangents{dy};
      layer->forward(ctx, inputs, {.record = true});
      Gradients gradients(*layer);
      layer->backward(ctx, cotangents, gradients);
      return gradients.weight(name)->clone();
    };
    INFO("apart by " << apart);
    const Array y = layer->forward(few), z = layer->forward(full);
    for (size_t t = 0; t < at.size(); ++t)
      CHECK(distance(row(y, static_cast<int64_t>(t)), row(z, at[t])) < kSameMath);
    const Array one = gradient(few, slope), other = gradient(full, full_slope);
    for (int64_t i = 0; i < one.size(); ++i)
      CHECK(std::fabs(one.data<float>()[i] - other.data<float>()[i]) <= 1e-5F);
  }
}

TEST_CASE("window: in zigzag a window is a run of the walk along the diagonals") {
  const Layer layer = small(2, {{"window_partition", "zigzag"}}), grid = small(2);
  for (const WeightInfo& w : grid->weights()) grid->set_weight(w.name, layer->weight(w.name));
  const std::vector<int64_t> walk{0, 1, 4, 8, 5, 2, 3, 6, 9, 12, 13, 10, 7, 11, 14, 15};
  const Array x = random({2, 16, kDim}, 21), along = reordered(x, 1, walk);
  std::vector<Array> parts;
  for (int64_t at = 0; at < 16; at += 4) parts.push_back(grid->forward(cut(along, 1, at, at + 4)));
  CHECK(distance(reordered(layer->forward(x), 1, walk), joined(parts, 1)) < kSameMath);
  CHECK(distance(layer->forward(x), grid->forward(x)) > 1000);
  // Of 14 tokens the last two cells are padding, which a mask of ones takes out.
  const Array some = cut(x, 1, 0, 14);
  const Array masked = layer->forward({some, filled({2, 14}, 1)});
  const std::vector<int64_t> last{7, 11};  // the last run is 7, 11 and two cells without a token
  const Array alone = grid->forward({cut(reordered(x, 1, {7, 11, 14, 15}), 1, 0, 4),
                                     Array::from(std::vector<float>{1, 1, 0, 0}, {1, 4})});
  CHECK(distance(reordered(masked, 1, last), cut(alone, 1, 0, 2)) < kSameMath);
  CHECK_THAT(refusal([&] {
               return layer->forward({cut(x, 1, 0, 4), filled({2, 4, 4}, 1)});
             }),
             says("one window of the grid"));
}

TEST_CASE("window: the partition is a parameter beyond the specification, partition_mode none") {
  const Json given{{"dim", kDim}, {"window_size", 2}, {"num_heads", 2}};
  CHECK(create_attention_layer("window", given)->config().find("window_partition") == nullptr);
  Json other = given;
  other.set("partition_mode", "zigzag");
  CHECK_THAT(refusal([&] { return create_attention_layer("window", other); }),
             says("partition_mode"));
}

TEST_CASE("window: single_window is the same by another name, with the weight files of both") {
  const Layer layer = small(3);
  Json config = layer->config(), its;
  config.erase("name");
  const Layer other = make("single_window", config, {{2, 9, kDim}});
  CHECK(other->type().class_name == std::string("SingleWindowAttention"));
  its = other->config();
  its.erase("name");
  CHECK(its == config);
  const std::string path = std::filesystem::temp_directory_path() / "attn_window_names.safetensors";
  layer->save(path);
  other->load(path);
  for (const int64_t tokens : {9, 4, 23}) {  // one window, a part of one, and several
    const Array x = random({2, tokens, kDim}, 31);
    CHECK(distance(layer->forward(x), other->forward(x)) == 0);
  }
  other->set_weight("single_window_attention/proj/bias", random({kDim}, 32));
  other->save(path);
  layer->load(path);
  const Array x = random({2, 9, kDim}, 33);
  CHECK(distance(layer->forward(x), other->forward(x)) == 0);
  CHECK(load_attention(path)->type().id == std::string("single_window"));
  std::filesystem::remove(path);
}
