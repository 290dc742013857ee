// SPDX-License-Identifier: Apache-2.0
#include "core/weights/seed.hpp"

#include <sys/random.h>

#include <chrono>

#include "core/random/philox.hpp"
#include "core/threads/fork.hpp"

namespace attn::weights {
namespace {

constexpr uint64_t kSeedStream = 0x5EED'5EED'0000'0000u;  // apart from the streams of weights

struct State {
  threads::Mutex lock{};
  std::optional<uint64_t> seed{};
  uint64_t draws = 0;
};

State& state() {
  static State s;
  return s;
}

uint64_t entropy(uint64_t draws) {
  uint64_t value = 0;
  if (::getrandom(&value, sizeof value, 0) == static_cast<ssize_t>(sizeof value)) return value;
  // Without the system call the clock has to do.
  const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
  const auto w = philox4x32(static_cast<uint64_t>(now), kSeedStream, draws);
  return w[0] | static_cast<uint64_t>(w[1]) << 32;
}

}  // namespace

void set_global_seed(std::optional<uint64_t> seed) {
  State& s = state();
  const std::lock_guard guard(s.lock);
  s.seed = seed;
  s.draws = 0;
}

std::optional<uint64_t> global_seed() {
  State& s = state();
  const std::lock_guard guard(s.lock);
  return s.seed;
}

uint64_t draw_seed() {
  State& s = state();
  const std::lock_guard guard(s.lock);
  const uint64_t n = s.draws++;
  if (!s.seed) return entropy(n);
  const auto w = philox4x32(*s.seed, kSeedStream, n);
  return w[0] | static_cast<uint64_t>(w[1]) << 32;
}

}  // namespace attn::weights
