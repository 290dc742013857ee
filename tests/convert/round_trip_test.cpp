// SPDX-License-Identifier: Apache-2.0
//
// There and back gives the same bits, and all types that a module can become compute the same.
#include <algorithm>
#include <set>

#include "tests/convert/convert.hpp"

namespace attn::test {

namespace {

const std::vector<std::string> kTypes{"multi_head", "multi_head_cross", "perceiver", "group_query",
                                      "ring",       "hopfield"};

struct Case {
  std::string form;
  Module module;
  Json variables;
};

std::vector<Case> cases() {
  const Json heads{{"num_heads", 2}};
  const Json norms{{"num_heads", 2}, {"epsilon", 1e-5}};
  std::vector<Case> out;
  out.push_back({"torch", torch_module(), heads});
  out.push_back({"torch", {{"in_proj_weight", {24, 8}}, {"out_proj.weight", {8, 8}}}, heads});
  out.push_back({"timm",
                 {{"qkv.weight", {24, 8}},
                  {"qkv.bias", {24}},
                  {"proj.weight", {8, 8}},
                  {"proj.bias", {8}},
                  {"q_norm.weight", {4}},
                  {"q_norm.bias", {4}},
                  {"k_norm.weight", {4}},
                  {"k_norm.bias", {4}}},
                 norms});
  out.push_back({"timm-rms",
                 {{"qkv.weight", {24, 8}},
                  {"proj.weight", {8, 8}},
                  {"q_norm.weight", {4}},
                  {"k_norm.weight", {4}}},
                 norms});
  for (const auto& [form, of] : {std::pair{"hf-bert", "self."}, {"hf-vit", "attention."}}) {
    const std::string inner = of;
    out.push_back({form,
                   {{inner + "query.weight", {8, 8}},
                    {inner + "query.bias", {8}},
                    {inner + "key.weight", {8, 8}},
                    {inner + "key.bias", {8}},
                    {inner + "value.weight", {8, 8}},
                    {inner + "value.bias", {8}},
                    {"output.dense.weight", {8, 8}},
                    {"output.dense.bias", {8}}},
                   heads});
  }
  out.push_back({"hf-vit5",
                 {{"q_proj.weight", {8, 8}},
                  {"k_proj.weight", {8, 8}},
                  {"v_proj.weight", {8, 8}},
                  {"o_proj.weight", {8, 8}},
                  {"o_proj.bias", {8}}},
                 heads});
  out.push_back({"keras",
                 {{"query/kernel", {8, 2, 4}},
                  {"query/bias", {2, 4}},
                  {"key/kernel", {8, 2, 4}},
                  {"key/bias", {2, 4}},
                  {"value/kernel", {8, 2, 4}},
                  {"value/bias", {2, 4}},
                  {"attention_output/kernel", {2, 4, 8}},
                  {"attention_output/bias", {8}}},
                 Json::object()});
  return out;
}

double difference(const Array& a, const Array& b) {
  REQUIRE(a.shape() == b.shape());
  double out = 0;
  for (int64_t i = 0; i < a.size(); ++i)
    out = std::max<double>(out, std::abs(a.data<float>()[i] - b.data<float>()[i]));
  return out;
}

}  // namespace

TEST_CASE("convert: there and back is the same bits, for every form and type") {
  const Array x = wave({2, 5, 8}, 77);
  Array mask(ATTN_BOOL, {2, 5});
  for (int64_t i = 0; i < 10; ++i) mask.data<bool>()[i] = i % 4 != 3;
  std::set<std::string> forms;
  for (const Case& c : cases()) {
    forms.insert(c.form);
    std::optional<Array> first;
    for (const std::string& type : kTypes) {
      INFO(c.form << " to " << type);
      const auto made = convert_attention(c.module.set(),
                                          {.form = c.form, .type = type, .variables = c.variables});
      if (c.form != "timm-rms")  // its tensors may be timm's as well: refusals_test.cpp
        CHECK(find_attention(c.module.set()).size() == 1);
      CHECK(find_attention(c.module.set()).front().prefix.empty());
      CHECK(made.layer->type().id == type);
      const auto back = convert_back(*made.layer, c.form, c.module.shapes());
      CHECK(back.size() == c.module.arrays.size());
      for (const auto& [name, value] : back) CHECK(same_bits(value, c.module.arrays.at(name)));

      const std::string input = made.layer->type().inputs[0]->name;
      const Array y = made.layer->forward({{input, x}, {"attention_mask", mask}});
      // Sums of 8 products of numbers up to 1, in another order.
      if (first) CHECK(difference(y, *first) < 1e-5);
      if (!first) first = y.clone();
    }
  }
  // Those left are narrower: layouts_test.cpp and refusals_test.cpp have them.
  for (const auto& [form, table] : attention_forms().as_object())
    if (form != "torch-kdim") CHECK(forms.contains(form));
}

TEST_CASE("convert: biases that one side lacks are zeros") {
  // timm's default: the output has a bias, queries, keys and values have none.
  const Module m{
      {"attn.qkv.weight", {24, 8}}, {"attn.proj.weight", {8, 8}}, {"attn.proj.bias", {8}}};
  const auto made = convert_attention(m.set(), {.variables = {{"num_heads", 4}}});
  const Array bias = Array::copy_of(made.layer->weight("cross_attention/qkv/bias"));
  for (const float x : bias.to_vector<float>()) CHECK(x == 0.0F);
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const auto& [name, shape] : m.shapes()) shapes[name.substr(5)] = shape;
  const auto back = convert_back(*made.layer, "timm", shapes);
  REQUIRE(back.size() == 3);
  for (const auto& [name, value] : back) CHECK(same_bits(value, m.arrays.at("attn." + name)));
  // Not so when they are not zero.
  made.layer->set_weight("cross_attention/qkv/bias", wave({24}));
  CHECK_THROWS_WITH(convert_back(*made.layer, "timm", shapes),
                    Catch::Matchers::Contains("no place for 'key/bias'"));
}

TEST_CASE("convert: float64 stays float64, 16 bits become float32") {
  for (const attn_dtype kind : {ATTN_F64, ATTN_F16, ATTN_BF16}) {
    Module m;
    for (auto& [name, a] : torch_module().arrays) m.add(name, a.astype(kind));
    const auto made = convert_attention(m.set(), {.variables = {{"num_heads", 2}}});
    CHECK(made.layer->dtype() == (kind == ATTN_F64 ? ATTN_F64 : ATTN_F32));
    for (const auto& [name, value] : convert_back(*made.layer, "torch"))
      CHECK(same_bits(value.astype(kind), m.arrays.at(name)));
  }
}

}  // namespace attn::test
