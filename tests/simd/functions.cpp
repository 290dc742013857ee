// SPDX-License-Identifier: Apache-2.0
//
// What attn/sdk/simd.hpp promises, at the level that this copy is compiled for.
#include "functions.hpp"

#include <attn/sdk/simd.hpp>

namespace simd_checks::ATTN_KERNEL_LEVEL {
namespace {

using namespace attn::sdk::simd;

template <class T>
bool parts() {
  constexpr int64_t W = kWidth<T>;
  T in[W + 1], out[W + 1];
  for (int64_t i = 0; i <= W; ++i) in[i] = static_cast<T>(i + 1);
  for (int64_t n = 0; n <= W; ++n) {
    store(out, load_first(in, n));
    for (int64_t i = 0; i < W; ++i)
      if (out[i] != (i < n ? in[i] : T(0))) return false;
    for (T& x : out) x = -1;
    store_first(out, load(in), n);
    for (int64_t i = 0; i <= W; ++i)
      if (out[i] != (i < n ? in[i] : T(-1))) return false;
  }
  store(out, load(in + 1));  // an address of one number, no more
  return out[W - 1] == in[W];
}

template <class T>
bool rounds() {
  const double whole = sizeof(T) == 4 ? 8388608.0 : 4503599627370496.0;
  const double cases[][2] = {{0.5, 0},       {1.5, 2},         {-0.5, 0},
                             {-2.5, -2},     {0.4999999, 0},   {-3.2, -3},
                             {whole, whole}, {-whole, -whole}, {whole / 2 - 0.5, whole / 2},
                             {1e30, 1e30}};
  for (const auto& c : cases)
    if (round(set(static_cast<T>(c[0])))[0] != static_cast<T>(c[1])) return false;
  return true;
}

// Units in the last place, over all normal results.
template <class T>
bool powers(double allowed) {
  const double least = sizeof(T) == 4 ? -126 : -1022, most = -least + 1;
  const double unit = sizeof(T) == 4 ? 0x1p-23 : 0x1p-52;
  for (double x = least; x < most; x += 0.0371) {
    const T t = static_cast<T>(x);
    const double expected = __builtin_exp2(static_cast<double>(t));
    const double error = static_cast<double>(exp2(set(t))[0]) - expected;
    if (!(__builtin_fabs(error) <= allowed * unit * expected)) return false;
  }
  const T infinity = static_cast<T>(__builtin_inf()), nan = static_cast<T>(__builtin_nan(""));
  const T kept = exp2(set(nan))[0];
  return exp2(set(-infinity))[0] == 0 && exp2(set(static_cast<T>(least - 2)))[0] == 0 &&
         kept != kept && exp2(set(T(0)))[0] == 1 && exp2(set(T(-3)))[0] == T(0.125);
}

template <class T>
bool lanes() {
  constexpr int64_t W = kWidth<T>;
  T in[W];
  for (int64_t i = 0; i < W; ++i) in[i] = static_cast<T>(i * 7 % W);
  const Vec<T> x = load(in), zero{};
  if (sum(x) != T(W * (W - 1) / 2) || largest(x) != T(W - 1)) return false;
  const Vec<T> y = select(x > T(2), x, zero), low = min(x, set(T(2))), high = max(x, set(T(2)));
  for (int64_t i = 0; i < W; ++i)
    if (y[i] != (in[i] > 2 ? in[i] : T(0)) || low[i] != (in[i] < 2 ? in[i] : T(2)) ||
        high[i] != (in[i] > 2 ? in[i] : T(2)) || fma(x, x, y)[i] != in[i] * in[i] + y[i])
      return false;
  return true;
}

template <class T>
const char* all(double exp2_allowed) {
  if (!parts<T>()) return "load_first and store_first touch the first n numbers alone";
  if (!rounds<T>()) return "round gives the nearest whole number, the even one of two";
  if (!powers<T>(exp2_allowed)) return "exp2 is exact to its bound, 0 below, NaN for NaN";
  if (!lanes<T>()) return "select, min, max, fma, sum and largest work lane by lane";
  return nullptr;
}
const char* single() { return all<float>(1); }
const char* twice() { return all<double>(2); }

}  // namespace
}  // namespace simd_checks::ATTN_KERNEL_LEVEL

ATTN_SDK_EXPORT(simd_checks, Checks, checks, {single, twice})
