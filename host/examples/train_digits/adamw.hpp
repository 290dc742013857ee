// SPDX-License-Identifier: Apache-2.0
//
// AdamW (Loshchilov and Hutter 2019, algorithm 2) for one tensor of float32.
#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

namespace digits {

struct AdamWOptions {
  float rate = 3e-3f, beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-8f, decay = 1e-2f;
};

class AdamW {
 public:
  // w and g have the same n elements in every call.
  void step(float* w, const float* g, size_t n, const AdamWOptions& o) {
    m_.resize(n);
    v_.resize(n);
    ++t_;
    const float m_unit = 1 - std::pow(o.beta1, static_cast<float>(t_));
    const float v_unit = 1 - std::pow(o.beta2, static_cast<float>(t_));
    for (size_t i = 0; i < n; ++i) {
      m_[i] = o.beta1 * m_[i] + (1 - o.beta1) * g[i];
      v_[i] = o.beta2 * v_[i] + (1 - o.beta2) * g[i] * g[i];
      w[i] -= o.rate * (m_[i] / m_unit / (std::sqrt(v_[i] / v_unit) + o.epsilon) + o.decay * w[i]);
    }
  }

 private:
  std::vector<float> m_, v_;
  int t_ = 0;
};

}  // namespace digits
