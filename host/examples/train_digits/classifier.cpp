// SPDX-License-Identifier: Apache-2.0
#include "classifier.hpp"

#include <attn/error.hpp>
#include <attn/factory.hpp>

#include <algorithm>
#include <cmath>
#include <optional>
#include <random>
#include <string_view>

namespace digits {

namespace {

constexpr int64_t kRow = kPatches * kWidth;  // what the head sees of an image
constexpr float kEpsilon = 1e-5f;

attn::Shape shape_of_x(int64_t batch, bool map) {
  return map ? attn::Shape{batch, 4, 4, kWidth} : attn::Shape{batch, kPatches, kWidth};
}

void fill_normal(std::vector<float>& w, int64_t n, double deviation, std::mt19937_64& engine) {
  std::normal_distribution<float> normal(0.0f, static_cast<float>(deviation));
  w.resize(static_cast<size_t>(n));
  for (float& v : w) v = normal(engine);
}

// c (+)= a b, dense: a (m, k), b (k, n).
void multiply(int64_t m, int64_t n, int64_t k, const float* a, const float* b, float* c) {
  for (int64_t i = 0; i < m; ++i)
    for (int64_t p = 0; p < k; ++p)
      for (int64_t j = 0; j < n; ++j) c[i * n + j] += a[i * k + p] * b[p * n + j];
}
// c += a^T b: a (m, k), b (m, n), c (k, n).
void multiply_at(int64_t m, int64_t n, int64_t k, const float* a, const float* b, float* c) {
  for (int64_t i = 0; i < m; ++i)
    for (int64_t p = 0; p < k; ++p)
      for (int64_t j = 0; j < n; ++j) c[p * n + j] += a[i * k + p] * b[i * n + j];
}

}  // namespace

Classifier::Classifier(const attn::Json& config, uint64_t seed) {
  const attn::Json* attention = config.is_object() ? config.find("attention") : nullptr;
  if (!attention)
    throw attn::InvalidArgument("no 'attention' in the configuration",
                                {.expected = "{\"attention\": {\"type\": ...}}"});
  layer_ = attn::create_attention_from_config(*attention);
  if (const attn::Json* call = config.find("call")) read_call(*call);
  const attn_type& type = layer_->type();
  std::vector<std::optional<attn::Shape>> shapes(type.n_inputs);
  for (uint32_t i = 0; i < type.n_inputs; ++i) {
    const attn_input& in = *type.inputs[i];
    if (in.flags & (ATTN_INPUT_OPTIONAL | ATTN_INPUT_MASK)) continue;
    const std::string_view extents = in.n_shapes ? in.shapes[0] : "";
    map_ = std::count(extents.begin(), extents.end(), ',') == 3;
    names_.emplace_back(in.name);
    shapes[i] = shape_of_x(-1, map_);
  }
  layer_->build(shapes, {.seed = seed});
  gradients_ = std::make_unique<attn::Gradients>(*layer_);
  layer_optimizers_.resize(gradients_->entries().size());

  std::mt19937_64 engine(seed);
  fill_normal(embedding_.w, kPatchSize * kWidth, 1.0 / std::sqrt(kPatchSize), engine);
  fill_normal(positions_.w, kRow, 0.2, engine);
  fill_normal(head_.w, kRow * kClasses, 1.0 / std::sqrt(kRow), engine);
  bias_.w.assign(kClasses, 0.0f);
}

// Numbers, booleans, texts and lists of integers, as a call takes them.
void Classifier::read_call(const attn::Json& call) {
  for (const auto& [key, value] : call.as_object()) {
    const std::string& name = texts_.emplace_back(key);
    if (value.is_bool()) {
      arguments_.emplace_back(name, value.as_bool());
    } else if (const auto integer = value.to_int64()) {
      arguments_.emplace_back(name, *integer);
    } else if (value.is_list()) {
      auto& list = lists_.emplace_back();
      for (const attn::Json& item : value.as_list()) list.push_back(item.to_int64().value_or(0));
      arguments_.emplace_back(name, std::span<const int64_t>(list));
    } else {
      arguments_.emplace_back(name, value.to_double());
    }
  }
}

std::vector<attn::Input> Classifier::inputs() const {
  std::vector<attn::Input> list;
  for (const std::string& name : names_) list.emplace_back(name, x_.view());
  return list;
}

void Classifier::forward(const Images& images, bool training) {
  const int64_t batch = images.count(), rows = batch * kPatches;
  x_ = attn::Array(ATTN_F32, shape_of_x(batch, map_));
  float* x = x_.data<float>();
  for (int64_t b = 0; b < batch; ++b) std::copy_n(positions_.w.data(), kRow, x + b * kRow);
  multiply(rows, kWidth, kPatchSize, images.patches.data(), embedding_.w.data(), x);
  layer_->forward(context_, inputs(),
                  {.training = training, .record = training, .arguments = arguments_});
  y_ = attn::Array::copy_of(*context_.output());
  gate_ = y_.size() != x_.size();
  bool fits = y_.shape().rank() == x_.shape().rank();
  for (size_t i = 0; fits && i < x_.shape().size(); ++i)
    fits = y_.shape()[i] == x_.shape()[i] || y_.shape()[i] == 1;
  if (!fits)
    throw attn::InvalidArgument(layer_->name() + " turns " + x_.shape().to_string() + " into " +
                                    y_.shape().to_string() + ", which neither adds nor broadcasts",
                                {.where = layer_->name()});
  z_.resize(static_cast<size_t>(rows * kWidth));
  scale_.resize(static_cast<size_t>(rows));
  for (int64_t r = 0; r < rows; ++r) {
    float* z = z_.data() + r * kWidth;
    float mean = 0, square = 0;
    for (int64_t i = 0; i < kWidth; ++i) {
      const int64_t at = r * kWidth + i;
      const float y = y_.data<float>()[in_output(at)];
      z[i] = gate_ ? x[at] * y : x[at] + y;
      mean += z[i] / kWidth;
    }
    for (int64_t i = 0; i < kWidth; ++i) square += (z[i] - mean) * (z[i] - mean) / kWidth;
    const float scale = 1 / std::sqrt(square + kEpsilon);
    for (int64_t i = 0; i < kWidth; ++i) z[i] = (z[i] - mean) * scale;
    scale_[static_cast<size_t>(r)] = scale;
  }
  std::vector<float> features = z_;
  for (float& v : features) v = std::max(v, 0.0f);
  logits_.resize(static_cast<size_t>(batch * kClasses));
  for (int64_t b = 0; b < batch; ++b) std::copy_n(bias_.w.data(), kClasses, &logits_[b * kClasses]);
  multiply(batch, kClasses, kRow, features.data(), head_.w.data(), logits_.data());
}

int64_t Classifier::in_output(int64_t i) const {
  if (!gate_) return i;
  int64_t at = 0, step = 1;
  for (auto axis = static_cast<int>(x_.shape().rank()) - 1; axis >= 0; --axis) {
    const int64_t extent = x_.shape()[static_cast<size_t>(axis)];
    if (y_.shape()[static_cast<size_t>(axis)] != 1) {
      at += i % extent * step;
      step *= extent;
    }
    i /= extent;
  }
  return at;
}

float Classifier::train(const Images& images, const AdamWOptions& options) {
  const int64_t batch = images.count();
  forward(images, true);
  // Softmax and its cross entropy; logits_ becomes the gradient.
  double loss = 0;
  for (int64_t b = 0; b < batch; ++b) {
    float* p = logits_.data() + b * kClasses;
    const float top = *std::max_element(p, p + kClasses);
    double sum = 0;
    for (int64_t c = 0; c < kClasses; ++c) sum += std::exp(static_cast<double>(p[c] - top));
    const int32_t label = images.labels[static_cast<size_t>(b)];
    loss += std::log(sum) - static_cast<double>(p[label] - top);
    for (int64_t c = 0; c < kClasses; ++c)
      p[c] = static_cast<float>(
          (std::exp(static_cast<double>(p[c] - top)) / sum - (c == label ? 1 : 0)) /
          static_cast<double>(batch));
  }
  backward(images);

  std::vector<attn::Gradients::Entry>& entries = gradients_->entries();
  for (size_t i = 0; i < entries.size(); ++i) {
    if (!entries[i].trained) continue;
    attn::Array w = attn::Array::copy_of(layer_->weight(entries[i].name));
    layer_optimizers_[i].step(w.data<float>(), entries[i].gradient.data<float>(),
                              static_cast<size_t>(w.size()), options);
    layer_->set_weight(entries[i].name, w.view());
  }
  for (Dense* d : {&embedding_, &positions_, &head_, &bias_})
    d->optimizer.step(d->w.data(), d->gradient.data(), d->w.size(), options);
  return static_cast<float>(loss / static_cast<double>(batch));
}

// From the gradient of the logits to that of every weight.
void Classifier::backward(const Images& images) {
  const int64_t batch = images.count(), rows = batch * kPatches;
  for (Dense* d : {&embedding_, &positions_, &head_, &bias_}) d->gradient.assign(d->w.size(), 0.0f);
  std::vector<float> d(static_cast<size_t>(x_.size()));  // of x + y or x * y, then of x
  for (int64_t b = 0; b < batch; ++b) {
    const float* dlogits = logits_.data() + b * kClasses;
    for (int64_t c = 0; c < kClasses; ++c) bias_.gradient[static_cast<size_t>(c)] += dlogits[c];
    for (int64_t i = 0; i < kRow; ++i) {
      const float z = z_[static_cast<size_t>(b * kRow + i)];
      if (z <= 0) continue;
      for (int64_t c = 0; c < kClasses; ++c) {
        const auto at = static_cast<size_t>(i * kClasses + c);
        head_.gradient[at] += z * dlogits[c];
        d[static_cast<size_t>(b * kRow + i)] += head_.w[at] * dlogits[c];
      }
    }
  }
  // Through the normalisation: dx = scale (dz - mean dz - z mean(dz z)).
  for (int64_t r = 0; r < rows; ++r) {
    const float* z = z_.data() + r * kWidth;
    float* dz = d.data() + r * kWidth;
    float mean = 0, along = 0;
    for (int64_t i = 0; i < kWidth; ++i) mean += dz[i] / kWidth, along += dz[i] * z[i] / kWidth;
    for (int64_t i = 0; i < kWidth; ++i)
      dz[i] = scale_[static_cast<size_t>(r)] * (dz[i] - mean - z[i] * along);
  }
  gradients_->zero();
  attn::Array dy(ATTN_F32, y_.shape());
  for (int64_t i = 0; i < x_.size(); ++i) {
    const int64_t at = in_output(i);
    float& of_x = d[static_cast<size_t>(i)];
    dy.data<float>()[at] += gate_ ? of_x * x_.data<float>()[i] : of_x;
    if (gate_) of_x *= y_.data<float>()[at];
  }
  const attn::Input seed("output", dy.view());
  layer_->backward(context_, {&seed, 1}, *gradients_, {.penalties = true});
  layer_->commit(context_);
  for (const std::string& name : names_) {
    const auto gradient = context_.input_gradient(name);
    if (!gradient) continue;
    const attn::Array dx = attn::Array::copy_of(*gradient);
    for (int64_t i = 0; i < dx.size(); ++i) d[static_cast<size_t>(i)] += dx.data<float>()[i];
  }
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t i = 0; i < kRow; ++i)
      positions_.gradient[static_cast<size_t>(i)] += d[static_cast<size_t>(b * kRow + i)];
  multiply_at(rows, kWidth, kPatchSize, images.patches.data(), d.data(),
              embedding_.gradient.data());
}

double Classifier::accuracy(const Images& images) {
  forward(images, false);
  int64_t right = 0;
  for (int64_t b = 0; b < images.count(); ++b) {
    const float* p = logits_.data() + b * kClasses;
    right += std::max_element(p, p + kClasses) - p == images.labels[static_cast<size_t>(b)];
  }
  return static_cast<double>(right) / static_cast<double>(images.count());
}

int64_t Classifier::trained_weights() const {
  auto n = static_cast<int64_t>(embedding_.w.size() + positions_.w.size() + head_.w.size() +
                                bias_.w.size());
  for (const attn::WeightInfo& w : layer_->weights()) n += w.trainable ? w.shape.elements() : 0;
  return n;
}

}  // namespace digits
