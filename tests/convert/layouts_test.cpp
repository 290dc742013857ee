// SPDX-License-Identifier: Apache-2.0
//
// Where each number of a module goes, element by element, written down apart from the tables.
#include "tests/convert/convert.hpp"

namespace attn::test {

TEST_CASE("convert: torch's fused projection") {
  const Module m = torch_module();
  const auto made = convert_attention(m.set(), {.variables = {{"num_heads", 2}}});
  CHECK(made.found.form == "torch");
  CHECK(made.found.prefix.empty());
  CHECK(made.layer->type().id == std::string("multi_head_cross"));
  CHECK(made.layer->config().at("use_bias") == Json(true));
  const auto in = [&](int64_t row, int64_t column) {
    return m.arrays.at("in_proj_weight").at<float>({row, column});
  };
  const Array q = Array::copy_of(made.layer->weight("q/kernel"));
  const Array kv = Array::copy_of(made.layer->weight("kv/kernel"));
  const Array bias = Array::copy_of(made.layer->weight("kv/bias"));
  const Array o = Array::copy_of(made.layer->weight("proj/kernel"));
  for (int64_t i = 0; i < 8; ++i)
    for (int64_t j = 0; j < 8; ++j) {
      CHECK(q.at<float>({i, j}) == in(j, i));
      CHECK(kv.at<float>({i, j}) == in(8 + j, i));
      CHECK(kv.at<float>({i, 8 + j}) == in(16 + j, i));
      CHECK(o.at<float>({i, j}) == m.arrays.at("out_proj.weight").at<float>({j, i}));
      CHECK(bias.at<float>({8 + j}) == m.arrays.at("in_proj_bias").at<float>({16 + j}));
    }
}

TEST_CASE("convert: kernels of keras have an axis for the heads") {
  // 4 query heads of 3, 2 key heads, and a width of 12.
  const Module m{{"gqa/query/kernel", {12, 4, 3}},
                 {"gqa/query/bias", {4, 3}},
                 {"gqa/key/kernel", {12, 2, 3}},
                 {"gqa/key/bias", {2, 3}},
                 {"gqa/value/kernel", {12, 2, 3}},
                 {"gqa/value/bias", {2, 3}},
                 {"gqa/attention_output/kernel", {4, 3, 12}},
                 {"gqa/attention_output/bias", {12}}};
  const auto made = convert_attention(m.set());
  CHECK(made.found.prefix == "gqa/");
  CHECK(made.layer->type().id == std::string("group_query"));
  CHECK(made.layer->config().at("num_kv_heads") == Json(2));
  CHECK(made.layer->config().at("num_heads") == Json(4));
  const Array k = Array::copy_of(made.layer->weight("w_k/kernel"));
  const Array o = Array::copy_of(made.layer->weight("w_o/kernel"));
  for (int64_t i = 0; i < 12; ++i)
    for (int64_t j = 0; j < 3; ++j) {
      for (int64_t h = 0; h < 2; ++h)
        CHECK(k.at<float>({i, 3 * h + j}) == m.arrays.at("gqa/key/kernel").at<float>({i, h, j}));
      for (int64_t h = 0; h < 4; ++h)
        CHECK(o.at<float>({3 * h + j, i}) ==
              m.arrays.at("gqa/attention_output/kernel").at<float>({h, j, i}));
    }
}

TEST_CASE("convert: keras with widths of their own becomes a type that takes them") {
  const Module m{{"query/kernel", {10, 2, 3}},
                 {"key/kernel", {6, 2, 3}},
                 {"value/kernel", {7, 2, 5}},
                 {"attention_output/kernel", {2, 5, 10}}};
  const auto made = convert_attention(m.set());
  CHECK(made.layer->type().id == std::string("hopfield"));
  CHECK(made.layer->config().at("use_bias") == Json(false));
  CHECK(made.layer->weight("value_dense/kernel").shape == Shape{7, 10});
  const Array y = made.layer->forward(
      {{"query", wave({2, 4, 10})}, {"key", wave({2, 5, 6})}, {"value", wave({2, 5, 7})}});
  CHECK(y.shape() == Shape{2, 4, 10});
  for (const auto& [name, value] : convert_back(*made.layer, "keras"))
    CHECK(same_bits(value, m.arrays.at(name)));
}

TEST_CASE("convert: a published model's attention, to its own results and back") {
  const std::string folder = ATTN_SOURCE_DIR "/host/examples/minilm/";
  const SafetensorsFile file(folder + "minilm-attention-weights.safetensors");
  const SafetensorsFile results(folder + "minilm-activations.safetensors");
  const Array mask = results.read("attention_mask");
  for (const std::string number : {"0", "3", "5"}) {
    const std::string prefix = "encoder.layer." + number + ".attention";
    const auto made = convert_attention(tensor_set(file, "minilm"),
                                        {.prefix = prefix, .variables = {{"num_heads", 12}}});
    CHECK(made.found.form == "hf-bert");
    CHECK(made.found.prefix == prefix + ".");
    const Array y = made.layer->forward({results.read("layer." + number + ".input"), mask});
    const Array expected = results.read("layer." + number + ".attention_output");
    double error = 0, largest = 0;
    for (int64_t i = 0; i < y.size(); ++i) {
      if (!mask.data<bool>()[i / 384]) continue;
      error = std::max<double>(error, std::abs(y.data<float>()[i] - expected.data<float>()[i]));
      largest = std::max<double>(largest, std::abs(expected.data<float>()[i]));
    }
    CHECK(largest > 0);
    CHECK(error <= 1e-5 * largest);  // as in host/examples/minilm/minilm.cpp
    const auto back = convert_back(*made.layer, "hf-bert");
    CHECK(back.size() == 8);
    for (const auto& [name, value] : back)
      CHECK(same_bits(value, file.read(made.found.prefix + name)));
  }
}

}  // namespace attn::test
