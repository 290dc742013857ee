// SPDX-License-Identifier: Apache-2.0
//
// gradients CONFIG INPUT.npy: a program of a user of the library. Builds the layer in float64, compares the
// gradients of sum(output * cotangent) for its input and all trained weights with central differences, and
// writes a float32 input (2, 7, dim) for others to use. Exit code 1 when a gradient is off.
//
// With step h = 1e-5 the differences are off by h^2 times a third derivative and eps / h times the value:
// some 1e-10 of the largest gradient; 1e-6 leaves room for layers that curve a lot.
#include <attn/attention.hpp>
#include <attn/config.hpp>
#include <attn/factory.hpp>
#include <attn/npy.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>
#include <random>
#include <string>

namespace {

constexpr double kStep = 1e-5, kTolerance = 1e-6;

attn::Array random_array(const attn::Shape& shape, std::mt19937& engine) {
  std::normal_distribution<double> normal;
  attn::Array a(ATTN_F64, shape);
  for (int64_t i = 0; i < a.size(); ++i) a.data<double>()[i] = normal(engine);
  return a;
}

double objective(attn::Attention& layer, const attn::Array& x, const attn::Array& cotangent) {
  attn::Context context(ATTN_F64);
  const attn::Input input(x);
  layer.forward(context, {&input, 1});
  const attn::Array y = attn::Array::copy_of(*context.output());
  double sum = 0;
  for (int64_t i = 0; i < y.size(); ++i) sum += y.data<double>()[i] * cotangent.data<double>()[i];
  return sum;
}

struct Worst {
  double error = 0, largest = 0;
  void add(double found, double wanted) {
    const double off = std::abs(found - wanted);
    error = std::isfinite(off) ? std::max(error, off) : HUGE_VAL;
    largest = std::max(largest, std::abs(wanted));
  }
  bool report(const std::string& name) const {
    const bool good = largest > 0 && error <= kTolerance * largest;
    std::printf("%-24s %.1e of %.1e  %s\n", name.c_str(), error, largest, good ? "ok" : "off");
    return good;
  }
};

bool check(attn::Attention& layer, attn::Array& x, std::mt19937& engine) {
  attn::Context context(ATTN_F64);
  const attn::Input input(x);
  layer.forward(context, {&input, 1}, {.record = true});
  const attn::Array cotangent = random_array(context.output()->shape, engine);
  attn::Gradients gradients(layer);
  const attn::Input seed(cotangent);
  layer.backward(context, {&seed, 1}, gradients);

  bool good = true;
  const auto difference = [&](auto&& at) {
    at(kStep);
    const double up = objective(layer, x, cotangent);
    at(-2 * kStep);
    const double down = objective(layer, x, cotangent);
    at(kStep);
    return (up - down) / (2 * kStep);
  };
  const attn::Array dx = attn::Array::copy_of(*context.input_gradient("inputs"));
  Worst worst;
  for (int64_t i = 0; i < x.size(); ++i)
    worst.add(dx.data<double>()[i], difference([&](double h) { x.data<double>()[i] += h; }));
  good = worst.report("inputs") && good;

  for (const attn::WeightInfo& info : layer.weights()) {
    if (!info.trainable) continue;
    const attn::Array* gradient = gradients.weight(info.name);
    if (gradient == nullptr) {
      std::printf("%-24s has no gradient\n", info.name.c_str());
      good = false;
      continue;
    }
    attn::Array value = attn::Array::copy_of(layer.weight(info.name));
    Worst of_weight;
    const int64_t step = std::max<int64_t>(1, value.size() / 50);  // some 50 elements of each
    for (int64_t i = 0; i < value.size(); i += step) {
      const double wanted = difference([&](double h) {
        value.data<double>()[i] += h;
        layer.set_weight(info.name, value);
      });
      of_weight.add(gradient->data<double>()[i], wanted);
    }
    good = of_weight.report(info.name) && good;
  }
  return good;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: gradients CONFIG INPUT.npy\n");
    return 2;
  }
  try {
    const auto layer = attn::create_attention_from_config(attn::load_config(argv[1]).value());
    // A type without a width of its own takes any.
    const attn::Json config = layer->config();
    const int64_t dim = config.contains("dim") ? *config.at("dim").to_int64() : 8;
    std::mt19937 engine(7);
    attn::Array x = random_array({2, 7, dim}, engine);
    attn::write_npy(argv[2], x.astype(ATTN_F32));
    layer->build({x.shape()}, {.dtype = ATTN_F64, .seed = 1});
    return check(*layer, x, engine) ? 0 : 1;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "gradients: %s\n", e.what());
    return 1;
  }
}
