// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "tests/tools/layers.hpp"

using namespace attn;
using namespace attn::test;

namespace {

constexpr int64_t kDim = 24;

Layer small(std::initializer_list<Json::Member> more = {}) {
  Json parameters{{"dim", kDim}, {"num_heads", 4}, {"num_kv_heads", 2}, {"max_seq_len", 32}};
  for (const Json::Member& m : more) parameters.set(m.first, m.second);
  return make("decoder", parameters, {{2, 13, kDim}});
}
Array whole(const Shape& shape, std::initializer_list<int64_t> values) {
  Array a = Array::uninitialized(ATTN_I64, shape);
  std::copy(values.begin(), values.end(), a.data<int64_t>());
  return a;
}

}  // namespace

TEST_CASE("decoder: every rule decodes to what one call gives") {
  for (const auto& rules : std::vector<std::vector<Json::Member>>{
           {},
           {{"use_sinks", true}, {"softcap", 2.0}},
           {{"window", 40}},
           {{"qk_norm_type", "rms_norm"}, {"qk_norm_over", "width"}},
           {{"qk_norm_type", "rms_norm"}, {"qk_norm_place", "after_rope"}},
           {{"qk_norm_type", "rms_norm"},
            {"qk_norm_over", "width"},
            {"qk_norm_place", "after_rope"}},
           {{"qk_norm_type", "layer_norm"}, {"use_qk_head_scale", true}},
           {{"use_output_gate", true}, {"use_query_bias", true}, {"use_output_bias", true}},
           {{"rope_style", "interleaved"}, {"rope_percentage", 0.5}, {"scale", 0.3}},
           {{"rope_scaling", Json{{"rope_type", "yarn"},
                                  {"factor", 4},
                                  {"original_max_position_embeddings", 8}}}}}) {
    Json parameters{{"dim", kDim}, {"num_heads", 4}, {"num_kv_heads", 2}, {"max_seq_len", 32}};
    for (const Json::Member& m : rules) parameters.set(m.first, m.second);
    INFO(parameters.dump());
    check_decoding(*make("decoder", parameters, {{2, 13, kDim}}), random({2, 13, kDim}, 1));
  }
}

TEST_CASE("decoder: windows decode to what one call gives") {
  const Array x = random({2, 13, kDim}, 1);
  Array padding = filled({2, 13}, 1);
  for (int64_t k = 0; k < 4; ++k) padding.at<float>({1, k}) = 0;
  for (const int64_t window : {1, 4, 12, 13}) {
    const Layer layer = small({{"window", window}, {"use_sinks", true}, {"softcap", 2.0}});
    const auto state = layer->make_state(2);
    for (const std::vector<int64_t>& chunks : std::vector<std::vector<int64_t>>{
             {13}, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, {5, 1, 1, 1, 1, 4}, {2, 11}}) {
      INFO(window << ", " << chunks.size() << " chunks");
      state->reset();
      CHECK(distance(in_chunks(*layer, *state, x, chunks), layer->forward(x)) < kSameMath);
      state->reset();
      CHECK(distance(in_chunks(*layer, *state, x, chunks, &padding), layer->forward({x, padding})) <
            kSameMath);
    }
  }
}

TEST_CASE("decoder: a window keeps its own entries alone") {
  const Layer layer = small({{"window", 4}, {"max_seq_len", 4096}});
  const auto state = layer->make_state(2);
  const Array x = random({2, 13, kDim}, 2);
  in_chunks(*layer, *state, x, {9});
  const size_t bytes = state->bytes();
  CHECK(bytes == 2 * 2 * 2 * 4 * 6 * sizeof(float));  // keys and values: batch, heads, window, head
  in_chunks(*layer, *state, x, {13});
  CHECK(state->bytes() == bytes);
  CHECK(state->length() == 22);
  CHECK_THAT(refusal([&] { return state->truncate(3), 0; }), says("running value"));
  // Masks are over all positions so far, also those that are forgotten.
  const auto masked = [&](int64_t keys) {
    const auto fresh = layer->make_state(2);
    in_chunks(*layer, *fresh, cut(x, 1, 0, 9), {9});
    const Array piece = cut(x, 1, 9, 10), keep = filled({2, keys}, 1);
    return layer->forward({piece, keep}, {.state = fresh.get()});
  };
  CHECK_THAT(refusal([&] { return masked(5); }), says("expected 10 keys"));
  CHECK(refusal([&] { return masked(10); }).empty());
}

TEST_CASE("decoder: a window sees what it says") {
  const Layer layer = small({{"window", 3}});
  Array x = random({2, 13, kDim}, 3), other = x.clone();
  for (int64_t j = 0; j < kDim; ++j) other.at<float>({0, 5, j}) = 50;
  const Array a = layer->forward(x), b = layer->forward(other);
  for (int64_t i = 0; i < 13; ++i) {
    INFO(i);
    const bool sees = i >= 5 && i < 8;
    CHECK((distance(cut(a, 1, i, i + 1), cut(b, 1, i, i + 1)) > 0) == sees);
  }
}

TEST_CASE("decoder: positions by row, as padding on the left needs them") {
  const Layer layer = small({{"use_sinks", true}});
  const Array x = random({1, 6, kDim}, 4);
  Array padded = random({1, 9, kDim}, 5), keep = filled({1, 9}, 1);
  for (int64_t i = 0; i < 3; ++i) keep.at<float>({0, i}) = 0;
  for (int64_t i = 0; i < 6 * kDim; ++i) padded.data<float>()[3 * kDim + i] = x.data<float>()[i];
  const Array at = whole({1, 9}, {0, 0, 0, 0, 1, 2, 3, 4, 5});
  const Array y = layer->forward({padded, keep, at});
  CHECK(distance(cut(y, 1, 3, 9), layer->forward(x)) < kSameMath);
  CHECK_THAT(refusal([&] {
               return layer->forward({padded, keep, whole({1, 2}, {0, 1})});
             }),
             says("positions"));
  CHECK_THAT(refusal([&] {
               return layer->forward({padded, keep, filled({1, 9}, 1)});
             }),
             says("positions"));
}

TEST_CASE("decoder: positions by axis") {
  const Json sections{{"rope_type", "default"}, {"mrope_section", Json::list({1, 2})}};
  const Layer layer = small({{"rope_scaling", sections}}), plain = small();
  for (const WeightInfo& w : plain->weights()) {
    if (!w.not_stored) layer->set_weight(w.name, plain->weight(w.name));
  }
  const Array x = random({1, 3, kDim}, 6);
  const auto call = [&](const Array& at) {
    return layer->forward({{"inputs", x.view()}, {"positions", at.view()}});
  };
  const Array equal = whole({1, 2, 3}, {0, 1, 2, 0, 1, 2});
  CHECK(distance(call(equal), plain->forward(x)) < kSameMath);
  CHECK(distance(call(whole({1, 2, 3}, {0, 1, 2, 0, 5, 9})), plain->forward(x)) > 1000);
  CHECK_THAT(refusal([] {
               return small({{"rope_scaling", Json{{"rope_type", "default"},
                                                   {"mrope_section", Json::list({1, 1})}}}});
             }),
             says("mrope_section that sums to the pairs of a head"));
}

TEST_CASE("decoder: dynamic scaling takes the largest position of a call") {
  const Json scaling{
      {"rope_type", "dynamic"}, {"factor", 2}, {"original_max_position_embeddings", 8}};
  const Layer layer = small({{"rope_scaling", scaling}}), plain = small();
  for (const WeightInfo& w : plain->weights())
    if (!w.not_stored) layer->set_weight(w.name, plain->weight(w.name));
  const Array x = random({2, 13, kDim}, 7);
  CHECK(distance(layer->forward(cut(x, 1, 0, 8)), plain->forward(cut(x, 1, 0, 8))) == 0);
  CHECK(distance(layer->forward(x), plain->forward(x)) > 1000);
  // In pieces the first keys keep what they got, by the definition.
  const auto state = layer->make_state(2);
  CHECK(distance(in_chunks(*layer, *state, x, {8, 5}), layer->forward(x)) > 1000);
}

TEST_CASE("decoder: sinks take a share that meets no value") {
  const Layer layer = small({{"use_sinks", true}});
  Array sinks = filled({4}, 40);
  layer->set_weight("sinks", sinks);
  const Array y = layer->forward(random({2, 13, kDim}, 8));
  for (int64_t i = 0; i < y.size(); ++i) CHECK(std::fabs(y.data<float>()[i]) < 1e-9);
}

TEST_CASE("decoder: what is refused") {
  CHECK_THAT(refusal([] {
               return small({{"rope_scaling", Json{{"factor", 2}}}});
             }),
             says("rope_type"));
  CHECK_THAT(refusal([] {
               return small({{"rope_scaling", Json{{"type", "su"}}}});
             }),
             says("no 'rope_type', of which 'type' is the older name; expected"));
  CHECK_THAT(refusal([] {
               return small({{"rope_scaling", Json{{"rope_type", "yam"}}}});
             }),
             says("yarn"));
  CHECK_THAT(
      refusal([] {
        small({{"rope_scaling", Json{{"rope_type", "linear"}, {"factor", 2}, {"alpha", 1}}}});
      }),
      says("alpha"));
  CHECK_THAT(refusal([] {
               return small({{"rope_scaling", Json{{"rope_type", "longrope"},
                                                   {"short_factor", Json::list({1.0})},
                                                   {"long_factor", Json::list({1.0})},
                                                   {"original_max_position_embeddings", 8}}}});
             }),
             says("as many numbers in short_factor as pairs of a head turn"));
  const auto refused = [](Json parameters) {
    parameters.set("dim", 16), parameters.set("num_heads", 2), parameters.set("num_kv_heads", 1);
    return refusal([&] {
      validate_attention_config("decoder", parameters);
      return 0;
    });
  };
  const Json eight = Json::list({1, 1.5, 2, 3});
  const auto longrope = [&](const Json& factors) {
    return Json{{"rope_type", "longrope"},
                {"short_factor", factors},
                {"long_factor", factors},
                {"original_max_position_embeddings", 8}};
  };
  CHECK(refused({{"rope_scaling", longrope(eight)}}).empty());
  CHECK_THAT(refused({{"rope_scaling", longrope(eight)}, {"rope_percentage", 0.5}}),
             says("half of its components that rotate"));
  CHECK_THAT(refused({{"rope_theta", 500.0}, {"rope_percentage", 0.0}}),
             says("'rope_theta' (500.0) has no effect here, only with rope_percentage above 0"));
  CHECK_THAT(refused({{"qk_norm_place", "after_rope"}}), says("qk_norm_type or use_qk_head_scale"));
  CHECK_THAT(refused({{"qk_norm_over", "width"}, {"use_qk_head_scale", true}}),
             says("only with qk_norm_type"));
  CHECK(refused({{"qk_norm_over", "width"}, {"qk_norm_type", "rms_norm"}}).empty());
  CHECK_THAT(refusal([] {
               return small()->forward(random({1, 33, kDim}, 1));
             }),
             says("max_seq_len (32)"));
}
