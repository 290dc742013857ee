// SPDX-License-Identifier: Apache-2.0
//
// The smallest classifier that has an attention layer in the middle:
//
//   x = patches E + positions           (B, 16, width)
//   z = normalise(x + attention(x))     mean 0, variance 1 for each patch
//     = normalise(x * attention(x))     where the layer gives a gate that broadcasts, one value a channel or place
//   logits = max(z, 0) W + b            all sixteen patches side by side -> 10 classes
//
// The attention layer is whatever its configuration says. Layers that take maps get (B, 4, 4, width), the others
// (B, 16, width); a layer with several tensors as inputs gets x for each. One thread at a time.
#pragma once

#include <attn/attention.hpp>

#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "adamw.hpp"
#include "digits.hpp"

namespace digits {

inline constexpr int64_t kWidth = 32;  // of a patch's embedding

class Classifier {
 public:
  // config: {"attention": {"type": ..., parameters}, "call": {argument of the call: value}}; "call" may be absent.
  // Throws attn's errors for a configuration that is refused.
  Classifier(const attn::Json& config, uint64_t seed);

  // One step of AdamW on the mean cross entropy of the images, which is returned.
  float train(const Images& images, const AdamWOptions& options);
  // Share of the images that are classified rightly.
  [[nodiscard]] double accuracy(const Images& images);

  [[nodiscard]] const attn::Attention& attention() const { return *layer_; }
  [[nodiscard]] int64_t trained_weights() const;

 private:
  struct Dense {
    std::vector<float> w, gradient;
    AdamW optimizer;
  };
  void read_call(const attn::Json& call);
  void forward(const Images& images, bool training);
  void backward(const Images& images);
  [[nodiscard]] std::vector<attn::Input> inputs() const;
  // Where the layer's output has the value for element i of x.
  [[nodiscard]] int64_t in_output(int64_t i) const;

  std::unique_ptr<attn::Attention> layer_;
  std::unique_ptr<attn::Gradients> gradients_;
  std::deque<AdamW> layer_optimizers_;
  attn::Context context_;
  std::vector<std::string> names_;  // of the inputs that get x
  std::vector<attn::Argument> arguments_;
  std::deque<std::string> texts_;
  std::deque<std::vector<int64_t>> lists_;
  bool map_ = false;

  Dense embedding_, positions_, head_, bias_;
  attn::Array x_, y_;                      // the layer's input and output
  bool gate_ = false;                      // y is multiplied with x, not added
  std::vector<float> z_, scale_, logits_;  // normalised; 1 / deviation of each patch; (B, 10)
};

}  // namespace digits
