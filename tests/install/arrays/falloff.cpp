// SPDX-License-Identifier: Apache-2.0
#include "falloff.hpp"

#include <attn/sdk/simd.hpp>

namespace arrays::ATTN_KERNEL_LEVEL {
namespace {

using namespace attn::sdk::simd;

void add_scaled(int64_t n, float factor, const float* x, float* y) {
  const Vec<float> f = set(factor);
  int64_t i = 0;
  for (; i + kWidth<float> <= n; i += kWidth<float>) store(y + i, fma(f, load(x + i), load(y + i)));
  const int64_t rest = n - i;
  if (rest > 0) store_first(y + i, fma(f, load_first(x + i, rest), load_first(y + i, rest)), rest);
}

}  // namespace
}  // namespace arrays::ATTN_KERNEL_LEVEL

ATTN_SDK_EXPORT(arrays, Loops, loops, {add_scaled})
