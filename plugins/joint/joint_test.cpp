// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/layers.hpp"

#include <cmath>

using namespace attn;
using namespace attn::test;

namespace {

Layer small(std::initializer_list<Json::Member> more = {}, int64_t width = 24) {
  Json parameters{{"dim", 24}, {"num_heads", 4}};
  for (const Json::Member& m : more) parameters.set(m.first, m.second);
  return make("joint", parameters, {{2, 9, 24}, {2, 5, width}});
}

std::vector<NamedOutput> both(Attention& layer, const std::vector<Input>& inputs) {
  const Argument asked("return_context", true);
  return layer.forward_all(inputs, {.arguments = {&asked, 1}});
}

}  // namespace

TEST_CASE("joint: two streams with the same weights are one sequence") {
  const Layer layer = small({{"qk_norm_type", nullptr}});
  const Layer plain =
      make("multi_head", {{"dim", 24}, {"num_heads", 4}, {"use_bias", true}}, {{2, 14, 24}});
  std::vector<Array> kernels, biases;
  for (const auto& [own, other] :
       {std::pair("to_q", "add_q_proj"), std::pair("to_k", "add_k_proj"),
        std::pair("to_v", "add_v_proj"), std::pair("to_out", "to_add_out")}) {
    const Array kernel = random({24, 24}, kernels.size() + 1, 0.4F),
                bias = random({24}, kernels.size() + 11);
    for (const char* name : {own, other}) {
      layer->set_weight(std::string(name) + "/kernel", kernel);
      layer->set_weight(std::string(name) + "/bias", bias);
    }
    kernels.push_back(kernel.clone());
    biases.push_back(bias.clone());
  }
  plain->set_weight("cross_attention/proj/kernel", kernels.back());
  plain->set_weight("cross_attention/proj/bias", biases.back());
  kernels.pop_back();
  biases.pop_back();
  plain->set_weight("cross_attention/qkv/kernel", joined(kernels, 1));
  plain->set_weight("cross_attention/qkv/bias", joined(biases, 0));
  const Array x = random({2, 9, 24}, 5), y = random({2, 5, 24}, 6);
  std::vector<Array> parts;
  parts.push_back(x.clone());
  parts.push_back(y.clone());
  const Array sequence = joined(parts, 1), whole = plain->forward(sequence);
  const auto found = both(*layer, {x, y});
  REQUIRE(found.size() == 2);
  CHECK(found[1].name == "context_output");
  CHECK(distance(found[0].value, cut(whole, 1, 0, 9)) < kSameMath);
  CHECK(distance(found[1].value, cut(whole, 1, 9, 14)) < kSameMath);
}

TEST_CASE("joint: what is not asked for is not computed, and changes nothing") {
  const Layer layer = small({}, 16);
  const Array x = random({2, 9, 24}, 7), y = random({2, 5, 16}, 8);
  const auto found = both(*layer, {x, y});
  CHECK(found[1].value.shape() == Shape{2, 5, 16});
  CHECK(distance(layer->forward({x, y}), found[0].value) < kSameMath);
  const Layer last = small({{"context_pre_only", true}}, 16);
  for (const WeightInfo& w : last->weights()) last->set_weight(w.name, layer->weight(w.name));
  CHECK(last->weights().size() + 5 == layer->weights().size());
  CHECK(distance(last->forward({x, y}), layer->forward({x, y})) == 0);
  CHECK_THAT(refusal([&] { return both(*last, {x, y}); }), says("context_pre_only"));
}

TEST_CASE("joint: padding of the context is read by neither stream") {
  const Layer layer = small();
  const Array x = random({2, 9, 24}, 9);
  Array y = random({2, 5, 24}, 10);
  Array mask = filled({2, 5}, 1);
  mask.at<float>({0, 3}) = mask.at<float>({0, 4}) = 0;
  for (int64_t k = 0; k < 5; ++k) mask.at<float>({1, k}) = 0;
  const auto before = both(*layer, {x, y, mask});
  for (int64_t k = 3; k < 5; ++k)
    for (int64_t j = 0; j < 24; ++j) y.at<float>({0, k, j}) = 9;
  const auto after = both(*layer, {x, y, mask});
  CHECK(distance(after[0].value, before[0].value) == 0);
  CHECK(distance(cut(after[1].value, 1, 0, 3), cut(before[1].value, 1, 0, 3)) == 0);
  // A context that is all padding leaves the image to itself: the context may be anything.
  const Array other = random({2, 5, 24}, 11);
  CHECK(distance(cut(layer->forward({x, other, mask}), 0, 1, 2), cut(before[0].value, 0, 1, 2)) ==
        0);
}

TEST_CASE("joint: queries and keys of both streams turn by their positions on each axis") {
  // One head of size 8: one pair by the first axis, three by the second, frequencies of their own; Flux has three axes.
  const Json scaling{
      {"rope_type", "default"}, {"mrope_section", Json::list({1, 3})}, {"mrope_axial", true}};
  const Layer layer = make("joint",
                           {{"dim", 8},
                            {"num_heads", 1},
                            {"qk_norm_type", nullptr},
                            {"use_bias", false},
                            {"rope_theta", 50.0},
                            {"rope_scaling", scaling}},
                           {{1, 3, 8}, {1, 2, 8}});
  const Array x = random({1, 3, 8}, 14), y = random({1, 2, 8}, 15);
  Array at = Array::uninitialized(ATTN_I64, {1, 2, 3}),
        other = Array::uninitialized(ATTN_I32, {1, 2, 2});
  const int64_t own[] = {0, 5, 1, 7, 2, 2};
  const int32_t text[] = {3, 0, 4, 9};
  std::copy(own, own + 6, at.data<int64_t>());
  std::copy(text, text + 4, other.data<int32_t>());
  const auto expected = [&](bool image, bool context) {
    std::vector<std::vector<double>> q, k, v;
    for (int64_t t = 0; t < 5; ++t) {
      const bool first = t < 3;
      const auto project = [&](const char* name, bool turned) {
        const Array w = weight(*layer, std::string(name) + "/kernel");
        std::vector<double> z(8), out(8);
        for (int64_t j = 0; j < 8; ++j)
          for (int64_t i = 0; i < 8; ++i)
            z[static_cast<size_t>(j)] +=
                static_cast<double>(first ? x.at<float>({0, t, i}) : y.at<float>({0, t - 3, i})) *
                static_cast<double>(w.at<float>({i, j}));
        if (!turned) return z;
        for (size_t p = 0; p < 4; ++p) {
          const size_t axis = p == 0 ? 0 : 1;
          double place = 0;
          if (first && image) place = static_cast<double>(own[3 * axis + static_cast<size_t>(t)]);
          if (!first && context)
            place = static_cast<double>(text[2 * axis + static_cast<size_t>(t - 3)]);
          const double angle =
              place * (p == 0 ? 1 : std::pow(50, -2 * static_cast<double>(p - 1) / 6));
          out[2 * p] = z[2 * p] * std::cos(angle) - z[2 * p + 1] * std::sin(angle);
          out[2 * p + 1] = z[2 * p] * std::sin(angle) + z[2 * p + 1] * std::cos(angle);
        }
        return out;
      };
      q.push_back(project(first ? "to_q" : "add_q_proj", true));
      k.push_back(project(first ? "to_k" : "add_k_proj", true));
      v.push_back(project(first ? "to_v" : "add_v_proj", false));
    }
    Array out(ATTN_F32, {1, 5, 8});
    for (size_t i = 0; i < 5; ++i) {
      std::vector<double> mixed(8);
      double sum = 0;
      for (size_t j = 0; j < 5; ++j) {
        double s = 0;
        for (size_t e = 0; e < 8; ++e) s += q[i][e] * k[j][e];
        s = std::exp(s / std::sqrt(8.0));
        sum += s;
        for (size_t e = 0; e < 8; ++e) mixed[e] += s * v[j][e];
      }
      const Array w = weight(*layer, i < 3 ? "to_out/kernel" : "to_add_out/kernel");
      for (int64_t e = 0; e < 8; ++e) {
        double z = 0;
        for (int64_t r = 0; r < 8; ++r)
          z += mixed[static_cast<size_t>(r)] / sum * static_cast<double>(w.at<float>({r, e}));
        out.at<float>({0, static_cast<int64_t>(i), e}) = static_cast<float>(z);
      }
    }
    return out;
  };
  const auto check = [&](const std::vector<Input>& inputs, const Array& whole) {
    const auto found = both(*layer, inputs);
    CHECK(distance(found[0].value, cut(whole, 1, 0, 3)) < kSameMath);
    CHECK(distance(found[1].value, cut(whole, 1, 3, 5)) < kSameMath);
  };
  const Input a("inputs", x.view()), b("context", y.view()), p("positions", at.view()),
      o("context_positions", other.view());
  check({a, b}, expected(false, false));
  check({a, b, p}, expected(true, false));
  check({a, b, o}, expected(false, true));
  check({a, b, p, o}, expected(true, true));
}

TEST_CASE("joint: only distances of positions count, and which are refused") {
  const Layer layer = small();
  const Array x = random({2, 9, 24}, 16), y = random({2, 5, 24}, 17);
  const auto call = [&](const Shape& shape, int64_t first, int64_t context) {
    Array at = Array::uninitialized(ATTN_I64, shape),
          other = Array::uninitialized(ATTN_I64, {1, 5});
    for (int64_t i = 0; i < at.size(); ++i) at.data<int64_t>()[i] = first + i;
    for (int64_t i = 0; i < 5; ++i) other.data<int64_t>()[i] = context + i;
    return layer->forward({{"inputs", x.view()},
                           {"context", y.view()},
                           {"positions", at.view()},
                           {"context_positions", other.view()}});
  };
  const Array base = call({1, 9}, 5, 0);
  CHECK(distance(call({1, 9}, 25, 20), base) < kSameMath);
  CHECK(distance(call({1, 9}, 6, 0), base) > 1000);
  CHECK_THAT(refusal([&] {
               return call({2, 8}, 0, 0);
             }),
             says("positions of shape (2, 8) do not fit; expected (2, 9)"));
  CHECK_THAT(refusal([&] { return call({2, 3, 9}, 0, 0); }), says("here 0"));
  CHECK_THAT(refusal([&] { return call({1, 9}, -1, 0); }), says("position -1 is out of range"));
  CHECK_THAT(refusal([] {
               return small({{"rope_scaling", Json{{"rope_type", "dynamic"},
                                                   {"factor", 2},
                                                   {"original_max_position_embeddings", 8}}}});
             }),
             says("not dynamic or longrope"));
}

TEST_CASE("joint: what a call refuses") {
  const Layer layer = small({}, 16);
  const Array x = random({2, 9, 24}, 12), y = random({2, 5, 16}, 13);
  CHECK_THAT(refusal([&] { return layer->forward(x); }), says("context"));
  CHECK_THAT(refusal([&] {
               return layer->forward({x, x});
             }),
             says("context has last dimension 24, but the layer was built for 16"));
  CHECK_THAT(refusal([&] { return layer->forward({x, random({1, 5, 16}, 1)}); }), says("batch"));
  CHECK_THAT(refusal([&] {
               return layer->forward({x, y, filled({2, 9}, 1)});
             }),
             says("attention_mask of shape (2, 9) must be (2, 5)"));
}
