// SPDX-License-Identifier: Apache-2.0
//
// train_digits [--epochs N] [--images N] [--seed N] [--picture FILE.svg] [--data FILE] [CONFIG.json...]
//
// Trains the same small classifier once with each configuration's attention layer, on real handwritten digits, and
// prints a table: without CONFIG with every configuration beside this example. --images: only the first N training
// images (a quick look); then no accuracy is asked for, only a loss that falls.
// Exit code 0: all reach 95 % of the test images; 1: not; 2: usage or input.
#include <attn/config.hpp>
#include <attn/error.hpp>

#include <unistd.h>
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <numeric>
#include <random>
#include <string>
#include <string_view>

#include "classifier.hpp"
#include "loss_curve.hpp"

namespace {

using namespace digits;

constexpr double kWanted = 0.95;
constexpr int64_t kBatch = 32;

struct Options {
  int64_t epochs = 12, images = 0, seed = 1;
  std::string picture = "train_digits.svg";
  std::string data = std::string(ATTN_EXAMPLE_DIRECTORY) + "/digits.safetensors";
  std::vector<std::string> configs;
};

struct Usage : std::runtime_error {
  using runtime_error::runtime_error;
};

Options read_options(int argc, char** argv) {
  Options o;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (!word.starts_with("--")) {
      o.configs.emplace_back(word);
      continue;
    }
    if (i + 1 == argc) throw Usage(std::string(word) + " needs a value");
    const std::string_view value = argv[++i];
    const auto number = [&](int64_t least) {
      int64_t n = 0;
      const auto [end, ec] = std::from_chars(value.data(), value.data() + value.size(), n);
      if (ec != std::errc() || end != value.data() + value.size() || n < least)
        throw Usage(std::string(word) + " takes an integer from " + std::to_string(least) +
                    ", got '" + std::string(value) + "'");
      return n;
    };
    if (word == "--epochs")
      o.epochs = number(1);
    else if (word == "--images")
      o.images = number(1);
    else if (word == "--seed")
      o.seed = number(0);
    else if (word == "--picture")
      o.picture = value;
    else if (word == "--data")
      o.data = value;
    else
      throw Usage("unknown option " + std::string(word));
  }
  if (o.configs.empty())
    for (const auto& entry :
         std::filesystem::directory_iterator(std::string(ATTN_EXAMPLE_DIRECTORY) + "/configs"))
      if (entry.path().extension() == ".json") o.configs.push_back(entry.path().string());
  std::sort(o.configs.begin(), o.configs.end());
  return o;
}

struct Result {
  Curve curve;
  int64_t weights = 0;
  double accuracy = 0, seconds = 0;
};

// Writes over one line of a terminal.
void progress(const std::string& name, int64_t epoch, int64_t epochs, double loss) {
  if (!isatty(STDERR_FILENO)) return;
  std::fprintf(stderr, "\r%-22s epoch %3lld of %lld, loss %.4f ", name.c_str(),
               static_cast<long long>(epoch), static_cast<long long>(epochs), loss);
  if (epoch == epochs) std::fprintf(stderr, "\r%60s\r", "");
}

Result train(const std::string& path, const Digits& data, const Options& o) {
  const auto start = std::chrono::steady_clock::now();
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  if (!file) throw attn::InvalidArgument(path + ": cannot be read", {.where = path});
  const attn::Json config = attn::parse_config(text, path);
  const auto seed = static_cast<uint64_t>(o.seed);
  Classifier classifier(config, seed);
  Result result;
  result.curve.name = std::filesystem::path(path).stem();
  result.weights = classifier.trained_weights();
  const int64_t count = o.images ? std::min(o.images, data.train.count()) : data.train.count();
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  std::mt19937_64 engine(seed);
  const int64_t steps = (count + kBatch - 1) / kBatch;
  for (int64_t epoch = 1; epoch <= o.epochs; ++epoch) {
    std::shuffle(order.begin(), order.end(), engine);
    double loss = 0;
    for (int64_t step = 0; step < steps; ++step) {
      const int64_t first = step * kBatch;
      const Images batch = pick(data.train, order.data() + first, std::min(kBatch, count - first));
      // Half a cosine: from the full rate to nothing.
      AdamWOptions options;
      const double at = static_cast<double>((epoch - 1) * steps + step);
      options.rate *= static_cast<float>(
          0.5 * (1 + std::cos(M_PI * at / static_cast<double>(o.epochs * steps))));
      loss += static_cast<double>(classifier.train(batch, options)) / static_cast<double>(steps);
    }
    result.curve.loss.push_back(loss);
    progress(result.curve.name, epoch, o.epochs, loss);
  }
  result.accuracy = classifier.accuracy(data.test);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

bool good(const Result& r, const Options& o) {
  const std::vector<double>& loss = r.curve.loss;
  for (const double v : loss)
    if (!std::isfinite(v)) return false;
  if (o.images) return loss.size() > 1 && loss.back() < 0.9 * loss.front();
  return r.accuracy >= kWanted;
}

int run(const Options& o) {
  const Digits data = read_digits(o.data);
  std::printf("%-22s %8s %10s %10s %9s %8s\n", "CONFIGURATION", "WEIGHTS", "FIRST LOSS",
              "LAST LOSS", "TEST", "SECONDS");
  std::vector<Curve> curves;
  int passed = 0, failed = 0;
  for (const std::string& path : o.configs) {
    const Result r = train(path, data, o);
    const bool ok = good(r, o);
    ++(ok ? passed : failed);
    std::printf("%-22s %8lld %10.4f %10.4f %7.2f %% %8.1f  %s\n", r.curve.name.c_str(),
                static_cast<long long>(r.weights), r.curve.loss.front(), r.curve.loss.back(),
                100 * r.accuracy, r.seconds, ok ? "ok" : "too low");
    std::fflush(stdout);
    curves.push_back(r.curve);
  }
  write_loss_curves(o.picture, curves);
  std::printf("loss curves: %s\n%d passed, %d failed\n", o.picture.c_str(), passed, failed);
  return failed ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(read_options(argc, argv));
  } catch (const Usage& e) {
    std::fprintf(stderr,
                 "train_digits: %s\nusage: train_digits [--epochs N] [--images N] [--seed N] "
                 "[--picture FILE.svg] [--data FILE] [CONFIG.json...]\n",
                 e.what());
  } catch (const std::exception& e) {
    std::fprintf(stderr, "train_digits: %s\n", attn::message_of(e).c_str());
  }
  return 2;
}
