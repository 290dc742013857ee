// SPDX-License-Identifier: Apache-2.0
//
// Exact softmax attention with the weights of a layer: what types with a form compute, and what types with an estimate
// (forms/estimates, of the keys of form.hpp) come near to. [any-thread]
#pragma once

#include <attn/attention.hpp>

#include <optional>

namespace attn::conversion {

struct Exact {
  Array output;           // (batch, seq, output width), float32
  bool estimate = false;  // the layer is made to come near to it, not to give it
};

// For x (batch, seq, dim), float32, without training, dropout and masks. nullopt: the layer is not made of these parts, or
// its config computes something else. layer: built, float32.
[[nodiscard]] std::optional<Exact> exact_attention(const Attention& layer, const ConstView& x,
                                                   bool causal);

}  // namespace attn::conversion
