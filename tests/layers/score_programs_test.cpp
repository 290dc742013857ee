// SPDX-License-Identifier: Apache-2.0
//
// Score programs and mask rules in configs: `score`, `mask_rule` and `captures`.
#include <catch2/catch.hpp>

#include <cmath>
#include <filesystem>

#include "tests/layers/layers.hpp"

namespace attn::testing {
namespace {

const Json kSmall{{"dim", 16}, {"num_heads", 4}};

// What a layer refuses when it is made: the parameter, and the message.
std::string refused(const char* type, const Json& config) {
  try {
    static_cast<void>(create_attention_layer(type, config));
  } catch (const InvalidArgument& e) {
    return e.details().parameter + " | " + e.what();
  }
  return "";
}

Results results(const Json& config, const std::vector<Argument>& arguments = {},
                const std::string& type = "multi_head") {
  const auto layer = create_attention_layer(type, config);
  layer->build({Shape{2, 37, 16}}, {.seed = 5});
  Context ctx;
  const Array x = wave({2, 37, 16});
  return forward_and_gradients(*layer, ctx, {&x}, {.arguments = arguments});
}

double distance(const Array& a, const Array& b) {
  double d = 0;
  for (int64_t i = 0; i < a.size(); ++i)
    d = std::max(d, std::fabs(double{a.data<float>()[i]} - double{b.data<float>()[i]}));
  return d;
}

}  // namespace

TEST_CASE("score programs in configs: a text that says what a flag says has its bits") {
  for (const auto& [sample, causal] : counting_types()) {
    if (!causal) continue;
    CAPTURE(sample.type);
    CHECK(results(with(sample.config, {{"mask_rule", "k <= q"}}),
                  {Argument("use_causal_mask", false)}, sample.type) ==
          results(sample.config, {Argument("use_causal_mask", true)}, sample.type));
  }
  CHECK(results(with(kSmall, {{"mask_rule", "q - k <= L and k - q <= R"},
                              {"captures", {{"L", 5}, {"R", 2}}}})) ==
        results(with(kSmall, {{"window_left", 5}, {"window_right", 2}})));
  const Results text = results(with(kSmall, {{"score", "softcap(s, 0.5)"}})),
                flag = results(with(kSmall, {{"softcap", 0.5}})), none = results(kSmall);
  REQUIRE(text.values.size() == flag.values.size());
  for (size_t i = 0; i < text.values.size(); ++i)
    CHECK(distance(text.values[i], flag.values[i]) < 1e-5);
  CHECK(distance(text.values[0], none.values[0]) > 1e-4);
}

TEST_CASE("score programs in configs: a sequence in parts is the sequence") {
  const Json more{{"score", "s - slope[h] * (q - k) + (q % 3 == 1 ? 0.5 : 0.0)"},
                  {"mask_rule", "q - k < 6 or k < n"},
                  {"captures", {{"slope", Json::list({0.5, 0.25, 0.125, 0.0625})}, {"n", 2}}}};
  const Argument causal("use_causal_mask", true);
  const Array x = wave({2, 20, 16});
  for (const auto& [sample, asks] : counting_types()) {
    CAPTURE(sample.type);
    const auto layer = create_attention_layer(sample.type, with(sample.config, more));
    const Array whole = layer->forward(x, {.arguments = {&causal, asks ? 1u : 0u}});
    const auto state = layer->make_state(2, 20);
    double worst = 0;
    for (int64_t begin = 0; begin < 20; begin += 4) {
      Array part(ATTN_F32, {2, 4, 16});
      const auto copy = [&](auto&& f) {
        for (int64_t b = 0; b < 2; ++b)
          for (int64_t i = 0; i < 4 * 16; ++i) f(b * 64 + i, b * 320 + begin * 16 + i);
      };
      copy([&](int64_t to, int64_t from) { part.data<float>()[to] = x.data<float>()[from]; });
      const Array y = layer->forward(part, {.state = state.get()});
      copy([&](int64_t i, int64_t j) {
        worst = std::max(worst, std::fabs(double{y.data<float>()[i]} - whole.data<float>()[j]));
      });
    }
    CHECK(worst < 1e-5);
  }
}

TEST_CASE("score programs in configs: what is wrong is refused when a layer is made") {
  using Catch::Contains;
  const auto multi = [](const Json& more) { return refused("multi_head", with(kSmall, more)); };
  CHECK(multi({{"score", "s"}, {"captures", Json::object()}}) == "");
  CHECK_THAT(multi({{"score", "s + (q - k) / 8"}}),
             Contains("score | score:1:5: the quotient of two whole numbers"));
  CHECK_THAT(multi({{"mask_rule", "k <= q & q - k < 4"}}),
             Contains("mask_rule | mask_rule:1:8:") && Contains("k <= q & q - k < 4\n"));
  CHECK_THAT(multi({{"mask_rule", ""}}), Contains("mask_rule:1:1: the text is empty"));
  CHECK_THAT(multi({{"score", "s * alfa"}, {"captures", {{"alpha", 0.5}}}}),
             Contains("score:1:5: 'alfa' is unknown") && Contains("alpha"));
  // What layers cannot tell: extents where a state has parts of them, examples, positions of a decoder's queries.
  CHECK_THAT(multi({{"mask_rule", "k < K - 1"}}),
             Contains("mask_rule:1:5: layers of this type cannot tell 'K'; expected of the "
                      "variables h, q, k, H"));
  CHECK_THAT(multi({{"score", "s + 1.0 * b"}}),
             Contains("score:1:11: 'b' is not the index of an axis \"B\" here"));
  CHECK_THAT(refused("window",
                     {{"dim", 16}, {"num_heads", 4}, {"window_size", 4}, {"score", "s + 1.0 * b"}}),
             Contains("score:1:11: layers of this type cannot tell 'b'"));
  CHECK_THAT(refused("perceiver", with(kSmall, {{"mask_rule", "k <= q"}})),
             Contains("mask_rule:1:6: layers of this type cannot tell 'q'"));
  CHECK(refused("anchor", with(kSmall, {{"mask_rule", "k < K - 1"}})) == "");
  CHECK_THAT(refused("joint", with(kSmall, {{"mask_rule", "q < Q - 1"}})),
             Contains("cannot tell 'Q'; expected of the variables h, q, k, H, K"));
  // Captures.
  const auto captured = [&](const Json& x) {
    return multi({{"score", "s"}, {"captures", {{"x", x}}}});
  };
  CHECK_THAT(captured("text"), Contains("captures.x | capture 'x' is \"text\"; expected a number"));
  CHECK_THAT(captured(Json::list({Json::list({1, 2}), Json::list({3})})), Contains("equally long"));
  CHECK_THAT(captured(Json::list({})), Contains("equally long"));
  CHECK_THAT(captured(3000000000), Contains("whole numbers within 32 bits"));
  CHECK_THAT(captured({{"shape", Json::list({"B"})}}), Contains("\"H\", the number of heads"));
  CHECK_THAT(captured({{"shape", Json::list({2})}, {"values", Json::list({1, 2})}}),
             Contains("values, or a shape"));
  CHECK_THAT(captured({{"shape", Json::list({2})}, {"initialiser", "ones"}}),
             Contains("did you mean 'initializer'"));
  CHECK_THAT(multi({{"score", "s"}, {"captures", {{"q", 1}}}}), Contains("captures.q | "));
  CHECK_THAT(multi({{"captures", {{"x", 1}}}}), Contains("captures | Parameter 'captures' has no "
                                                         "effect without ['score', 'mask_rule']"));
  CHECK(multi({{"score", "s - x"}, {"captures", {{"x", 1}, {"y", 2}}}}) ==
        "captures.y | capture 'y' is read by no text; expected a name that one of ['score', "
        "'mask_rule'] uses; use it there, or remove it");
  CHECK_THAT(multi({{"score", "s - x"}, {"captures", {{"x", 1}, {"s_x", Json::list({1, 2})}}}}),
             Contains("captures.s_x | "));
  CHECK(multi({{"score", "s - x"}, {"mask_rule", "k < y"}, {"captures", {{"x", 1}, {"y", 2}}}}) ==
        "");
  // Names of extensions are no part of the list that other mistakes show.
  CHECK_THAT(multi({{"no_such", 1}}), !Contains("mask_rule"));
  for (const Json& axis : {Json(-2), Json::list({-2, -1}), Json(1)}) {
    CHECK_THAT(multi({{"score", "s"}, {"probability_config", {{"axis", axis}}}}),
               Contains("need probabilities over the keys"));
    CHECK_THAT(multi({{"window_left", 2}, {"probability_config", {{"axis", axis}}}}),
               Contains("need probabilities over the keys"));
  }
  for (const Json& axis : {Json(-1), Json(3), Json::list({-1})})
    CHECK(multi({{"score", "s"}, {"probability_config", {{"axis", axis}}}}) == "");
  // What is too long is shown where it is.
  CHECK_THAT(multi({{"score", std::string(4096, ' ') + "s + 1.0"}}),
             Contains("score:1:4097: the text has 4103 bytes; expected at most 4096") &&
                 Contains("s + 1.0\n"));
  // Ranges are known with the shapes.
  const auto layer = create_attention_layer(
      "multi_head", with(kSmall, {{"score", "s + rel[q - k]"},
                                  {"captures", {{"rel", Json::list({0.5, 1.0, 1.5})}}}}));
  CHECK_THROWS_WITH(layer->forward(wave({1, 4, 16})),
                    Contains("score:1:5: index 1 of 'rel' ranges over [-3, 3]") ||
                        Contains("score:1:9: index 1 of 'rel' ranges over [-3, 3]"));
}

TEST_CASE("score programs in configs: captured weights are trained, kept and read again") {
  const Json config =
      with(kSmall, {{"score", "s * gain[h] + table[bucket[abs(q - k) % 4]]"},
                    {"captures",
                     {{"gain", {{"shape", Json::list({"H"})}, {"initializer", "ones"}}},
                      {"table", {{"values", Json::list({0.5, 0.25, 2})}}},
                      {"bucket", Json::list({0, 1, 2, 2})}}}});
  const auto layer = create_attention_layer("multi_head", config);
  layer->build({Shape{1, 6, 16}}, {.seed = 5});
  const std::string site = "cross_attention/attn_prob/captures/";
  CHECK(layer->config().at("captures") == config.at("captures"));
  CHECK(layer->weight(site + "gain").shape[0] == 4);
  CHECK(layer->weight(site + "bucket").dtype == ATTN_I32);
  CHECK(Array::copy_of(layer->weight(site + "table")).data<float>()[2] == 2);
  size_t trained = 0;
  for (const WeightInfo& w : layer->weights())
    if (w.name.starts_with(site)) trained += w.trainable;
  CHECK(trained == 2);
  Context ctx;
  const Array x = wave({1, 6, 16});
  const Results r = forward_and_gradients(*layer, ctx, {&x}, {});
  CHECK(r.values.size() == 2 + 2 + 2);  // output and input, kernels, two tables

  const std::string path =
      (std::filesystem::temp_directory_path() / "attn_score_programs_test.safetensors").string();
  layer->set_weight(site + "gain", Array::from<float>({3, 3, 3, 3}, {4}).view());
  layer->save(path);
  const auto again = load_attention(path);
  CHECK(same_bits(again->forward(x), layer->forward(x)));
  CHECK(Array::copy_of(again->weight(site + "gain")).data<float>()[0] == 3);
  std::filesystem::remove(path);
}

}  // namespace attn::testing
