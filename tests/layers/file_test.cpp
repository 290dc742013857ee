// SPDX-License-Identifier: Apache-2.0
//
// One file saves, restores and builds a layer; a file that does not fit changes nothing.
#include <attn/safetensors.hpp>
#include <catch2/catch.hpp>
#include <cstdio>
#include <filesystem>

#include "tests/layers/layers.hpp"

namespace attn::testing {
namespace {

std::string temporary(const std::string& name) {
  return (std::filesystem::temp_directory_path() / ("attn_file_test_" + name)).string();
}

std::string reason(const std::function<void()>& f) {
  try {
    f();
  } catch (const InvalidArgument& e) {
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("file: a saved layer comes back whole") {
  for (const Sample& s : samples()) {
    INFO(s.type);
    const auto layer = create_attention_layer(s.type, s.config, "mine");
    std::vector<Input> in;
    std::vector<Array> arrays;
    for (const Shape& shape : s.inputs) arrays.push_back(wave(shape));
    for (const Array& a : arrays) in.emplace_back(a);
    (void)layer->forward_all(in, {.training = true});  // statistics move too
    const auto y = layer->forward_all(in);
    const std::string path = temporary("layer.safetensors");
    layer->save(path);
    const auto back = load_attention(path);
    CHECK(back->config() == layer->config());
    CHECK(back->name() == "mine");
    CHECK(same_bits(back->forward_all(in).front().value, y.front().value));
    std::remove(path.c_str());
  }
}

TEST_CASE("file: weights that do not fit are refused whole") {
  const auto layer = create_attention_layer("multi_head", {{"dim", 8}, {"num_heads", 2}});
  layer->build({Shape{1, 3, 8}});
  const std::string path = temporary("weights.safetensors");
  const std::string qkv = "cross_attention/qkv/kernel", proj = "cross_attention/proj/kernel";
  const Array good_qkv = wave({8, 24}), good_proj = wave({8, 8}, 2);
  const Array before = Array::copy_of(layer->weight(qkv));

  save_safetensors(path, {{qkv, good_qkv.view()}});
  CHECK(reason([&] { layer->load(path); }).find("weight '" + proj + "' (8, 8) is missing") !=
        std::string::npos);

  const Array extra = wave({3});
  save_safetensors(path,
                   {{qkv, good_qkv.view()}, {proj, good_proj.view()}, {"stray", extra.view()}});
  CHECK(reason([&] { layer->load(path); }).find("tensor 'stray' is no weight") !=
        std::string::npos);

  const Array wrong = wave({8, 16});
  save_safetensors(path, {{qkv, wrong.view()}, {proj, good_proj.view()}});
  CHECK(reason([&] { layer->load(path); }).find(qkv) != std::string::npos);

  const Array integers(ATTN_I32, {8, 24});
  save_safetensors(path, {{qkv, integers.view()}, {proj, good_proj.view()}});
  CHECK(reason([&] { layer->load(path); }).find("must be float32, float64, float16 or bfloat16") !=
        std::string::npos);
  CHECK(same_bits(before, Array::copy_of(layer->weight(qkv))));

  const Array half = good_qkv.astype(ATTN_F16);
  save_safetensors(path, {{qkv, half.view()}, {proj, good_proj.view()}});
  layer->load(path);
  CHECK(same_bits(half.astype(ATTN_F32), Array::copy_of(layer->weight(qkv))));
  CHECK(reason([&] { (void)load_attention(path); }).find("not a saved layer") != std::string::npos);
  std::remove(path.c_str());
}

}  // namespace attn::testing
