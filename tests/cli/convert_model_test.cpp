// SPDX-License-Identifier: Apache-2.0
//
// attn convert of a whole model: shards with their index, one file a layer, and what is refused.
#include "tests/cli/program.hpp"

namespace attn::test {

namespace {

// Two layers of a golden case's weights, in two files with an index.
struct Published {
  Folder folder;
  Json config;

  Published() {
    const std::string stem = kGoldens + "/decoders/llama_0";
    const SafetensorsFile golden(stem + ".safetensors");
    config = parse_config(read_file(stem + ".json"), stem).at("config");
    Json places = Json::object();
    for (const int64_t layer : {0, 1}) {
      std::vector<Array> arrays;
      std::vector<NamedView> views;
      arrays.reserve(8);
      const std::string shard = "model-" + std::to_string(layer) + ".safetensors";
      for (const SafetensorsEntry& e : golden.entries()) {
        if (!e.name.starts_with("weight/")) continue;
        arrays.push_back(golden.read(e.name));
        const std::string name =
            "model.layers." + std::to_string(layer) + ".self_attn." + e.name.substr(7);
        views.push_back({name, arrays.back().view()});
        places.set(name, shard);
      }
      save_safetensors(folder / shard, views);
    }
    folder.write("model.safetensors.index.json", Json{{"weight_map", places}}.dump());
    write_config();
  }
  void write_config() const { folder.write("config.json", config.dump()); }
  [[nodiscard]] Finished convert(const std::string& family = "llama",
                                 const std::string& source = "") const {
    return attn_run({"convert", source.empty() ? folder / "" : source, "--from", family, "--output",
                     folder / "layers"});
  }
};

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
