// SPDX-License-Identifier: Apache-2.0
//
// First values of weights: constants, uniform and normal draws scaled by fans, orthogonal, identity.
//
// Weight number `ordinal` of a layer (in the order of creation) draws from the stream (seed, ordinal), where
// seed is the initializer's own or else the layer's. So weights of equal shape differ, also under one fixed
// seed, and the same seed gives the same values on every machine and for any number of threads.
// Values are computed in double and rounded once to the kind of the target; uniform draws stay below maxval
// also after rounding.
// Errors: InvalidArgument that names `where`: options that are not finite or out of range, a rank that
// the initializer does not take, an integer target that cannot hold the value. [any-thread]
// Fans and variance scaling: Glorot & Bengio (2010), eq. 16; He et al. (2015), eq. 10; orthogonal: Saxe,
// McClelland, Ganguli (2014), with the sign rule of Mezzadri (2007) that makes the draw uniform.
#pragma once

#include <cstdint>
#include <string>

#include "core/schema/initializer_spec.hpp"
#include "core/tensor/array.hpp"

namespace attn::weights {

struct Fans {
  double in;
  double out;
};

// (): 1, 1. (n): n, n. (in, out). (k1, ..., km, in, out): in and out times k1 ... km.
[[nodiscard]] Fans fans(const Shape& shape);

// True when the values depend on a seed.
[[nodiscard]] bool is_random(const schema::InitializerSpec& spec) noexcept;

void initialize(const schema::InitializerSpec& spec, const View& target, uint64_t layer_seed,
                uint64_t ordinal, const std::string& where);

[[nodiscard]] Array initial_weight(const schema::InitializerSpec& spec, attn_dtype dtype,
                                   const Shape& shape, uint64_t layer_seed, uint64_t ordinal,
                                   const std::string& where);

// The stream of a weight; also what a test needs to draw the same numbers.
[[nodiscard]] constexpr uint64_t weight_stream(uint64_t ordinal) noexcept {
  return 0x5745'4947'0000'0000u ^ ordinal;
}

}  // namespace attn::weights
