// SPDX-License-Identifier: Apache-2.0
#include "falloff.hpp"

#include <attn/sdk/simd.hpp>

namespace arrays::ATTN_KERNEL_LEVEL {

void add_scaled(long n, float factor, const float* x, float* y) {
  using namespace attn::sdk::simd;
  const Vec<> f(factor);
  long i = 0;
  for (; i + kWidth<> <= n; i += kWidth<>)
    store(y + i, attn::sdk::simd::fma(f, load(x + i), load(y + i)));
  const long rest = n - i;
  if (rest > 0)
    store_first(y + i, attn::sdk::simd::fma(f, load_first(x + i, rest), load_first(y + i, rest)),
                rest);
}

}  // namespace arrays::ATTN_KERNEL_LEVEL
