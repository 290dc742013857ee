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
  listed.with("layer_types", Json::list({"full_attention", "sliding_attention"}));
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

TEST_CASE("models: layers that are no attention") {
  Model m = Model().norms();
  m.with("layer_types", Json::list({"linear_attention", "full_attention"}));
  CHECK(m.layer("qwen3_next", 0).is_null());
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
