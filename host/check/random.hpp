// SPDX-License-Identifier: Apache-2.0
//
// Random numbers that are the same on every machine (SplitMix64).
#pragma once

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <numeric>
#include <string_view>
#include <vector>

namespace attn::check {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  Random(uint64_t seed, std::string_view purpose, uint64_t number) : state_(seed) {
    for (const char c : purpose) state_ = next() ^ static_cast<uint64_t>(c);
    state_ = next() ^ number;
    next();
  }

  uint64_t next() {
    state_ += 0x9E3779B97F4A7C15u;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  // 0 .. n-1
  int64_t below(int64_t n) { return static_cast<int64_t>(next() % static_cast<uint64_t>(n)); }
  int64_t between(int64_t low, int64_t high) { return low + below(high - low + 1); }
  double uniform(double low, double high) {
    return low + (high - low) * (static_cast<double>(next() >> 11) * 0x1p-53);
  }
  // Powers of ten are equally likely.
  double log_uniform(double low, double high) {
    return std::exp(uniform(std::log(low), std::log(high)));
  }
  // A float32 in [-scale, scale), so that a float32 and a float64 layer see the same number.
  double single(double scale = 1) { return static_cast<float>(uniform(-scale, scale)); }
  bool chance(double p) { return uniform(0, 1) < p; }
  template <class T>
  const T& pick(const std::vector<T>& values) {
    return values[static_cast<size_t>(below(static_cast<int64_t>(values.size())))];
  }

 private:
  uint64_t state_;
};

// One of n values: in n consecutive numbers every one comes once, in an order of its own.
inline size_t cycled(uint64_t seed, std::string_view purpose, uint64_t number, size_t n) {
  Random random(seed, purpose, number / n);
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), size_t{0});
  for (size_t i = n; i-- > 1;)
    std::swap(order[i], order[static_cast<size_t>(random.below(static_cast<int64_t>(i) + 1))]);
  return order[number % n];
}

}  // namespace attn::check
