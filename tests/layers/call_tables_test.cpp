// SPDX-License-Identifier: Apache-2.0
//
// Tables that a call brings for the score program of its layer: documents packed into one sequence, and biases that
// have a gradient.
#include <attn/plan.hpp>
#include <attn/sdk/score_programs.hpp>
#include <attn/threads.hpp>
#include <catch2/catch.hpp>

#include <cmath>

#include "host/library/layer/context.hpp"
#include "tests/layers/layers.hpp"

namespace attn::testing::call_tables {
namespace {

const char* const kPacked = "doc[b, q] == doc[b, k] && k <= q";
const Json kDoc{{"shape", Json::list({"B", "K"})}, {"dtype", "i32"}, {"input", true}};

Json packed(Json config, const Json& more = Json::object()) {
  config.set("mask_rule", kPacked);
  config.set("captures", Json{{"doc", kDoc}});
  for (const auto& [name, value] : more.as_object()) config.set(name, value);
  return config;
}
const Json kMultiHead{{"dim", 16}, {"num_heads", 4}};

// Documents of 3 to 9 tokens, other ones in each row.
Array documents(int64_t batch, int64_t tokens) {
  Array doc(ATTN_I32, {batch, tokens});
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t i = 0; i < tokens; ++i)
      doc.data<int32_t>()[b * tokens + i] = static_cast<int32_t>((i + 2 * b) / (3 + 3 * (b % 3)));
  return doc;
}

Array part_of(const Array& x, int64_t begin, int64_t n) {  // of axis 1
  const Shape& s = x.shape();
  const int64_t rest = x.size() / (s[0] * s[1]);
  Shape shape = s;
  shape[1] = n;
  Array out(x.dtype(), shape);
  const auto size = static_cast<size_t>(n * rest) * dtype_size(x.dtype());
  for (int64_t b = 0; b < s[0]; ++b)
    std::memcpy(static_cast<char*>(out.raw()) + static_cast<size_t>(b) * size,
                static_cast<const char*>(x.raw()) +
                    static_cast<size_t>((b * s[1] + begin) * rest) * dtype_size(x.dtype()),
                size);
  return out;
}

double most_apart(const Array& a, const Array& b) {
  REQUIRE(a.shape() == b.shape());
  double d = 0;
  for (int64_t i = 0; i < a.size(); ++i)
    d = std::max(d, std::fabs(double{a.data<float>()[i]} - double{b.data<float>()[i]}));
  return d;
}

std::string message_of(Attention& layer, std::initializer_list<Input> inputs,
                       const CallOptions& options = {}) {
  try {
    static_cast<void>(layer.forward(inputs, options));
  } catch (const InvalidArgument& e) {
    return e.what();
  }
  return "";
}

std::string refused_config(const char* type, const Json& config) {
  try {
    static_cast<void>(create_attention_layer(type, config));
  } catch (const InvalidArgument& e) {
    return e.details().parameter + " | " + e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("tables of a call: packed documents are what a mask of all pairs says") {
  const Array x = wave({3, 40, 16}), doc = documents(3, 40);
  Array keep(ATTN_BOOL, {3, 40, 40});
  for (int64_t i = 0; i < keep.size(); ++i) {
    const int64_t b = i / 1600, q = i / 40 % 40, k = i % 40;
    keep.data<bool>()[i] =
        k <= q && doc.data<int32_t>()[b * 40 + q] == doc.data<int32_t>()[b * 40 + k];
  }
  for (const auto& [sample, causal] : counting_types()) {
    if (!causal) continue;  // forgetting, whose masks are of keys
    CAPTURE(sample.type);
    const auto layer = create_attention_layer(sample.type, packed(sample.config));
    const auto plain = create_attention_layer(sample.type, sample.config);
    layer->build({x.shape()}, {.seed = 3});
    plain->build({x.shape()}, {.seed = 3});
    const Array y = layer->forward({x, {"doc", doc.view()}});
    CHECK(most_apart(y, plain->forward({x, {"attention_mask", keep.view()}})) < 2e-6);
    CHECK(most_apart(y, plain->forward(x)) > 1e-3);
    // Other kinds of whole numbers, any strides, any place among the inputs.
    Array wide(ATTN_I64, {3, 80});
    for (int64_t i = 0; i < doc.size(); ++i) wide.data<int64_t>()[2 * i] = doc.data<int32_t>()[i];
    const ConstView strided(wide.data<int64_t>(), Shape{3, 40}, Shape{80, 2});
    CHECK(same_bits(layer->forward({{"doc", strided}, x}), y));
    // Nothing of it is a weight.
    for (const WeightInfo& w : layer->weights()) CHECK(w.name.find("doc") == std::string::npos);
    CHECK(layer->tables().at(0).name == "doc");
    CHECK(layer->tables().at(0).shape == "(B, K)");
  }
}

TEST_CASE("tables of a call: rows of a batch are what they are alone") {
  const Json heads{{"dim", 16}, {"num_heads", 4}}, map{{"grid_height", 3}, {"grid_width", 4}};
  const std::vector<Sample> samples{
      {"vit", with(heads, with(map, {{"position_kind", "none"}, {"num_prefix_tokens", 0}})), {}},
      {"neighborhood", with(heads, with(map, {{"kernel_size", 3}})), {}},
      {"ring", with(heads, {{"block_size", 5}}), {}},
      {"anchor", heads, {}},
      {"hopfield", {{"num_heads", 4}, {"key_dim", 4}}, {}},
      {"talking_heads", heads, {}}};
  const Array x = wave({3, 12, 16});
  const std::array<float, 3> gains{0.25f, 1.5f, -2};
  const ConstView all(gains.data(), Shape{3});
  for (const Sample& sample : samples) {
    CAPTURE(sample.type);
    const auto layer = create_attention_layer(
        sample.type,
        with(sample.config,
             {{"score", "s * gain[b] + (k % 2 == 1 ? gain[b] : 0.0)"},
              {"captures", {{"gain", {{"shape", Json::list({"B"})}, {"input", true}}}}}}));
    const Array y = layer->forward({x, {"gain", all}});
    for (int64_t b = 0; b < 3; ++b) {
      const Array row = Array::copy_of(ConstView(x.data<float>() + b * 192, Shape{1, 12, 16}));
      const ConstView own(gains.data() + b, Shape{1});
      const Array alone = layer->forward({row, {"gain", own}});
      const ConstView part(y.data<float>() + b * 192, Shape{1, 12, 16});
      CHECK(most_apart(alone, Array::copy_of(part)) < 2e-6);
      CHECK(most_apart(
                alone,
                layer->forward({row, {"gain", ConstView(gains.data() + (b + 1) % 3, Shape{1})}})) >
            1e-4);
    }
  }
}

TEST_CASE("tables of a call: with a state they are those of the whole sequence so far") {
  const Array x = wave({3, 21, 16}), doc = documents(3, 21);
  for (const auto& [sample, causal] : counting_types()) {
    CAPTURE(sample.type);
    const auto layer = create_attention_layer(sample.type, packed(sample.config));
    const Array whole = layer->forward({x, {"doc", doc.view()}});
    const auto state = layer->make_state(3, 21);
    for (int64_t begin = 0; begin < 21;) {
      const int64_t n = begin == 0 ? 12 : begin == 12 ? 6 : 1;
      const Array rows = part_of(x, begin, n), so_far = part_of(doc, 0, begin + n);
      const Array y = layer->forward({rows, {"doc", so_far.view()}}, {.state = state.get()});
      CHECK(most_apart(y, part_of(whole, begin, n)) < 2e-6);
      begin += n;
    }
    const Array one = part_of(x, 0, 1), short_of_one = part_of(doc, 0, 20);
    state->truncate(20);
    CHECK_THAT(message_of(*layer, {one, {"doc", short_of_one.view()}}, {.state = state.get()}),
               Catch::Contains("table 'doc' has shape (3, 20); expected (B, K), here (3, 21)"));
    CHECK(state->length() == 20);
  }
}

TEST_CASE("tables of a call: floating ones have a gradient") {
  const Json config{
      {"dim", 16},
      {"num_heads", 4},
      {"score", "s * gain[h] + rise[b, h, k] - fall[b, q] + shift"},
      {"captures",
       {{"rise", {{"shape", Json::list({"B", "H", "K"})}, {"input", true}}},
        {"gain", {{"shape", Json::list({"H"})}, {"initializer", "ones"}}},
        {"shift", {{"shape", Json::list({})}, {"input", true}}},
        {"fall", {{"shape", Json::list({"B", 9})}, {"dtype", "float"}, {"input", true}}}}}};
  const auto layer = create_attention_layer("multi_head", config);
  layer->build({Shape{2, 9, 16}}, {.dtype = ATTN_F64, .seed = 4});
  const Array x = wave({2, 9, 16}).astype(ATTN_F64), shift(ATTN_F64, {}),
              dy = wave({2, 9, 16}, 7).astype(ATTN_F64);
  Array rise = wave({2, 4, 9}, 2).astype(ATTN_F64), fall = wave({2, 9}, 3).astype(ATTN_F64);
  Context ctx(ATTN_F64);
  const std::vector<Input> inputs{
      x, {"rise", rise.view()}, {"fall", fall.view()}, {"shift", shift.view()}};
  const auto loss = [&] {
    layer->forward(ctx, inputs);
    double sum = 0;
    const auto* y = static_cast<const double*>(ctx.output()->data);
    for (int64_t i = 0; i < dy.size(); ++i) sum += y[i] * dy.data<double>()[i];
    return sum;
  };
  layer->forward(ctx, inputs, {.record = true});
  Gradients weights(*layer);
  const Input cotangent(dy);
  layer->backward(ctx, {&cotangent, 1}, weights);
  const Array found = Array::copy_of(*ctx.input_gradient("rise"));
  REQUIRE(ctx.input_gradient("fall").has_value());
  REQUIRE(ctx.input_gradient("shift").has_value());
  CHECK_FALSE(ctx.input_gradient("gain").has_value());
  // What all keys of a row get alike changes nothing.
  for (const char* name : {"fall", "shift"}) {
    const Array g = Array::copy_of(*ctx.input_gradient(name));
    for (int64_t i = 0; i < g.size(); ++i) CHECK(std::fabs(g.data<double>()[i]) < 1e-12);
  }
  double largest = 0;
  for (int64_t i = 0; i < rise.size(); i += 5) {
    const double kept = rise.data<double>()[i], h = 1e-5;
    rise.data<double>()[i] = kept + h;
    const double more = loss();
    rise.data<double>()[i] = kept - h;
    const double less = loss();
    rise.data<double>()[i] = kept;
    CHECK(found.data<double>()[i] == Approx((more - less) / (2 * h)).margin(1e-8));
    largest = std::max(largest, std::fabs(found.data<double>()[i]));
  }
  CHECK(largest > 1e-4);
}

TEST_CASE("tables of a call: a batch in slices takes its rows of them") {
  Json config = packed({{"dim", 32}, {"num_heads", 2}},
                       {{"score", "s + rise[b, k] - drop[h]"},
                        {"captures",
                         {{"doc", kDoc},
                          {"rise", {{"shape", Json::list({"B", "K"})}, {"input", true}}},
                          {"drop", {{"shape", Json::list({"H"})}, {"input", true}}}}}});
  const int64_t batch = 60, tokens = 360;
  const Array x = wave({batch, tokens, 32}), rise = wave({batch, tokens}, 2), drop = wave({2}, 3),
              dy = wave({batch, tokens, 32}, 9), doc = documents(batch, tokens);
  const std::vector<Input> inputs{
      x, {"doc", doc.view()}, {"rise", rise.view()}, {"drop", drop.view()}};
  const auto layer = create_attention_layer("multi_head", config);
  layer->build({x.shape()}, {.seed = 3});
  const auto rows = [&](const Array& a, int64_t b) {
    ConstView v = a.view();
    v.data = static_cast<const char*>(v.data) +
             static_cast<size_t>(b * v.stride[0]) * dtype_size(v.dtype);
    v.shape[0] = 1;
    return v;
  };
  Context ctx, alone;
  use_plan(ctx, {.slice_rows = 7});
  layer->forward(ctx, inputs, {.record = true});
  const engine::SlicePlan& plan = ctx.impl().engine.slice_plan;
  REQUIRE(plan.batch == batch);
  REQUIRE(plan.rows == 7);
  const Array y = Array::copy_of(*ctx.output());
  Gradients all(*layer), sum(*layer);
  const Input cotangent(dy);
  layer->backward(ctx, {&cotangent, 1}, all);
  const Array of_rise = Array::copy_of(*ctx.input_gradient("rise"));
  double apart = 0, apart_rise = 0;
  for (const int64_t b : {int64_t{0}, int64_t{1}, int64_t{31}, batch - 1}) {
    const std::vector<Input> one{
        rows(x, b), {"doc", rows(doc, b)}, {"rise", rows(rise, b)}, {"drop", drop.view()}};
    layer->forward(alone, one, {.record = true});
    const int64_t n = tokens * 32;
    const auto* own = static_cast<const float*>(alone.output()->data);
    for (int64_t i = 0; i < n; ++i)
      apart = std::max(apart, std::fabs(double{own[i]} - double{y.data<float>()[b * n + i]}));
    const Input c(rows(dy, b));
    layer->backward(alone, {&c, 1}, sum);
    const Array g = Array::copy_of(*alone.input_gradient("rise"));
    for (int64_t i = 0; i < tokens; ++i)
      apart_rise = std::max(apart_rise, std::fabs(double{g.data<float>()[i]} -
                                                  double{of_rise.data<float>()[b * tokens + i]}));
  }
  CHECK(apart < 1e-5);
  CHECK(apart_rise < 1e-5);
  CHECK(ctx.input_gradient("drop")->shape == Shape{2});
  // Tables of other shapes are refused with slices, too, and what was planned before counts no more.
  const Array less = documents(batch - 1, tokens);
  CHECK_THROWS_WITH(
      layer->forward(ctx,
                     std::vector<Input>{
                         x, {"doc", less.view()}, {"rise", rise.view()}, {"drop", drop.view()}}),
      Catch::Contains("table 'doc' has shape (59, 360); expected (B, K), here (60, "));
  // With the batch at another axis all rows go through at once.
  config.set("captures", Json{{"doc", kDoc},
                              {"rise", {{"shape", Json::list({"K", "B"})}, {"input", true}}},
                              {"drop", {{"shape", Json::list({"H"})}, {"input", true}}}});
  config.set("score", "s + rise[k, b] - drop[h]");
  const auto whole = create_attention_layer("multi_head", config);
  whole->build({x.shape()}, {.seed = 3});
  Array turned(ATTN_F32, {tokens, batch});
  for (int64_t i = 0; i < turned.size(); ++i)
    turned.data<float>()[i] = rise.data<float>()[i % batch * tokens + i / batch];
  Context other;
  whole->forward(
      other,
      std::vector<Input>{x, {"doc", doc.view()}, {"rise", turned.view()}, {"drop", drop.view()}});
  CHECK(other.impl().engine.slice_plan.whole());
  CHECK(most_apart(Array::copy_of(*other.output()), y) < 1e-5);
}

TEST_CASE("tables of a call: what is missing, too much or wrong is told by name") {
  using Catch::Contains;
  const auto layer = create_attention_layer("multi_head", packed(kMultiHead));
  const Array x = wave({2, 6, 16}), doc = documents(2, 6), longer = documents(2, 7),
              flat = documents(1, 12), real = wave({2, 6});
  CHECK(message_of(*layer, {x, {"doc", doc.view()}}) == "");
  CHECK_THAT(message_of(*layer, {x}),
             Contains("table 'doc' is missing; expected whole numbers (B, K)"));
  CHECK_THAT(message_of(*layer, {x, {"doc", doc.view()}, {"doc", doc.view()}}),
             Contains("input 'doc' is set more than once"));
  CHECK_THAT(message_of(*layer, {x, {"dog", doc.view()}}),
             Contains("no input 'dog'") && Contains("'doc'") && Contains("did you mean"));
  CHECK_THAT(message_of(*layer, {x, {"doc", longer.view()}}),
             Contains("table 'doc' has shape (2, 7); expected (B, K), here (2, 6)"));
  CHECK_THAT(message_of(*layer, {x, {"doc", flat.view()}}),
             Contains("table 'doc' has shape (1, 12); expected (B, K), here (2, 6)"));
  CHECK_THAT(
      message_of(*layer, {x, {"doc", real.view()}}),
      Contains("table 'doc' is float32 of shape (2, 6); expected int32, int64, uint8 or bool "
               "(B, K)"));
  const ConstView line(doc.data<int32_t>(), Shape{12}, Shape{1});
  CHECK_THAT(message_of(*layer, {x, {"doc", line}}), Contains("table 'doc' is int32 of shape (12"));
  const auto plain = create_attention_layer("multi_head", kMultiHead);
  CHECK_THAT(message_of(*plain, {x, {"doc", doc.view()}}), Contains("no input 'doc'"));
  CHECK(plain->tables().empty());
  // Values that lead out of another table are found at the call.
  const auto nested = create_attention_layer(
      "multi_head", packed(kMultiHead, {{"mask_rule", "kind[doc[b, k]] > 0"},
                                        {"captures", {{"doc", kDoc}, {"kind", Json::list({1})}}}}));
  CHECK_THAT(message_of(*nested, {x, {"doc", doc.view()}}),
             Contains("index 1 of 'kind' ranges over [0, 1]"));
}

TEST_CASE("tables of a call: configs that cannot have them are refused") {
  using Catch::Contains;
  const auto with_table = [](const char* type, const char* rule, const Json& table,
                             const char* name = "doc") {
    Json config = kMultiHead;
    config.set("mask_rule", rule);
    config.set("captures", Json{{name, table}});
    return refused_config(type, config);
  };
  const auto table = [](const Json& shape, const Json& more = Json::object()) {
    Json t{{"shape", shape}, {"dtype", "i32"}, {"input", true}};
    for (const auto& [name, value] : more.as_object()) t.set(name, value);
    return t;
  };
  CHECK(with_table("multi_head", kPacked, kDoc) == "");
  // Rows of a batch stay independent.
  CHECK_THAT(with_table("multi_head", "doc[0, q] == doc[b, k]", kDoc),
             Contains("mask_rule:1:5: axis 1 of 'doc' is the batch, and has another index than b"));
  CHECK_THAT(with_table("multi_head", "doc[b, b] == 0", kDoc),
             Contains("'b' is not the index of an axis \"B\" here"));
  CHECK_THAT(with_table("multi_head", "doc[b, k] == b", kDoc), Contains("mask_rule:1:"));
  CHECK_THAT(with_table("multi_head", "doc[b, k] == 0", table(Json::list({8, "K"}))),
             Contains("'b' is not the index of an axis \"B\" here") && Contains("\"input\": true"));
  CHECK_THAT(with_table("multi_head", "doc[b, b] == 0", table(Json::list({"B", "B"}))),
             Contains("has the batch twice"));
  // Extents that a type cannot tell.
  CHECK_THAT(with_table("multi_head", "doc[b, q] == 0", table(Json::list({"B", "Q"}))),
             Contains("captures.doc | ") && Contains("axis \"Q\"") && Contains("write \"K\""));
  CHECK(with_table("anchor", "doc[b, q] == 0", table(Json::list({"B", "Q"}))) == "");
  CHECK_THAT(refused_config("window", {{"dim", 16},
                                       {"num_heads", 4},
                                       {"window_size", 4},
                                       {"mask_rule", "doc[b, k] == 0"},
                                       {"captures", {{"doc", kDoc}}}}),
             Contains("captures.doc | ") && Contains("axis \"B\""));
  // Their descriptions, and names that mean something else in a call.
  CHECK_THAT(with_table("multi_head", "doc[k] == 0", {{"dtype", "i32"}, {"input", true}}),
             Contains("without a shape"));
  CHECK_THAT(with_table("multi_head", "doc[k] == 0", table(Json::list({"L"}))),
             Contains("\"B\", \"H\", \"Q\" and \"K\""));
  CHECK_THAT(with_table("multi_head", "doc[k] == 0", table(Json::list({"K"}), {{"dtype", "i64"}})),
             Contains("\"float\" or \"i32\""));
  CHECK_THAT(
      with_table("multi_head", "doc[k] == 0", table(Json::list({"K"}), {{"initializer", "zeros"}})),
      Contains("has 'initializer'"));
  CHECK_THAT(
      with_table("multi_head", "doc[k] == 0", {{"shape", Json::list({4})}, {"dtype", "i32"}}),
      Contains("is a weight and has a dtype"));
  for (const char* name : {"inputs", "attention_mask", "use_causal_mask", "state"})
    CHECK_THAT(with_table("multi_head", (std::string(name) + "[b, k] == 0").c_str(), kDoc, name),
               Contains("another name"));
}

TEST_CASE("tables of a call: 65,536 tokens in documents take memory for tokens, not for pairs") {
  const int64_t tokens = 65536, each = 256;
  const auto layer = create_attention_layer("multi_head", packed({{"dim", 8}, {"num_heads", 1}}));
  const Array x = wave({1, tokens, 8});
  Array doc(ATTN_I32, {1, tokens});
  for (int64_t i = 0; i < tokens; ++i) doc.data<int32_t>()[i] = static_cast<int32_t>(i / each);
  Context ctx;
  layer->forward(ctx, std::vector<Input>{x, {"doc", doc.view()}});
  CHECK(ctx.peak_bytes() < size_t{64} * 8 * static_cast<size_t>(tokens));  // pairs: 4 GiB of bytes
  // The last document is what it is alone.
  const Array last = part_of(x, tokens - each, each), own = part_of(doc, tokens - each, each);
  const Array y = Array::copy_of(*ctx.output());
  CHECK(most_apart(part_of(y, tokens - each, each), layer->forward({last, {"doc", own.view()}})) <
        1e-5);
}

TEST_CASE("captures: slopes of ALiBi as first values") {
  Json config = kMultiHead;
  config.set("score", "s - slope[h] * abs(q - k)");
  config.set("captures",
             Json{{"slope", {{"shape", Json::list({"H"})}, {"initializer", "alibi_slopes"}}}});
  const auto layer = create_attention_layer("multi_head", config);
  layer->build({Shape{1, 4, 16}});
  const Array slopes = Array::copy_of(layer->weight("cross_attention/attn_prob/captures/slope"));
  for (int64_t h = 0; h < 4; ++h)
    CHECK(slopes.data<float>()[h] == std::exp2f(-2 * static_cast<float>(h + 1)));
  for (const WeightInfo& w : layer->weights())
    if (w.name.ends_with("slope")) CHECK(w.trainable);
  config.set("captures",
             Json{{"slope", {{"shape", Json::list({"H", 2})}, {"initializer", "alibi_slopes"}}}});
  CHECK_THAT(refused_config("multi_head", config), Catch::Contains("one axis"));
}

TEST_CASE("captures: buckets of T5 as a table of whole numbers") {
  Json config = kMultiHead;
  config.set("score", "s + rel[h, bucket[clamp(k - q, -19, 19) + 19]]");
  const auto with_buckets = [&](const Json& bucket) {
    config.set("captures", Json{{"bucket", bucket}, {"rel", {{"shape", Json::list({"H", 8})}}}});
    return config;
  };
  const auto preset = [](const Json& options) {
    return Json{{"shape", Json::list({39})},
                {"initializer", {{"class_name", "t5_buckets"}, {"config", options}}}};
  };
  for (const bool both : {true, false}) {
    std::vector<Json> list;
    for (int64_t d = -19; d < 20; ++d) list.emplace_back(sdk::programs::t5_bucket(d, 8, 12, both));
    const Json made =
        with_buckets(preset({{"num_buckets", 8}, {"max_distance", 12}, {"bidirectional", both}}));
    const auto layer = create_attention_layer("multi_head", made);
    const auto listed = create_attention_layer("multi_head", with_buckets(Json(list)));
    const Array x = wave({2, 20, 16});
    for (const auto& each : {&layer, &listed}) {
      (*each)->build({x.shape()}, {.seed = 3});
      (*each)->set_weight("cross_attention/attn_prob/captures/rel", wave({4, 8}).view());
    }
    CHECK(same_bits(layer->forward(x), listed->forward(x)));
    for (const WeightInfo& w : layer->weights())
      if (w.name.ends_with("bucket")) CHECK(!w.trainable);
  }
  // By its name alone with T5's own numbers: 16 a direction, from a distance of 8 on ever wider.
  config.set("score", "s + rel[h, bucket[clamp(k - q, -127, 127) + 127]]");
  config.set("captures",
             Json{{"bucket", {{"shape", Json::list({255})}, {"initializer", "t5_buckets"}}},
                  {"rel", {{"shape", Json::list({"H", 32})}}}});
  const auto named = create_attention_layer("multi_head", config);
  named->build({Shape{1, 4, 16}});
  const Array buckets = Array::copy_of(named->weight("cross_attention/attn_prob/captures/bucket"));
  CHECK(buckets.to_vector<int32_t>()[127 - 7] == 7);
  CHECK(buckets.to_vector<int32_t>()[127 + 127] == 31);
  config.set("score", "s + rel[h, bucket[clamp(k - q, -19, 19) + 19]]");
  const auto refused = [&](const Json& bucket) {
    return refused_config("multi_head", with_buckets(bucket));
  };
  CHECK_THAT(refused(preset({{"num_bucket", 8}})), Catch::Contains("'num_bucket'"));
  CHECK_THAT(refused(preset({{"num_buckets", 2}})), Catch::Contains("two for a direction"));
  CHECK_THAT(refused(preset({{"max_distance", 8}})), Catch::Contains("above 8"));
  CHECK_THAT(refused({{"shape", Json::list({38})}, {"initializer", "t5_buckets"}}),
             Catch::Contains("[2 L - 1]"));
  Json trained = preset(Json::object());
  trained.set("trainable", true);
  CHECK_THAT(refused(trained), Catch::Contains("whole numbers"));
}

}  // namespace attn::testing::call_tables
