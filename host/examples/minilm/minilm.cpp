// SPDX-License-Identifier: Apache-2.0
//
// minilm EXAMPLE_DIRECTORY WEIGHTS_DIRECTORY: runs the self-attention of three layers of all-MiniLM-L6-v2 on
// five sentences and compares with what the published model computes there. WEIGHTS_DIRECTORY has
// minilm-<layer>.safetensors, as `attn convert` writes them (README.md shows the command).
//
// Prints one line a layer. Exit code 0: all deviations are at most 1e-5 of the largest value; 1: not.
#include <attn/attention.hpp>
#include <attn/config.hpp>
#include <attn/factory.hpp>
#include <attn/safetensors.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <exception>
#include <string>

#include "deviation.hpp"

namespace {

constexpr double kLargest = 1e-5;  // rounding of float32 through sums of 384 terms is some 1e-6
constexpr int kRuns = 20;

bool run_layer(int number, const attn::Json& config, const attn::SafetensorsFile& data,
               const std::string& weights) {
  const std::string name = "layer." + std::to_string(number);
  const attn::Array x = data.read(name + ".input").astype(ATTN_F32);
  const attn::Array mask = data.read("attention_mask");

  const auto layer = attn::create_attention_from_config(config);
  layer->build({x.shape(), mask.shape()});
  layer->load(weights + "/minilm-" + std::to_string(number) + ".safetensors");

  attn::Array y;
  double best = HUGE_VAL;
  for (int i = 0; i < kRuns; ++i) {
    const auto start = std::chrono::steady_clock::now();
    y = layer->forward({x, mask});
    const std::chrono::duration<double, std::milli> ms = std::chrono::steady_clock::now() - start;
    best = std::min(best, ms.count());
  }
  const double off = deviation(y, data.read(name + ".attention_output"), &mask);
  const bool good = off <= kLargest;
  std::printf("%5d  %-14s  %-14s  %8.3f  %.1e  %s\n", number, x.shape().to_string().c_str(),
              y.shape().to_string().c_str(), best, off, good ? "ok" : "too large");
  return good;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: minilm EXAMPLE_DIRECTORY WEIGHTS_DIRECTORY\n");
    return 2;
  }
  try {
    const std::string example = argv[1];
    const attn::SafetensorsFile data(example + "/minilm-activations.safetensors");
    const auto config = attn::load_config(example + "/layer.json");
    std::printf("layer  input           output          best ms   deviation (at most %.0e)\n",
                kLargest);
    bool good = true;
    for (const int number : std::array{0, 3, 5})
      good = run_layer(number, config.value(), data, argv[2]) && good;
    return good ? 0 : 1;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "minilm: %s\n", attn::message_of(e).c_str());
    return 1;
  }
}
