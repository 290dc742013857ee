// SPDX-License-Identifier: Apache-2.0
//
// One random layer and call, tried: its tensors, its layers in both kinds of elements, and what was found.
#pragma once

#include <limits>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "host/check/generator/call.hpp"

namespace attn::check {

// What was seen: "norm gated.qk_norm_type=rms_norm" and the like.
using Marks = std::set<std::string>;

struct Trial {
  Case c{};
  std::unique_ptr<Attention> layer64{}, layer32{};
  Outputs expected{};       // of the case's call in float64
  bool statistics = false;  // the call takes statistics of its batch
  // Distance to the nearest point at which the result jumps, as far as it is known: another arithmetic may land on
  // the other side when it is not larger than its rounding errors.
  double margin = std::numeric_limits<double>::infinity();
  std::map<std::string, double> tolerance32{};  // of each output: how far float32 may be off
  Marks marks{};                                // what was tried
  std::vector<std::string> failures{};

  void fail(const std::string& what) { failures.push_back(what); }
  // How far two results of one layer may differ that are the same but for the order of sums.
  [[nodiscard]] double allowed(const Attention& layer, const std::string& output) const {
    return layer.dtype() == ATTN_F32 ? 2 * tolerance32.at(output)
                                     : 1e-10 * magnitude(expected.at(output));
  }
};

// The layers of t.c, the float64 result, and how far it may be relied on.
void prepare(Trial& t);

// Inputs changed as weights are by make_layer's noise.
[[nodiscard]] Inputs shaken(const Case& c, Inputs inputs, double noise, uint64_t draw = 1);

// logit_norm at a low temperature makes scores of some hundred, whose rounding errors are those of no other norm.
[[nodiscard]] bool is_sharp(const Case& c);
// A norm of single numbers divides what is zero but for rounding by the square root of a small epsilon.
[[nodiscard]] bool is_narrow(const Case& c);

}  // namespace attn::check
