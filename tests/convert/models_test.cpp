// SPDX-License-Identifier: Apache-2.0
//
// Layers of published models: what config.json says, layer by layer, and what is refused. The numbers are compared by
// attn verify (tests/goldens/decoders).
#include <attn/convert.hpp>
#include <attn/error.hpp>
#include <attn/factory.hpp>
#include <catch2/catch.hpp>

#include <map>

#include "tests/layers/layers.hpp"

namespace attn::test {

namespace {

using Catch::Matchers::Contains;

// The weights of a tiny module: two heads of 4, one key/value head, width 6.
struct Model {
  Json config{{"hidden_size", 6},
              {"num_attention_heads", 2},
              {"num_key_value_heads", 1},
              {"head_dim", 4},
              {"num_hidden_layers", 12},
              {"vocab_size", 99},
              {"max_position_embeddings", 32}};
  std::map<std::string, Array> arrays{};
  std::map<std::string, ConstView> views{};

  Model() {
    for (const auto& [name, shape] : std::map<std::string, Shape>{{"q_proj.weight", {8, 6}},
                                                                  {"k_proj.weight", {4, 6}},
                                                                  {"v_proj.weight", {4, 6}},
                                                                  {"o_proj.weight", {6, 8}}})
      add(name, shape);
  }
  Model& add(const std::string& name, const Shape& shape) {
    arrays[name] = testing::wave(shape, arrays.size() + 1);
    views[name] = arrays[name].view();
    return *this;
  }
  Model& with(const char* key, const Json& value) {
    config.set(key, value);
    return *this;
  }
  [[nodiscard]] Model norms(const Shape& q = {4}, const Shape& k = {4}) const {
    Model out;
    out.config = config;
    out.add("q_norm.weight", q).add("k_norm.weight", k);
    return out;
  }
  [[nodiscard]] Json layer(const std::string& family, int64_t number = 0) const {
    const auto made = convert_model_layer(tensor_set(views, "the module"), config, family, number);
    return made ? made->config() : Json();
  }
  [[nodiscard]] std::string refused(const std::string& family, int64_t number = 0) const {
    try {
      static_cast<void>(layer(family, number));
      return "";
    } catch (const InvalidArgument& e) {
      return e.what();
    }
  }
};

}  // namespace

TEST_CASE("models: every family is whole") {
  for (const auto& [name, table] : model_families().as_object()) {
    INFO(name);
    for (const char* key : {"title", "model_types", "type", "config", "tensors"})
      CHECK(table.contains(key));
    for (const Json& type : table.at("model_types").as_list())
      CHECK(model_family_of(type.as_string()) == name);
  }
  CHECK(model_families().as_object().size() == 13);
}

TEST_CASE("models: windows, by the kind of each layer") {
  const auto windows = [](const Model& m, const std::string& family) {
    std::string out;
    for (int64_t i = 0; i < 12; ++i) {
      const Json config = m.layer(family, i);
      const Json* window = config.find("window");
      out += window && !window->is_null() ? 'w' : '.';
    }
    return out;
  };
  CHECK(windows(Model(), "llama") == "............");
  CHECK(windows(Model(), "mistral") == "wwwwwwwwwwww");
  CHECK(windows(Model().with("sliding_window", nullptr), "mistral") == "............");
  CHECK(windows(Model(), "gemma2") == "w.w.w.w.w.w.");
  CHECK(windows(Model().norms(), "gemma3") == "wwwww.wwwww.");
  CHECK(windows(Model().norms(), "qwen3") == "............");
  Model late = Model().norms();
  late.with("use_sliding_window", true).with("max_window_layers", 9);
  CHECK(windows(late, "qwen3") == ".........www");
  Model listed;
  Json kinds = Json::list({});
  for (int i = 0; i < 12; ++i) kinds.push_back(i % 2 ? "sliding_attention" : "full_attention");
  listed.with("layer_types", kinds);
  CHECK(windows(listed, "gemma2") == ".w.w.w.w.w.w");
}

TEST_CASE(
    "models: rotary positions in both spellings, with the lengths that stand beside scalings") {
  Model m;
  CHECK(m.layer("llama").at("rope_theta") == 10000.0);
  CHECK(m.layer("llama").at("rope_style") == "half_split");
  m.with("rope_theta", 500000.0).with("rope_scaling", Json{{"type", "dynamic"}, {"factor", 2.0}});
  Json c = m.layer("llama");
  CHECK(c.at("rope_theta") == 500000.0);
  CHECK(c.at("rope_scaling") ==
        Json{{"factor", 2.0}, {"rope_type", "dynamic"}, {"original_max_position_embeddings", 32}});
  m.with("rope_scaling", Json{{"rope_type", "default"}});
  CHECK(m.layer("llama").at("rope_scaling").is_null());
  m.config.erase("rope_theta"), m.config.erase("rope_scaling");
  m.with("rope_parameters", Json{{"rope_type", "linear"}, {"factor", 4.0}, {"rope_theta", 77.0}});
  c = m.layer("llama");
  CHECK(c.at("rope_theta") == 77.0);
  CHECK(c.at("rope_scaling") == Json{{"rope_type", "linear"}, {"factor", 4.0}});
  // Older Gemma 3: local layers have a base of their own and no scaling.
  Model gemma = Model().norms();
  gemma.with("rope_scaling", Json{{"rope_type", "linear"}, {"factor", 8.0}})
      .with("rope_local_base_freq", 123.0);
  CHECK(gemma.layer("gemma3", 0).at("rope_theta") == 123.0);
  CHECK(gemma.layer("gemma3", 0).at("rope_scaling").is_null());
  CHECK(gemma.layer("gemma3", 5).at("rope_theta") == 1000000.0);
  CHECK(gemma.layer("gemma3", 5).at("rope_scaling").at("factor") == 8.0);
}

TEST_CASE("models: both spellings of rotary positions have to say the same") {
  Model m;
  m.with("rope_theta", 77)
      .with("rope_scaling", Json{{"type", "linear"}, {"rope_type", "linear"}, {"factor", 4}})
      .with("rope_parameters",
            Json{{"rope_type", "linear"}, {"factor", 4.0}, {"rope_theta", 77.0}});
  CHECK(m.layer("llama").at("rope_theta") == 77.0);
  CHECK(m.layer("llama").at("rope_scaling") == Json{{"rope_type", "linear"}, {"factor", 4.0}});
  m.with("rope_theta", 78.0);
  CHECK_THAT(m.refused("llama"),
             Contains("rope_theta is 78") && Contains("rope_parameters.rope_theta is 77"));
  m.with("rope_theta", 77.0).with("rope_scaling", Json{{"type", "linear"}, {"factor", 2.0}});
  CHECK_THAT(m.refused("llama"), Contains("rope_scaling is {") && Contains("rope_parameters is {"));
  m.with("rope_parameters", Json{{"rope_theta", 77.0}});
  CHECK_THAT(m.refused("llama"), Contains("rope_scaling is {") &&
                                     Contains("rope_parameters is {\"rope_type\":\"default\"}"));
  m.with("rope_parameters", Json{{"rope_type", "default"}});
  CHECK_THAT(m.refused("llama"), Contains("rope_scaling is {") &&
                                     Contains("rope_parameters is {\"rope_type\":\"default\"}"));
  m.with("rope_parameters", 3);
  CHECK_THAT(m.refused("llama"), Contains("rope_parameters is 3; expected an object"));
  m.with("rope_parameters", nullptr).with("rope_scaling", "yarn");
  CHECK_THAT(m.refused("llama"), Contains("rope_scaling is \"yarn\"; expected an object"));
  m.with("rope_scaling", Json{{"type", "linear"}, {"rope_type", "llama3"}, {"factor", 2.0}});
  CHECK_THAT(m.refused("llama"), Contains("rope_scaling.rope_type is \"llama3\"") &&
                                     Contains("rope_scaling.type is \"linear\""));
  m.with("rope_scaling", Json{{"type", 3}});
  CHECK_THAT(m.refused("llama"), Contains("rope_scaling.type is 3"));
  Model share;
  share.with("partial_rotary_factor", 0.5)
      .with("rope_parameters", Json{{"partial_rotary_factor", 1.0}});
  CHECK_THAT(share.refused("llama"), Contains("partial_rotary_factor is 0.5") &&
                                         Contains("rope_parameters.partial_rotary_factor is 1"));
  Model gemma = Model().norms();
  gemma.with("rope_local_base_freq", 5.0)
      .with("rope_parameters", Json{{"sliding_attention", Json{{"rope_theta", 6.0}}},
                                    {"full_attention", Json{{"rope_theta", 7.0}}}});
  CHECK_THAT(gemma.refused("gemma3"), Contains("rope_local_base_freq is 5") &&
                                          Contains("sliding_attention.rope_theta is 6"));
  CHECK(gemma.layer("gemma3", 5).at("rope_theta") == 7.0);
}

TEST_CASE("models: Gemma 3's config.json may leave its heads to its code") {
  Model m = Model().norms();
  m.config.erase("num_attention_heads"), m.config.erase("num_key_value_heads");
  CHECK_THAT(m.refused("gemma3"),
             Contains("shape (6, 32), got (6, 8)") || Contains("shape (6, 16), got (6, 4)"));
}

TEST_CASE("models: Hunyuan's alpha multiplies the base, and scales nothing else") {
  Model m;
  m.add("query_layernorm.weight", {4}).add("key_layernorm.weight", {4});
  const Json published{{"alpha", 1000.0},  {"beta_fast", 32}, {"beta_slow", 1},
                       {"factor", 1.0},    {"mscale", 1.0},   {"mscale_all_dim", 1.0},
                       {"type", "dynamic"}};
  m.with("rope_scaling", published).with("rope_theta", 10000.0).with("attention_head_dim", 4);
  // 10000 * 1000^(4 / 2)
  CHECK(m.layer("hunyuan_v1_dense").at("rope_theta").to_double() == Approx(1e10).epsilon(1e-14));
  CHECK(m.layer("hunyuan_v1_dense").at("rope_scaling").is_null());
  CHECK(m.layer("hunyuan_v1_dense").at("max_seq_len") == 32);
  Json other = published;
  other.set("factor", 2.0);
  CHECK_THAT(m.with("rope_scaling", other).refused("hunyuan_v1_dense"),
             Contains("{\"factor\"") && Contains("beside alpha"));
  other.set("factor", 1.0), other.set("alpha", -1.0);
  CHECK_THAT(m.with("rope_scaling", other).refused("hunyuan_v1_dense"), Contains("alpha is -1"));
  m.with("rope_scaling", published).with("attention_head_dim", 8);
  CHECK_THAT(m.refused("hunyuan_v1_dense"), Contains("head_dim is 4, but attention_head_dim is 8"));
  m.with("attention_head_dim", 4).with("use_cla", true);
  CHECK_THAT(m.refused("hunyuan_v1_dense"), Contains("use_cla is true; expected false"));
}

TEST_CASE("models: layers that are no attention") {
  Model m = Model().norms();
  m.with("num_hidden_layers", 2)
      .with("layer_types", Json::list({"linear_attention", "full_attention"}));
  CHECK(m.layer("qwen3_next", 0).is_null());
}

TEST_CASE("models: kinds of layers that are not known, and lists that are too short") {
  Model m = Model().norms();
  m.with("num_hidden_layers", 2)
      .with("layer_types", Json::list({"full_attention", "chunked_attention"}));
  for (const char* family : {"gemma2", "gemma3", "gpt_oss", "qwen3", "qwen3_next"})
    CHECK_THAT(m.refused(family), Contains("\"chunked_attention\" for layer 1") &&
                                      Contains("expected one of [\"full_attention\""));
  m.with("layer_types", Json::list({"full_attention", "linear_attention"}));
  CHECK_THAT(m.refused("gemma3"), Contains("\"linear_attention\" for layer 1"));
  m.with("layer_types", Json::list({"full_attention"}));
  CHECK_THAT(m.refused("gemma3"), Contains("layer_types has 1 entries, num_hidden_layers is 2"));
  m.with("layer_types", Json::list({"full_attention", 3}));
  CHECK_THAT(m.refused("gemma3"), Contains("layer_types has 3 for layer 1"));
  m.with("layer_types", "full_attention");
  CHECK_THAT(m.refused("gemma3"), Contains("layer_types is \"full_attention\"; expected a list"));
  for (const Json& count : Json::List{0, -1, "2"})
    CHECK_THAT(Model().with("num_hidden_layers", count).refused("llama"),
               Contains("num_hidden_layers is " + count.brief()));
}

TEST_CASE("models: what stands beside text_config says nothing, or the same") {
  Model m = Model().norms();
  const auto nested = [&](const char* key, const Json& value) {
    Model out = m.norms();
    out.config = Json{{"model_type", "gemma3"}, {"text_config", Json(m.config)}, {key, value}};
    return out.refused("gemma3");
  };
  CHECK(nested("mm_tokens_per_image", 256).empty());
  CHECK(nested("hidden_size", 6).empty());
  CHECK(nested("rope_scaling", nullptr).empty());
  CHECK_THAT(nested("mystery_attention", 3), Contains("does not know: ['mystery_attention']"));
  CHECK_THAT(nested("max_position_embeddings", 99), Contains("'max_position_embeddings'"));
  CHECK_THAT(nested("use_bidirectional_attention", true),
             Contains("use_bidirectional_attention is true"));
  CHECK_THAT(nested("quantization_config", Json{{"quant_method", "fp8"}}),
             Contains("quantization_config") && Contains("bfloat16"));
}

TEST_CASE("models: packed weights are refused by the key that tells of them") {
  for (const char* family : {"llama", "mistral", "deepseek_v3"})
    CHECK_THAT(Model().with("quantization_config", Json{{"quant_method", "fp8"}}).refused(family),
               Contains("quantization_config is {\"quant_method\":\"fp8\"}; expected null") &&
                   Contains("convert a copy in bfloat16"));
}

TEST_CASE("models: refusals of parameters name the keys of config.json") {
  Model m = Model().norms();
  CHECK_THAT(m.with("query_pre_attn_scalar", 0).refused("gemma3"),
             Contains("config.json has 0 for query_pre_attn_scalar; expected a number above 0"));
  CHECK_THAT(Model().with("head_dim", "8").refused("llama"),
             Contains("'head_dim' comes from ['head_dim'] of config.json"));
  CHECK_THAT(Model().with("rope_theta", -1).refused("llama"),
             Contains("'rope_theta' comes from") && Contains("'rope_theta'"));
  const Json scaling{{"type", "linear"}, {"factor", -1}};
  CHECK_THAT(Model().with("rope_scaling", scaling).refused("llama"),
             Contains("'rope_scaling' comes from") && Contains("'rope_scaling'] of config.json"));
  Model two;
  two.with("sliding_window", 4).with("sliding_window_size", 5);
  CHECK_THAT(two.refused("gemma2"), Contains("sliding_window is 4, but sliding_window_size is 5"));
  CHECK(Model().with("model_max_length", 64).refused("cohere").empty());
  CHECK(Model().with("model_max_length", 64).layer("cohere").at("max_seq_len") == 64);
}

TEST_CASE("models: what is refused, by its name") {
  CHECK_THAT(Model().refused("lama"), Contains("no family 'lama'") && Contains("llama"));
  CHECK_THAT(Model().with("attention_sparsity", 3).refused("llama"),
             Contains("rules that this family does not know: ['attention_sparsity']"));
  CHECK_THAT(Model().with("pretraining_tp", 2).refused("llama"), Contains("pretraining_tp is 2"));
  CHECK_THAT(Model().with("model_type", "mistral").refused("llama"),
             Contains("model_type is \"mistral\""));
  CHECK_THAT(Model().with("attention_bias", true).refused("llama"),
             Contains("q_proj.bias") || Contains("k_proj.bias"));
  CHECK_THAT(Model().add("q_proj.bias", {8}).refused("llama"), Contains("q_proj.bias"));
  CHECK_THAT(Model().refused("llama", 12), Contains("there is no layer 12"));
  CHECK_THAT(Model().refused("gpt_oss"), Contains("sinks") || Contains("bias"));
  Model scaled;
  scaled.with("rope_scaling", Json{{"rope_type", "dynamic"}, {"factor", 1.0}, {"alpha", 1000.0}});
  CHECK_THAT(scaled.refused("llama"), Contains("alpha"));
  scaled.with("rope_scaling", Json{{"rope_type", "proportional"}});
  CHECK_THAT(scaled.refused("llama"), Contains("proportional"));
  scaled.with("rope_scaling", Json{{"rope_type", "dynamic"}, {"factor", "two"}});
  CHECK_THAT(scaled.refused("llama"), Contains("\"two\" for rope_scaling.factor"));
  scaled.with("rope_scaling", Json{{"rope_type", "dynamic"}});
  CHECK_THAT(scaled.refused("llama"), Contains("nothing for rope_scaling.factor"));
  scaled.with("rope_scaling", Json{{"rope_type", "dynamic"}, {"factor", 1e300}});
  CHECK_THAT(scaled.refused("llama"), Contains("max_seq_len"));
  CHECK_THROWS_AS(model_family_of("mamba"), InvalidArgument);
}

}  // namespace attn::test
