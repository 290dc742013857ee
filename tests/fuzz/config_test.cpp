// SPDX-License-Identifier: Apache-2.0
//
// Configurations: the examples of all types, changed; read, located and made into layers.
#include <attn/config.hpp>
#include <attn/factory.hpp>

#include "core/schema/json_text.hpp"
#include "host/library/tuning/plan_file.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace attn::fuzz {

namespace {

std::vector<std::string> examples() {
  std::vector<std::string> texts;
  for (const auto& folder : std::filesystem::directory_iterator(ATTN_SOURCE_DIR "/plugins")) {
    const std::string path = (folder.path() / "example.json").string();
    if (std::filesystem::exists(path)) texts.push_back(contents(path));
  }
  std::sort(texts.begin(), texts.end());  // the order of a directory is not the same everywhere
  REQUIRE(texts.size() >= 20);
  // Options inside of options, and what surrounds a layer in a file.
  texts.push_back(R"({"type": "multi_head", "dim": 24, "num_heads": 3, "dropout_rate": 24e-24,
    "kernel_initializer": {"class_name": "VarianceScaling", "config": {"scale": 0.5, "mode": "fan_in",
    "distribution": "uniform"}}, "kernel_regularizer": {"class_name": "L1L2", "config": {"l1": 0.1, "l2": 1e-2}},
    "probability_type": "adaptive", "probability_config": {"min_temp": 0.1, "max_temp": 1.0},
    "qk_norm_type": "rms_norm", "qk_norm_kwargs": {"epsilon": 1e-6}, "name": "\u00e4\ud83d\ude00"})");
  texts.push_back("{\"$schema\": \"x\", \"attention\": " + texts.front() +
                  ", \"more\": [1, null, true]}");
  return texts;
}

// "fuzz.json:LINE:COLUMN" and what is in the lines of the text.
void check_place(const std::string& where, const std::string& text) {
  unsigned long line = 0, column = 0;
  int end = 0;
  if (std::sscanf(where.c_str(), "fuzz.json:%lu:%lu%n", &line, &column, &end) != 2 ||
      static_cast<size_t>(end) != where.size() || line < 1 || column < 1 ||
      line > 1 + static_cast<size_t>(std::count(text.begin(), text.end(), '\n')) ||
      column > text.size() + 1)
    throw Finding("no place in the text: '" + where + "'");
}

}  // namespace

TEST_CASE("fuzz: configurations") {
  fuzz(examples(), [](const std::string& text) {
    std::optional<LoadedConfig> config;
    try {
      config.emplace(text, "fuzz.json");
    } catch (const InvalidArgument& e) {
      check_place(e.details().where, text);
      throw;
    }
    // What is written out is read back the same.
    if (parse_config(config->value().dump()) != config->value())
      throw Finding("another value after printing: " + config->value().dump());
    try {
      const auto layer = create_attention_from_config(config->value());
      if (layer->config().dump().empty()) throw Finding("a layer without a config");
    } catch (const InvalidArgument& e) {
      check_place(config->located(e).details().where, text);
      throw;
    }
  });
}

TEST_CASE("fuzz: options that cross the plugin border as text") {
  fuzz(examples(), [](const std::string& text) {
    const Json value = schema::parse_json(text);
    if (schema::parse_json(value.dump()) != value)
      throw Finding("another value after printing: " + value.dump());
  });
}

TEST_CASE("fuzz: remembered plans") {
  const ScratchFile file(".json");
  unlink(file.path().c_str());
  tuning::PlanFile plans(file.path());
  plans.put({{.config = "c", .call = 1, .weights = "w", .threads = 2, .level = "l"},
             {.slice_rows = 3},
             "layer",
             "inputs",
             "mode",
             0.5,
             0.75});
  REQUIRE(plans.save());
  fuzz(
      {contents(file.path())},
      [&](const std::string& text) {
        file.write(text);
        const tuning::PlanFile read(file.path());
        if (!read.problem().empty()) throw InvalidArgument(read.problem());
      },
      {}, 10);
}

}  // namespace attn::fuzz
