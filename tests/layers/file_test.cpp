// SPDX-License-Identifier: Apache-2.0
//
// One file saves, restores and builds a layer; a file that does not fit changes nothing.
#include <attn/safetensors.hpp>
#include <catch2/catch.hpp>
#include <cstdio>
#include <filesystem>
#include <map>

#include "tests/layers/layers.hpp"

namespace attn::testing {
namespace {

using Catch::Matchers::Contains;

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

TEST_CASE("file: metadata that lies is refused before it costs memory") {
  const auto layer = create_attention_layer("multi_head", {{"dim", 8}, {"num_heads", 2}});
  layer->build({Shape{1, 3, 8}});
  const std::string path = temporary("lying.safetensors");
  layer->save(path);
  std::map<std::string, std::string> metadata = SafetensorsFile(path).metadata();
  const std::string inputs = metadata.at("inputs");
  std::vector<NamedView> tensors;
  for (const WeightInfo& w : layer->weights()) tensors.push_back({w.name, layer->weight(w.name)});
  const auto refusal = [&](const std::string& key, const std::string& value) {
    auto changed = metadata;
    changed[key] = value;
    save_safetensors(path, tensors, changed);
    return reason([&] { (void)load_attention(path); });
  };
  // Weights of 4 GB, which the file does not have.
  CHECK_THAT(refusal("config", R"({"dim": 16384, "num_heads": 2})"),
             Contains("(8, 24)") && Contains("(16384, 49152)"));
  CHECK_THAT(refusal("config", "[1]"), Contains("'config' is no object"));
  CHECK_THAT(refusal("config", "{"), Contains("metadata 'config':1:2"));
  CHECK_THAT(refusal("type", "no_such_type"), Contains("Unknown attention type"));
  for (const char* bad : {"7", "[7]", "[[1, 2.5]]", "[[-2, 3, 8]]", "[[1, 2, 3, 4, 5, 6, 7, 8, 9]]",
                          "[[\"a\"]]", "{}", "[[9223372036854775808]]"})
    CHECK_THAT(refusal("inputs", bad), Contains("metadata 'inputs' is"));
  CHECK_THAT(refusal("inputs", "[]"), Contains("the shape of input 'inputs' is missing"));
  CHECK(refusal("inputs", inputs).empty());
  std::remove(path.c_str());
}

TEST_CASE("file: a layer that could not be built can be built again") {
  // This initializer is for matrices, the kernel has four axes: only drawing the weights finds out.
  const auto layer = create_attention_layer("spatial", {{"kernel_initializer", "identity"}});
  const std::vector<std::optional<Shape>> shapes{Shape{1, 5, 5, 8}};
  CHECK_THROWS_AS(layer->build({Shape{-7, 5, 5, 8}}), InvalidArgument);
  const std::string first = reason([&] { layer->build(shapes); });
  CHECK_THAT(first, Contains("dentity"));
  CHECK(reason([&] { layer->build(shapes); }) == first);
  CHECK_FALSE(layer->built());
}

}  // namespace attn::testing
