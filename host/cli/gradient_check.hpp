// SPDX-License-Identifier: Apache-2.0
//
// Gradients of a layer against central differences, in float64.
//
// The objective is sum(output * cotangent) over all outputs of a call, with random cotangents, plus the penalties of all
// regularizers. One element at a time is moved by +-h, h = 1e-5 max(1, |x|); where the difference disagrees it is taken
// again with h / 16 and h / 256, because the first may straddle a kink (relu, sparsemax, a maximum). A point that lies
// on one, as a bias of zero does before a relu, has two slopes, which stay as far apart at every step: there any gradient
// between them is right, and is counted. The error of an
// element is |gradient - difference| / max(largest |gradient| of its tensor, 1e-3 of the largest of all): with
// rounding near 1e-16 / h of the objective, 1e-6 leaves room for layers that curve a lot.
#pragma once

#include <attn/attention.hpp>

#include <functional>
#include <string>
#include <vector>

namespace attn::cli {

struct GradientCheckOptions {
  bool training = false;
  uint64_t seed = 0;      // of cotangents and dropout
  int64_t elements = 16;  // of each tensor, spread evenly; 0: all
  double tolerance = 1e-6;
  std::span<const Argument> arguments{};
  std::function<void(const std::string&)> progress{};  // called with each tensor; may be empty
};

struct TensorGradients {
  std::string name;
  Shape shape;
  bool weight = false;
  int64_t checked = 0;             // elements
  int64_t kinks = 0;               // those of them at a kink, with a gradient between its slopes
  double largest = 0;              // |gradient| in the whole tensor
  double error = 0;                // the worst, relative as above; infinite for NaN
  int64_t worst = 0;               // its element, row-major
  double found = 0, expected = 0;  // gradient and difference there
  bool good = true;
};

// layer: built in float64; its weights are moved and put back. inputs: float64 where they are floating. Inputs without
// a gradient (masks, integers) are left out.
[[nodiscard]] std::vector<TensorGradients> check_gradients(Attention& layer,
                                                           std::vector<NamedOutput>& inputs,
                                                           const GradientCheckOptions& options);

}  // namespace attn::cli
