// SPDX-License-Identifier: Apache-2.0
//
// decode_with_cache [--prompt TEXT] [--length N] [--temperature T] [--seed N]
//
// Generates text with the character model of this folder, first with states (a key/value cache in each layer), then
// again without: every step over the whole text so far. Prints the text, the tokens per second of both, how far
// their logits are apart, and the model's loss on text that it was not trained on. It knows 256 positions: longer texts
// are refused.
// Exit code 0: the logits agree to 1e-4 of the largest, and the loss is the one of model.json; 1: not; 2: usage.
#include <attn/config.hpp>
#include <attn/error.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "transformer.hpp"

namespace {

using attn::Array;

constexpr double kLargest = 1e-4;  // float32 through three blocks; sums are cut differently
constexpr int64_t kWindow = 256;   // characters that the loss looks back at most

struct Options {
  std::string prompt = "A plugin is ";
  int64_t length = 240;
  double temperature = 0.5;
  uint64_t seed = 1;
};

// Tokens are the end of a line and the printable characters of ASCII; anything else is the last token.
int64_t token_of(char c) { return c == '\n' ? 0 : c >= ' ' && c <= '~' ? c - ' ' + 1 : 96; }
char character_of(int64_t token) {
  return token == 0 ? '\n' : token == 96 ? '?' : static_cast<char>(token - 1 + ' ');
}

class Model {
 public:
  explicit Model(const std::string& directory)
      : file_(directory + "/model.safetensors"),
        json_(attn::load_config(directory + "/model.json", "model").value()),
        transformer_(json_, [&](const std::string& name) { return file_.read(name); }),
        embedding_(file_.read("embedding")) {}

  // On held_out.txt, as it was when the weights were written.
  [[nodiscard]] double loss() const { return json_.at("loss").to_double(); }

  // Logits (1, tokens, 97). With states the tokens follow those of earlier calls.
  [[nodiscard]] Array operator()(
      const std::vector<int64_t>& tokens,
      const std::vector<std::unique_ptr<attn::State>>& states = {}) const {
    const int64_t dim = embedding_.shape()[1], count = static_cast<int64_t>(tokens.size());
    Array x = Array::uninitialized(ATTN_F32, {1, count, dim});
    for (int64_t i = 0; i < count; ++i)
      std::copy_n(embedding_.data<float>() + tokens[static_cast<size_t>(i)] * dim, dim,
                  x.data<float>() + i * dim);
    const std::vector<attn::Argument> causal{{"use_causal_mask", true}};
    for (size_t n = 0; n < transformer_.blocks.size(); ++n)
      x = transformer_.blocks[n](
          std::move(x), nullptr,
          {.arguments = causal, .state = states.empty() ? nullptr : states[n].get()});
    return transformer_.head->forward(transformer_.norm->forward(x));
  }
  [[nodiscard]] std::vector<std::unique_ptr<attn::State>> make_states(int64_t capacity) const {
    std::vector<std::unique_ptr<attn::State>> states;
    for (const parts::Block& block : transformer_.blocks)
      states.push_back(block.attention->make_state(1, capacity));
    return states;
  }

 private:
  attn::SafetensorsFile file_;
  attn::Json json_;
  parts::Transformer transformer_;
  Array embedding_;
};

std::vector<float> last_row(const Array& logits) {
  const std::vector<float> all = logits.to_vector<float>();
  return {all.end() - logits.shape()[2], all.end()};
}

int64_t draw(const std::vector<float>& logits, double temperature, std::mt19937_64& engine) {
  const auto best = std::max_element(logits.begin(), logits.end());
  if (temperature <= 0) return best - logits.begin();
  std::vector<double> weights;
  for (const float z : logits)
    weights.push_back(std::exp(static_cast<double>(z - *best) / temperature));
  std::discrete_distribution<int64_t> distribution(weights.begin(), weights.end());
  return distribution(engine);
}

// Mean cross entropy of the next character in nats, over windows that overlap by half: the first half of each but the
// first is read and not counted.
double loss_of(const Model& model, const std::vector<int64_t>& text) {
  double sum = 0;
  int64_t counted = 0;
  const auto size = static_cast<int64_t>(text.size());
  for (int64_t begin = 0; begin == 0 || begin + kWindow / 2 + 1 < size; begin += kWindow / 2) {
    const int64_t end = std::min(size - 1, begin + kWindow);
    const Array logits = model({text.begin() + begin, text.begin() + end});
    const int64_t width = logits.shape()[2];
    for (int64_t i = begin == 0 ? 0 : kWindow / 2; i < end - begin; ++i) {
      const float* z = logits.data<float>() + i * width;
      const float top = *std::max_element(z, z + width);
      double total = 0;
      for (int64_t j = 0; j < width; ++j) total += std::exp(static_cast<double>(z[j] - top));
      sum +=
          std::log(total) - static_cast<double>(z[text[static_cast<size_t>(begin + i + 1)]] - top);
      ++counted;
    }
  }
  return sum / static_cast<double>(counted);
}

std::vector<int64_t> tokens_of(const std::string& text) {
  std::vector<int64_t> tokens;
  for (const char c : text) tokens.push_back(token_of(c));
  return tokens;
}

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

int run(const Options& o) {
  const std::string folder = ATTN_EXAMPLE_DIRECTORY;
  const Model model(folder);
  std::vector<int64_t> tokens = tokens_of(o.prompt);
  const size_t first = tokens.size();
  const size_t last = first + static_cast<size_t>(o.length);

  // With states: the prompt in one call, then one token a call.
  std::mt19937_64 engine(o.seed);
  std::vector<std::vector<float>> logits;
  const auto states = model.make_states(static_cast<int64_t>(last));
  std::vector<int64_t> next = tokens;
  auto start = Clock::now();
  while (tokens.size() < last) {
    logits.push_back(last_row(model(next, states)));
    next = {draw(logits.back(), o.temperature, engine)};
    tokens.push_back(next.front());
  }
  const double with = seconds_since(start);
  size_t bytes = 0;
  for (const auto& state : states) bytes += state->bytes();

  // Without: the same tokens, every step from the beginning.
  double off = 0, largest = 0;
  start = Clock::now();
  for (size_t n = first; n < last; ++n) {
    const std::vector<float> again =
        last_row(model({tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(n)}));
    for (size_t i = 0; i < again.size(); ++i) {
      const double difference = std::abs(static_cast<double>(again[i] - logits[n - first][i]));
      off = std::isnan(difference) ? HUGE_VAL : std::max(off, difference);
      largest = std::max(largest, static_cast<double>(std::abs(again[i])));
    }
  }
  const double without = seconds_since(start);

  for (const int64_t token : tokens) std::putchar(character_of(token));
  const auto count = static_cast<double>(o.length);
  std::printf("\n\nwith states:    %8.0f tokens per second, %zu bytes of states\n", count / with,
              bytes);
  std::printf("without:        %8.0f tokens per second\n", count / without);
  std::printf("logits differ:  %.1e of the largest (at most %.0e)\n", off / largest, kLargest);

  std::ifstream file(folder + "/held_out.txt", std::ios::binary);
  const double loss = loss_of(model, tokens_of({std::istreambuf_iterator<char>(file), {}}));
  std::printf("loss:           %.3f nats a character on held_out.txt (model.json: %.3f)\n", loss,
              model.loss());
  return off <= kLargest * largest && std::abs(loss - model.loss()) <= 1e-3 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) try {
  Options o;
  for (int i = 1; i < argc; i += 2) {
    const std::string_view option = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : "";
    if (option == "--prompt" && *value)
      o.prompt = value;
    else if (option == "--length" && std::atoll(value) > 0)
      o.length = std::atoll(value);
    else if (option == "--temperature" && *value)
      o.temperature = std::atof(value);
    else if (option == "--seed" && *value)
      o.seed = std::strtoull(value, nullptr, 10);
    else
      return std::fprintf(stderr,
                          "usage: decode_with_cache [--prompt TEXT] [--length N, at least 1] "
                          "[--temperature T] [--seed N]\n"),
             2;
  }
  return run(o);
} catch (const std::exception& e) {
  std::fprintf(stderr, "decode_with_cache: %s\n", attn::message_of(e).c_str());
  return 1;
}
