// SPDX-License-Identifier: Apache-2.0
//
// What has no counterpart is refused by name, and nothing is guessed.
#include "tests/convert/convert.hpp"

namespace attn::test {

namespace {
const Json kHeads{{"num_heads", 2}};

void check_refused(const Module& module, const std::vector<std::string>& parts,
                   ConvertOptions options = {.variables = kHeads}) {
  const std::string text = refusal(module, options);
  for (const std::string& part : parts) CHECK_THAT(text, Catch::Matchers::Contains(part));
}

Module with(Module module, const std::string& name, const Shape& shape) {
  module.add(name, wave(shape, 50));
  return module;
}
}  // namespace

TEST_CASE("convert: what torch can and no type here") {
  check_refused(with(torch_module(), "bias_k", {1, 1, 8}), {"'bias_k'", "add_bias_kv"});
  check_refused(with(torch_module(), "bias_v", {1, 1, 8}), {"'bias_v'", "add_bias_kv"});
  check_refused(with(torch_module(), "gamma", {8}), {"'gamma'", "options that are not known"});
  const Module kdim{{"q_proj_weight", {8, 8}},
                    {"k_proj_weight", {8, 6}},
                    {"v_proj_weight", {8, 8}},
                    {"out_proj.weight", {8, 8}}};
  check_refused(kdim, {"kdim (6) must be embed_dim (8)", "['hopfield']"});
  // Asked for, the type that takes such widths is made.
  const auto made = convert_attention(kdim.set(), {.type = "hopfield", .variables = kHeads});
  for (const auto& [name, value] : convert_back(*made.layer, "torch-kdim"))
    CHECK(same_bits(value, kdim.arrays.at(name)));
  CHECK_THROWS_WITH(convert_back(*made.layer, "torch"),
                    Catch::Matchers::Contains("kdim (6) must be embed_dim (8)"));
}

TEST_CASE("convert: names that say too little") {
  const Module m{{"q_proj.weight", {8, 8}},
                 {"k_proj.weight", {8, 8}},
                 {"v_proj.weight", {8, 8}},
                 {"o_proj.weight", {8, 8}}};
  check_refused(m, {"position", "ask for form 'hf-vit5'"});
  CHECK(refusal(m, {.form = "hf-vit5", .variables = kHeads}).empty());
}

TEST_CASE("convert: what the tensors do not say has to be given") {
  check_refused(torch_module(), {"how many heads", "num_heads"}, {});
  check_refused(torch_module(), {"not divisible by num_heads (3)"},
                {.variables = {{"num_heads", 3}}});
  check_refused(torch_module(), {"positive integer", "0"}, {.variables = {{"num_heads", 0}}});
  check_refused(torch_module(), {"positive integer", "2.0"}, {.variables = {{"num_heads", 2.0}}});
  check_refused(torch_module(), {"no variable 'num_head'", "did you mean 'num_heads'?"},
                {.variables = {{"num_head", 2}}});
  check_refused(torch_module(), {"no norm", "epsilon"},
                {.variables = {{"num_heads", 2}, {"epsilon", 1e-5}}});
  check_refused(torch_module(), {"dropout_rate must be a number", "\"x\""},
                {.variables = {{"num_heads", 2}, {"dropout_rate", "x"}}});
  const Module keras{{"query/kernel", {8, 2, 4}},
                     {"key/kernel", {8, 2, 4}},
                     {"value/kernel", {8, 2, 4}},
                     {"attention_output/kernel", {2, 4, 8}}};
  check_refused(keras, {"num_heads is 2, not 4"}, {.variables = {{"num_heads", 4}}});
  const Module norms{{"qkv.weight", {24, 8}}, {"proj.weight", {8, 8}}, {"q_norm.weight", {4}},
                     {"q_norm.bias", {4}},    {"k_norm.weight", {4}},  {"k_norm.bias", {4}}};
  check_refused(norms, {"epsilon"});
  const Module either{{"qkv.weight", {24, 8}},
                      {"proj.weight", {8, 8}},
                      {"q_norm.weight", {4}},
                      {"k_norm.weight", {4}}};
  // A layer norm without bias and an rms norm look the same.
  check_refused(either, {"several forms", "'timm'", "'timm-rms'", "choose one by form"},
                {.variables = {{"num_heads", 2}, {"epsilon", 1e-6}}});
}

TEST_CASE("convert: which module is meant") {
  Module model;
  for (const std::string block : {"blocks.0.attn.", "blocks.1.attn.", "blocks.10.attn."}) {
    model.add(block + "qkv.weight", wave({24, 8}));
    model.add(block + "proj.weight", wave({8, 8}));
  }
  check_refused(model, {"the module: there are 3 attention modules", "blocks.0.attn (timm)",
                        "by its prefix"});
  for (const std::string prefix : {"blocks.1", "blocks.1.", "blocks.1.attn", "blocks.1.attn."})
    CHECK(convert_attention(model.set(), {.prefix = prefix, .variables = kHeads}).found.prefix ==
          "blocks.1.attn.");
  check_refused(model, {"no attention", "'blocks.2'", "blocks.0.attn (timm)"},
                {.prefix = "blocks.2", .variables = kHeads});
  check_refused(
      model,
      {"no attention of the form 'torch' (torch.nn.MultiheadAttention)", "blocks.0.attn (timm)"},
      {.form = "torch", .variables = kHeads});
  check_refused(model, {"no form 'tim'", "did you mean 'timm'?"},
                {.form = "tim", .prefix = "blocks.1", .variables = kHeads});
  check_refused(Module{{"weight", {2}}}, {"no attention of a known form", "mapping"});
  check_refused(model, {"'no_type'", "['group_query', 'hopfield'"},
                {.type = "no_type", .prefix = "blocks.1", .variables = kHeads});
}

TEST_CASE("convert: tensors of wrong shapes and kinds") {
  Module m = torch_module();
  m.add("in_proj_bias", wave({23}));
  check_refused(m, {"'in_proj_bias' is (23), expected (24)"});
  m = torch_module();
  m.add("in_proj_weight", wave({24}));
  check_refused(m, {"'in_proj_weight' is (24), expected (24, 8)"});
  m = torch_module();
  m.add("out_proj.weight", wave({64}));
  check_refused(m, {"'in_proj_weight' is (24, 8), expected (192, 64)"});
  m.add("out_proj.weight", wave({200000, 1}));  // parts of hundreds of gigabytes
  check_refused(m, {"'in_proj_weight' is (24, 8), too small"});
  m = torch_module();
  m.add("out_proj.bias", Array(ATTN_I32, {8}));
  check_refused(m, {"'out_proj.bias' is int32"});
}

TEST_CASE("convert: what a layer has and a form has not") {
  const auto layer = [](const std::string& type, Json parameters, const Shape& input = {1, 3, 8}) {
    parameters.set("num_heads", 2);
    auto made = create_attention_layer(type, parameters);
    made->build({input}, {.seed = 1});
    return made;
  };
  const auto says = [](const Attention& a, const std::string& form, const std::string& text) {
    CHECK_THROWS_WITH(convert_back(a, form), Catch::Matchers::Contains(text));
  };
  says(*layer("multi_head", {{"dim", 8}, {"probability_type", "sparsemax"}}), "torch",
       "'probability_type' is \"sparsemax\", and such a module computes \"softmax\"");
  says(*layer("multi_head", {{"dim", 8}, {"qk_norm_type", "band_rms"}}), "timm", "band_rms");
  says(*layer("multi_head", {{"dim", 8},
                             {"qk_norm_type", "rms_norm"},
                             {"qk_norm_kwargs", Json{{"axis", 1}, {"use_scale", false}}}}),
       "timm-rms", "'axis'");
  says(*layer("multi_head", {{"dim", 8}, {"qk_norm_type", "layer_norm"}}), "torch",
       "no place for 'key_norm/gamma'");
  says(*layer("multi_head", {{"dim", 8}, {"qk_norm_type", "layer_norm"}}), "timm-rms",
       "no place for 'key_norm/gamma'");
  says(*layer("group_query", {{"dim", 8}, {"num_kv_heads", 1}, {"rope_percentage", 0.0}}), "torch",
       "num_kv_heads (1) must be num_heads (2)");
  says(*layer("group_query", {{"dim", 8}, {"num_kv_heads", 2}}), "torch",
       "'rope_percentage' is 1.0");
  says(*layer("hopfield", {{"key_dim", 4}, {"update_steps_max", 2}, {"qk_norm_type", nullptr}}),
       "keras", "'update_steps_max' is 2");
  says(*layer("anchor", {{"dim", 8}}), "torch", "attention type 'anchor'");
  says(*layer("multi_head", {{"dim", 8}}), "torsh", "no form 'torsh'");

  const auto made = layer("multi_head", {{"dim", 8}});
  CHECK(convert_back(*made, "torch", torch_module().shapes()).size() == 4);  // zeros as biases
  Module other = torch_module();
  other.add("out_proj.weight", wave({8, 9}));
  CHECK_THROWS_WITH(convert_back(*made, "torch", other.shapes()),
                    Catch::Matchers::Contains("'out_proj.weight' would be (8, 8), and is (8, 9)"));
  CHECK_THROWS_WITH(
      convert_back(*made, "torch", with(torch_module(), "bias_k", {1, 1, 8}).shapes()),
      Catch::Matchers::Contains("add_bias_kv"));
}

}  // namespace attn::test
