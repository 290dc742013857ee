// SPDX-License-Identifier: Apache-2.0
//
// attn convert of a whole model: shards with their index, one file a layer, and what is refused.
#include <attn/convert.hpp>
#include <set>

#include "tests/cli/program.hpp"

namespace attn::test {

namespace {

// A checkpoint out of a golden case: a shard for each layer, and an index. Layer N has the golden weights plus N.
struct Published {
  Folder folder;
  SafetensorsFile golden;
  Json config;
  std::string family;

  explicit Published(const std::string& name = "llama_0")
      : golden(kGoldens + "/decoders/" + name + ".safetensors") {
    const std::string file = kGoldens + "/decoders/" + name + ".json";
    const Json description = parse_config(read_file(file), file);
    config = description.at("config");
    family = model_family_of(description.at("model_type").as_string());
    config.set("model_type", description.at("model_type"));
    write({0, 1}, 2);
  }
  // Layers that are not in `attention` are of another kind.
  void write(const std::set<int64_t>& attention, int64_t layers,
             const std::string& prefix = "model.") {
    places_ = Json::object();
    for (int64_t i = 0; i < layers; ++i)
      shard(prefix + "layers." + std::to_string(i), i, attention.contains(i));
    write_index();
    write_config();
  }
  // A part of the model beside its layers.
  void write_beside(const std::string& place) {
    shard(place, 0, true);
    write_index();
  }
  void write_config() const { folder.write("config.json", config.dump()); }
  [[nodiscard]] Finished convert(const std::string& as = "llama",
                                 const std::string& source = "") const {
    return attn_run({"convert", source.empty() ? folder / "" : source, "--from", as, "--output",
                     folder / "layers"});
  }
  // Of its own family, told as JSON.
  [[nodiscard]] Json converted() const {
    const Finished f = attn_run(
        {"--json", "convert", folder / "", "--from", family, "--output", folder / "layers"});
    check_done(f);
    return f.code == 0 ? parsed(f.out) : Json::object();
  }
  [[nodiscard]] Array weight(const std::string& name, int64_t layer) const {
    Array out = golden.read("weight/" + name);
    for (int64_t i = 0; i < out.size(); ++i) out.data<float>()[i] += static_cast<float>(layer);
    return out;
  }

 private:
  void shard(const std::string& place, int64_t layer, bool attention) {
    std::vector<std::pair<std::string, Array>> tensors;
    if (!attention)
      tensors.emplace_back(place + ".linear_attn.in_proj.weight", Array(ATTN_F32, {2, 2}));
    for (const SafetensorsEntry& e : golden.entries())
      if (attention && e.name.starts_with("weight/"))
        tensors.emplace_back(place + ".self_attn." + e.name.substr(7),
                             weight(e.name.substr(7), layer));
    const std::string file = place + ".safetensors";
    std::vector<NamedView> views;
    for (const auto& [name, array] : tensors) {
      views.push_back({name, array.view()});
      places_.set(name, file);
    }
    save_safetensors(folder / file, views);
  }
  void write_index() const {
    folder.write("model.safetensors.index.json", Json{{"weight_map", places_}}.dump());
  }

  Json places_ = Json::object();
};

// A published config.json of each family: keys that say nothing about attention or repeat what holds, older spellings.
struct Family {
  std::string golden;
  std::string keys;
  std::set<int64_t> attention = {0, 1};
  int64_t layers = 2;
  std::string prefix = "model.";
};

const std::vector<Family>& families() {
  static const std::vector<Family> all{
      {"llama_0", R"("rope_theta": 500000.0, "mlp_bias": false, "pretraining_tp": 1, "rope_scaling":
          {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
           "original_max_position_embeddings": 32, "rope_type": "llama3"})"},
      {"mistral_0", R"("rope_theta": 10000.0, "sliding_window": 4096)"},
      {"qwen3_0", R"("rope_theta": 1000000, "rope_scaling": null, "max_window_layers": 2,
          "sliding_window": null, "use_sliding_window": false)"},
      {"qwen3_next_0",
       R"("num_hidden_layers": 4, "layer_types": null, "full_attention_interval": 2,
          "partial_rotary_factor": 0.25, "rope_theta": 10000000, "decoder_sparse_step": 1,
          "use_sliding_window": false, "mlp_only_layers": [], "linear_conv_kernel_dim": 4, "rope_scaling": null)",
       {1, 3},
       4},
      {"gemma2_local_0", R"("rope_theta": 10000.0, "sliding_window": 6, "sliding_window_size": 6,
          "final_logit_softcapping": 30.0, "cache_implementation": "hybrid")"},
      {"gemma3_global_0",
       R"("layer_types": null, "sliding_window_pattern": 2, "rope_theta": 1000000,
          "rope_local_base_freq": 10000, "rope_scaling": {"factor": 8.0, "rope_type": "linear"})",
       {0, 1},
       2,
       "language_model.model."},
      {"phi3_partial_0", R"("full_attn_mod": 1, "interpolate_factor": 1, "lm_head_bias": false,
          "partial_rotary_factor": 0.5, "original_max_position_embeddings": 4096,
          "max_position_embeddings": 131072, "rope_theta": 10000.0, "sliding_window": 262144,
          "rope_scaling": {"long_factor": [1, 2], "short_factor": [1, 1], "type": "longrope"})"},
      {"gpt_oss_window_0", R"("rope_theta": 150000, "initial_context_length": 4096,
          "quantization_config": {"modules_to_not_convert": ["model.layers.*.self_attn"],
                                  "quant_method": "mxfp4"}, "swiglu_limit": 7.0)"},
      {"cohere_0", R"("rope_theta": 8000000.0, "model_max_length": 131072, "logit_scale": 0.0625)"},
      {"glm4_0", R"("rope_theta": 10000.0, "partial_rotary_factor": 0.5, "attention_bias": true)"},
      {"hunyuan_0", R"("attention_head_dim": 8, "cla_share_factor": 2, "class_num": 0,
          "dense_list": [4096, 0], "eod_token_id": 3, "mask_init_id": 12, "norm_type": "rms",
          "add_classification_head": false, "enable_lm_head_fp32": false, "org_vocab_size": 99,
          "pad_id": 1, "pool_type": "last", "position_embedding_xdrope": false, "text_end_id": 7,
          "text_start_id": 6, "use_cla": false, "use_qk_norm": true, "use_rotary_pos_emb": true,
          "xdrope_section": null, "rope_theta": 10000.0, "rope_scaling":
          {"alpha": 1000.0, "beta_fast": 32, "beta_slow": 1, "factor": 1.0, "mscale": 1.0,
           "mscale_all_dim": 1.0, "type": "dynamic"})"},
      {"olmo2_0", R"("rope_theta": 500000, "rope_scaling": null)"},
      {"deepseek_v3_0", R"("rope_theta": 10000, "num_nextn_predict_layers": 1, "rope_scaling":
          {"beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 1.0, "mscale_all_dim": 1.0,
           "original_max_position_embeddings": 4096, "type": "yarn"})"}};
  return all;
}

}  // namespace

TEST_CASE("cli: a model's layers come out of its shards") {
  const Published model;
  const Finished f = model.convert();
  check_done(f);
  CHECK_THAT(f.out, Catch::Matchers::Contains("2 layers of Llama"));
  const std::string layers = model.folder / "layers";
  const SafetensorsFile one(layers + "/layer_1.safetensors");
  CHECK(one.read("w_q/kernel").shape() == Shape{64, 32});
  const std::string x = model.folder.write_npy("x.npy", {1, 3, 64});
  check_done(attn_run({"run", layers + "/layer_0.json", "--input", "inputs=" + x, "--weights",
                       layers + "/layer_0.safetensors"}));
  // The index or a single file do as well as the folder.
  check_done(model.convert("llama", model.folder / "model.safetensors.index.json"));
}

TEST_CASE("cli: a published checkpoint of each family") {
  std::set<std::string> seen;
  for (const Family& one : families()) {
    INFO(one.golden);
    Published model(one.golden);
    seen.insert(model.family);
    model.config.erase("rope_parameters");
    const Json keys = parsed("{" + one.keys + "}");
    for (const auto& [key, value] : keys.as_object()) model.config.set(key, value);
    if (one.prefix != "model.")
      model.config = Json{{"model_type", "of several parts"},
                          {"text_config", Json(model.config)},
                          {"vision_config", Json{{"hidden_size", 1152}}},
                          {"mm_tokens_per_image", 256}};
    model.write(one.attention, one.layers, one.prefix);
    // Predicts further tokens, and is no layer of the model.
    if (one.layers > 2) model.write_beside("mtp.layers.0");
    const Json out = model.converted();
    if (out.empty()) continue;
    std::set<int64_t> written;
    for (const Json& layer : out.at("layers").as_list()) {
      const int64_t number = *layer.at("layer").to_int64();
      written.insert(number);
      const Array made = SafetensorsFile(layer.at("file").as_string()).read("w_o/kernel"),
                  golden = model.weight("o_proj.weight", number);
      REQUIRE(made.shape() == Shape{golden.shape()[1], golden.shape()[0]});
      bool same = true;
      for (int64_t i = 0; i < golden.size(); ++i) {
        const int64_t row = i / made.shape()[0], column = i % made.shape()[0];
        same &= made.data<float>()[column * made.shape()[1] + row] == golden.data<float>()[i];
      }
      CHECK(same);
    }
    CHECK(written == one.attention);
    CHECK(out.at("other_layers").size() + written.size() == static_cast<size_t>(one.layers));
    const std::string last = model.folder / "layers/layer_1",
                      x = model.folder.write_npy("x.npy", {1, 3, 64});
    check_done(attn_run(
        {"run", last + ".json", "--input", "inputs=" + x, "--weights", last + ".safetensors"}));
  }
  CHECK(seen.size() == model_families().size());
}

TEST_CASE("cli: layers of other kinds are told by kind and count") {
  Published model("qwen3_next_0");
  model.config.set("num_hidden_layers", 6);
  model.config.erase("layer_types");
  model.config.set("full_attention_interval", 3);
  model.write({2, 5}, 6);
  CHECK(model.converted().at("other_kinds") == Json{{"linear_attention", 4}});
  const Finished f = model.convert("qwen3_next");
  CHECK_THAT(f.out,
             Catch::Matchers::Contains("2 layers of Qwen3-Next, its layers of full "
                                       "attention written; left out: 4 of linear_attention"));
  // Of two parts with all layers none is chosen.
  for (const char* place : {"copy.layers.2", "copy.layers.5"}) model.write_beside(place);
  check_refused(model.convert("qwen3_next"), {"'copy.layers.'", "'model.layers.'", "--prefix"});
}

TEST_CASE("cli: Hunyuan's alpha gives the numbers of the base that it makes") {
  const Folder folder;
  const std::string golden = kGoldens + "/decoders/hunyuan_0";
  std::filesystem::copy(golden + ".safetensors", folder / "alpha.safetensors");
  Json description = parse_config(read_file(golden + ".json"), golden);
  Json config = description.at("config");
  config.erase("rope_parameters");
  config.set("rope_theta", 1.0);  // 1000^(8 / 6) times as large: 10000, the golden case's
  for (const double alpha : {1000.0, 900.0}) {
    config.set("rope_scaling", Json{{"type", "dynamic"}, {"alpha", alpha}, {"factor", 1.0}});
    description.set("config", Json(config));
    folder.write("alpha.json", description.dump());
    CHECK((attn_run({"verify", folder / ""}).code == 0) == (alpha == 1000));
  }
}

TEST_CASE("cli: a whole model without a family of ours") {
  const Published model;
  const std::string out = model.folder / "layers";
  check_refused(model.convert("lama"), {"no family 'lama'", "'olmo2'", "did you mean 'llama'?"});
  check_refused(model.convert("torch"), {"no family 'torch'", "'llama'"});
  check_refused(model.convert("lama", model.folder / "model.safetensors.index.json"),
                {"no family 'lama'"});
  check_refused(model.convert("lama", model.folder / "model.layers.0.safetensors"),
                {"no form or family 'lama'", "'torch'", "'olmo2'", "did you mean 'llama'?"});
  check_refused(attn_run({"convert", model.folder / "", "--output", out}),
                {"whole model", "--from FAMILY", "'llama'", "--prefix"});
  check_refused(attn_run({"convert", model.folder / "", "--to", "torch", "--output", out}),
                {"whole model", "expected the file of a layer"});
}

TEST_CASE("cli: of a model that lacks a layer nothing is written") {
  Published model;
  model.config.set("num_hidden_layers", 3);
  model.write_config();
  check_refused(model.convert(), {"q_proj"});
  CHECK(std::filesystem::is_empty(model.folder / "layers"));
}

TEST_CASE("cli: a model with rules that are not known is not converted") {
  Published model;
  model.config.set("attention_chunk_size", 8192);
  model.write_config();
  check_refused(model.convert(), {"attention_chunk_size"});
  model.config.erase("attention_chunk_size");
  model.config.set("model_type", "mistral");
  model.write_config();
  check_refused(model.convert(), {"model_type"});
  model.folder.write("model.safetensors.index.json", "{}");
  check_refused(model.convert(), {"weight_map"});
  std::filesystem::remove(model.folder / "model.safetensors.index.json");
  check_refused(model.convert(), {"model.safetensors"});
  check_refused(model.convert("llama", model.folder / "nowhere"), {"no such file"});
}

}  // namespace attn::test
