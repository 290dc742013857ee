// SPDX-License-Identifier: Apache-2.0
//
// First values of weights: constants, uniform and normal draws scaled by fans, orthogonal, identity.
//
// A weight draws from the stream (seed, path): seed is the initializer's own or else the layer's, path the weight's
// place in the layer, such as "q/kernel". So the weights of a layer differ, also under one fixed seed; an option
// that adds a weight leaves the values of the others as they are; and the same seed gives the same values on
// every machine and for any number of threads.
// Values are computed in double and rounded once to the kind of the target; uniform draws stay below maxval
// also after rounding.
// Errors: InvalidArgument that names the path: options that are not finite or out of range, a rank that
// the initializer does not take, an integer target that cannot hold the value. [any-thread]
// Fans and variance scaling: Glorot & Bengio (2010), eq. 16; He et al. (2015), eq. 10; orthogonal: Saxe,
// McClelland, Ganguli (2014), with the sign rule of Mezzadri (2007) that makes the draw uniform.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

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
                const std::string& path);

[[nodiscard]] Array initial_weight(const schema::InitializerSpec& spec, attn_dtype dtype,
                                   const Shape& shape, uint64_t layer_seed,
                                   const std::string& path);

// The stream of a weight, FNV-1a of its path; also what a test needs to draw the same numbers.
[[nodiscard]] constexpr uint64_t weight_stream(std::string_view path) noexcept {
  uint64_t hash = 14695981039346656037u;
  for (const char c : path) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return hash;
}

}  // namespace attn::weights
