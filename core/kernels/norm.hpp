// SPDX-License-Identifier: Apache-2.0
//
// Normalising rows of n elements:
//   c = x - mean(x) when centred, else x;  s = sum c^2, divided by n when `mean`
//   r = sqrt(s + eps), or sqrt(max(s, eps)) when `clamp`; never below `floor`
//   y = c / r * gain * gamma + beta        gamma, beta: n elements or nullptr
// Backwards, with u = dy * gain * gamma and h = c / r:
//   dx = (u - [centred] mean(u) - h * (sum or mean)(u h)) / r
//   dgamma += dy gain h;  dbeta += dy;  returns the sum of dy gamma h, the gradient of gain
// The term with h is left out where r does not depend on x (clamped or at its floor).
//
// layer norm: Ba et al. 2016 (arXiv 1607.06450) eq. 4; rms norm: Zhang, Sennrich 2019 (arXiv
// 1910.07467) eq. 4. reference/norm.hpp has both directions in float and double. [any-thread]
#pragma once

#include <cstdint>

namespace attn::kernels {

template <class T>
struct RowNorm {
  int64_t n = 0;
  bool centred = false, mean = true, clamp = false;
  T eps = 0, floor = 0, gain = 1;
  const T* gamma = nullptr;
  const T* beta = nullptr;
};

}  // namespace attn::kernels
