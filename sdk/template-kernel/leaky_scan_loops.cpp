// SPDX-License-Identifier: Apache-2.0
#include "leaky_scan_loops.hpp"

#include <attn/sdk/simd.hpp>

namespace leaky_scan_loops::ATTN_KERNEL_LEVEL {
namespace {

using namespace attn::sdk::simd;

template <class T>
void multiply_add(int64_t n, const T* a, const T* x, const T* b, T* y) {
  int64_t i = 0;
  for (; i + kWidth<T> <= n; i += kWidth<T>)
    store(y + i, fma(load(a + i), load(x + i), load(b + i)));
  if (const int64_t rest = n - i; rest > 0)
    store_first(y + i,
                fma(load_first(a + i, rest), load_first(x + i, rest), load_first(b + i, rest)),
                rest);
}

}  // namespace
}  // namespace leaky_scan_loops::ATTN_KERNEL_LEVEL

ATTN_SDK_EXPORT(leaky_scan_loops, Loops, loops, {multiply_add<float>, multiply_add<double>})
