// SPDX-License-Identifier: Apache-2.0
#include "host/library/layer/seed.hpp"

#include <attn/factory.hpp>

#include <mutex>
#include <optional>
#include <random>

namespace attn {

namespace {
std::mutex mutex;
std::optional<uint64_t> global_seed;
uint64_t layers_built = 0;
}  // namespace

void set_seed(uint64_t seed) {
  const std::lock_guard lock(mutex);
  global_seed = seed;
  layers_built = 0;
}

uint64_t host::next_layer_seed() {
  const std::lock_guard lock(mutex);
  if (!global_seed) {
    std::random_device entropy;
    return (uint64_t{entropy()} << 32) | entropy();
  }
  // Odd multiplier: the seeds of successive layers differ in all bits.
  return *global_seed + 0x9E3779B97F4A7C15u * layers_built++;
}

}  // namespace attn
