// SPDX-License-Identifier: Apache-2.0
//
// minilm_encoder [MODEL_DIRECTORY]: the complete sentence encoder, from texts to embeddings, beside what the published
// model computes for five sentences. MODEL_DIRECTORY has its model.safetensors (90 MB; README.md tells where from).
// Without one: every part of which this folder has the weights, each on the published input of that part.
//
// Prints deviations, and with the whole model texts per second. Exit code 0: all deviations are at most 1e-5 of the
// largest value; 1: not.
#include <attn/config.hpp>
#include <attn/error.hpp>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>

#include "deviation.hpp"
#include "encoder.hpp"
#include "tokenizer.hpp"

namespace {

using attn::Array;

constexpr double kLargest = 1e-5;

bool all_good = true;
void report(const std::string& what, double deviation) {
  const bool good = deviation <= kLargest;
  all_good = all_good && good;
  std::printf("%-44s %.1e  %s\n", what.c_str(), deviation, good ? "ok" : "too large");
}

// Texts per second of a batch, the best of `runs`.
double speed(const minilm::Encoder& encoder, const minilm::Batch& batch, int runs) {
  double best = HUGE_VAL;
  for (int i = 0; i < runs; ++i) {
    const auto start = std::chrono::steady_clock::now();
    static_cast<void>(encoder(batch));
    best = std::min(
        best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return static_cast<double>(batch.ids.shape()[0]) / best;
}

}  // namespace

int main(int argc, char** argv) try {
  const std::string folder = std::string(ATTN_EXAMPLE_DIRECTORY) + "/";
  const attn::SafetensorsFile expected(folder + "minilm-activations.safetensors");
  const std::string others = folder + "minilm-other-weights.safetensors";
  const Array vocabulary = attn::SafetensorsFile(others).read("vocabulary");
  const minilm::Tokenizer tokenizer(
      {static_cast<const char*>(vocabulary.raw()), vocabulary.bytes()});
  std::vector<std::vector<int32_t>> tokens;
  const attn::Json texts = attn::parse_config(expected.metadata().at("texts"));
  for (const attn::Json& text : texts.as_list()) tokens.push_back(tokenizer(text.as_string()));
  const minilm::Batch batch = minilm::make_batch(tokens);
  const Array ids = expected.read("input_ids"), mask = expected.read("attention_mask");
  if (batch.ids.to_vector<int32_t>() != ids.to_vector<int32_t>() ||
      batch.mask.shape() != mask.shape() ||
      std::memcmp(batch.mask.raw(), mask.raw(), mask.bytes()) != 0)
    throw std::runtime_error("the tokens are not those of the published model");
  std::printf("%zu texts, %lld tokens at most: those of the published model\n", tokens.size(),
              static_cast<long long>(ids.shape()[1]));

  if (argc > 1) {
    const minilm::Encoder encoder({std::string(argv[1]) + "/model.safetensors"});
    report("sentence embeddings", deviation(encoder(batch), expected.read("sentence_embedding")));
    std::vector<std::vector<int32_t>> many;
    for (int i = 0; i < 32; ++i) many.push_back(tokens[0]);
    std::printf("texts of %zu tokens per second: %.0f in batches of 32, %.0f one by one\n",
                tokens[0].size(), speed(encoder, minilm::make_batch(many), 10),
                speed(encoder, minilm::make_batch({tokens[0]}), 50));
    return all_good ? 0 : 1;
  }

  const minilm::Encoder encoder({folder + "minilm-attention-weights.safetensors", others});
  report("embeddings of the tokens",
         deviation(encoder.embed(ids), expected.read("layer.0.input"), &mask));
  for (const auto& [n, layer] : encoder.layers()) {
    Array x = layer(expected.read("layer." + std::to_string(n) + ".input"), &mask);
    report("layer " + std::to_string(n) + ", the last",
           deviation(x, expected.read("last_hidden_state"), &mask));
    report("sentence embeddings from it",
           deviation(minilm::Encoder::pool(x, mask), expected.read("sentence_embedding")));
  }
  return all_good && encoder.layers().size() == 1 ? 0 : 1;
} catch (const std::exception& e) {
  std::fprintf(stderr, "minilm_encoder: %s\n", attn::message_of(e).c_str());
  return 1;
}
