// SPDX-License-Identifier: Apache-2.0
//
// transformer_block CONFIG: a pre-norm transformer block whose attention is a word of its configuration.
//
//   x = x + attention(norm(x))
//   x = x + mlp(norm(x))                       (Xiong et al. 2020, figure 1b)
//
// `attention` is the name of a type, or "every": then all types run that take one sequence (batch, seq, dim), a
// width `dim` and `num_heads`. Which do follows from their schemas, so that no type is named here. Each type is
// given those of `parameters` that it has, and those of `arguments` that its calls take.
//
// Prints a table: type, parameters of the block, milliseconds of one call, norm of the output. Exit code 1 when
// something did not run; its reason stands in the table.
#include <attn/attention.hpp>
#include <attn/config.hpp>
#include <attn/factory.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <exception>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

using attn::Array;
using attn::Json;
using attn::Shape;

constexpr int kRuns = 5;

// Numbers that look normally distributed, the same in every run.
class Random {
 public:
  float operator()() {
    float sum = 0;
    for (int i = 0; i < 4; ++i) {
      state_ = state_ * 6364136223846793005u + 1442695040888963407u;
      sum += static_cast<float>(state_ >> 40) / (1 << 24) - 0.5F;
    }
    return sum * 1.7320508F;
  }

 private:
  uint64_t state_ = 1;
};

// Layer norm over the last axis.
class Norm {
 public:
  explicit Norm(int64_t dim) : scale_(dim, 1.0F), shift_(dim, 0.0F) {}
  [[nodiscard]] int64_t parameters() const { return 2 * static_cast<int64_t>(scale_.size()); }
  [[nodiscard]] Array operator()(const Array& x) const {
    Array y(ATTN_F32, x.shape());
    const auto dim = static_cast<int64_t>(scale_.size());
    for (int64_t row = 0; row < x.size(); row += dim) {
      const float* in = x.data<float>() + row;
      float* out = y.data<float>() + row;
      float mean = 0, variance = 0;
      for (int64_t i = 0; i < dim; ++i) mean += in[i] / static_cast<float>(dim);
      for (int64_t i = 0; i < dim; ++i)
        variance += (in[i] - mean) * (in[i] - mean) / static_cast<float>(dim);
      for (int64_t i = 0; i < dim; ++i)
        out[i] = (in[i] - mean) / std::sqrt(variance + 1e-5F) * scale_[i] + shift_[i];
    }
    return y;
  }

 private:
  std::vector<float> scale_, shift_;
};

// gelu(x W1 + b1) W2 + b2
class Mlp {
 public:
  Mlp(int64_t dim, int64_t hidden, Random& random)
      : dim_(dim), hidden_(hidden), w1_(dim * hidden), b1_(hidden), w2_(hidden * dim), b2_(dim) {
    for (float& w : w1_) w = random() / std::sqrt(static_cast<float>(dim));
    for (float& w : w2_) w = random() / std::sqrt(static_cast<float>(hidden));
  }
  [[nodiscard]] int64_t parameters() const {
    return static_cast<int64_t>(w1_.size() + b1_.size() + w2_.size() + b2_.size());
  }
  [[nodiscard]] Array operator()(const Array& x) const {
    Array y(ATTN_F32, x.shape());
    std::vector<float> inner(hidden_);
    for (int64_t row = 0; row < x.size(); row += dim_) {
      product(x.data<float>() + row, w1_, b1_, inner.data());
      for (float& u : inner) u *= 0.5F * (1 + std::erf(u * 0.70710678F));
      product(inner.data(), w2_, b2_, y.data<float>() + row);
    }
    return y;
  }

 private:
  static void product(const float* x, const std::vector<float>& w, const std::vector<float>& b,
                      float* y) {
    const size_t out = b.size();
    std::copy(b.begin(), b.end(), y);
    for (size_t i = 0; i < w.size() / out; ++i)
      for (size_t j = 0; j < out; ++j) y[j] += x[i] * w[i * out + j];
  }

  int64_t dim_, hidden_;
  std::vector<float> w1_, b1_, w2_, b2_;
};

void add(Array& to, const Array& x) {
  for (int64_t i = 0; i < x.size(); ++i) to.data<float>()[i] += x.data<float>()[i];
}

class Block {
 public:
  Block(attn::Attention& attention, int64_t dim, int64_t hidden, Random& random)
      : attention_(attention), first_(dim), second_(dim), mlp_(dim, hidden, random) {}

  [[nodiscard]] int64_t parameters() const {
    int64_t n = first_.parameters() + second_.parameters() + mlp_.parameters();
    for (const attn::WeightInfo& w : attention_.weights())
      if (w.trainable) n += w.shape.elements();
    return n;
  }
  [[nodiscard]] Array operator()(const Array& input, const attn::CallOptions& options) const {
    Array x = input.clone();
    add(x, attention_.forward(first_(x), options));
    add(x, mlp_(second_(x)));
    return x;
  }

 private:
  attn::Attention& attention_;
  Norm first_, second_;
  Mlp mlp_;
};

// ---- what a type takes -----------------------------------------------------------------------------

bool has_parameter(const attn_type& type, std::string_view name) {
  return std::any_of(type.params, type.params + type.n_params,
                     [&](const attn_param* p) { return name == p->name; });
}

// One input of shape (batch, seq, dim), all others optional.
bool takes_a_sequence(const attn_type& type) {
  for (uint32_t i = 1; i < type.n_inputs; ++i)
    if ((type.inputs[i]->flags & ATTN_INPUT_OPTIONAL) == 0) return false;
  const attn_input& input = *type.inputs[0];
  return std::any_of(input.shapes, input.shapes + input.n_shapes, [](std::string_view shape) {
    return std::count(shape.begin(), shape.end(), ',') == 2;
  });
}

std::vector<std::string> fitting_types() {
  std::vector<std::string> names;
  for (const std::string& name : attn::list_attention_types()) {
    const attn_type& type = *attn::find_attention_type(name).type;
    if (takes_a_sequence(type) && has_parameter(type, "dim") && has_parameter(type, "num_heads"))
      names.push_back(name);
  }
  return names;
}

// The given parameters that the type has. Of those that only some types need, one that it could do without is
// left at its default when `all` is false.
Json known_parameters(const attn_type& type, const Json& block, bool all) {
  Json known = Json::object();
  for (uint32_t i = 0; i < type.n_params; ++i) {
    const attn_param& p = *type.params[i];
    const std::string_view name = p.name;
    const Json* value = block.at("parameters").find(name);
    if (name == "dim") value = &block.at("dim");
    const bool wanted = all || name == "num_heads" || (p.flags & ATTN_PARAM_REQUIRED) != 0;
    if (value && wanted) known.set(name, *value);
  }
  return known;
}

// Arguments of a call, with the lists they look at.
struct Arguments {
  std::vector<std::vector<int64_t>> lists;
  std::vector<attn::Argument> values;

  Arguments(const attn_type& type, const Json& block) {
    const Json* given = block.find("arguments");
    lists.reserve(type.n_args);
    for (uint32_t i = 0; i < type.n_args; ++i) {
      const Json* value = given ? given->find(type.args[i]->name) : nullptr;
      if (!value) continue;
      const std::string_view name = type.args[i]->name;
      if (value->is_bool()) values.emplace_back(name, value->as_bool());
      if (value->is_integer()) values.emplace_back(name, value->to_int64().value());
      if (value->is_floating()) values.emplace_back(name, value->to_double());
      if (!value->is_list()) continue;
      std::vector<int64_t>& list = lists.emplace_back();
      for (const Json& element : value->as_list()) list.push_back(element.to_int64().value());
      values.emplace_back(name, std::span<const int64_t>(list));
    }
  }
};

// ---- the table -------------------------------------------------------------------------------------

int64_t integer(const Json& block, std::string_view name) {
  const auto n = block.at(name).to_int64();
  if (!n || *n < 1)
    throw std::runtime_error("'" + std::string(name) + "' must be a positive integer");
  return *n;
}

void run(const std::string& name, const Json& block, bool all) {
  const int64_t dim = integer(block, "dim");
  const Shape shape{integer(block, "batch"), integer(block, "seq_len"), dim};
  const attn_type& type = *attn::find_attention_type(name).type;
  const auto layer = attn::create_attention_layer(name, known_parameters(type, block, all), name);
  std::vector<std::optional<Shape>> inputs(type.n_inputs);
  inputs[0] = shape;
  layer->build(inputs, {.seed = 1});

  Random random;
  Array x(ATTN_F32, shape);
  for (int64_t i = 0; i < x.size(); ++i) x.data<float>()[i] = random();
  const Block transform(*layer, dim, dim * integer(block, "mlp_ratio"), random);
  const Arguments arguments(type, block);

  Array y;
  double best = HUGE_VAL, squares = 0;
  for (int i = 0; i < kRuns; ++i) {
    const auto start = std::chrono::steady_clock::now();
    y = transform(x, {.arguments = arguments.values});
    const std::chrono::duration<double, std::milli> ms = std::chrono::steady_clock::now() - start;
    best = std::min(best, ms.count());
  }
  for (int64_t i = 0; i < y.size(); ++i)
    squares += static_cast<double>(y.data<float>()[i]) * static_cast<double>(y.data<float>()[i]);
  std::printf("%-22s %10lld %9.3f %11.4f\n", name.c_str(),
              static_cast<long long>(transform.parameters()), best, std::sqrt(squares));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: transformer_block CONFIG\n");
    return 2;
  }
  try {
    const auto config = attn::load_config(argv[1], "block");
    const Json& block = config.value();
    const std::string& attention = block.at("attention").as_string();
    const bool every = attention == "every";
    const std::vector<std::string> names = every ? fitting_types() : std::vector{attention};
    std::printf("%-22s %10s %9s %11s\n", "attention", "parameters", "ms", "norm");
    int failed = 0;
    for (const std::string& name : names) {
      try {
        run(name, block, !every);
      } catch (const std::exception& e) {
        std::printf("%-22s did not run: %s\n", name.c_str(), attn::message_of(e).c_str());
        ++failed;
      }
    }
    return failed == 0 && !names.empty() ? 0 : 1;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s: %s\n", argv[1], attn::message_of(e).c_str());
    return 1;
  }
}
