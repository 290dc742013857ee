// SPDX-License-Identifier: Apache-2.0
#include "roots.hpp"

#include <cmath>

namespace attn::fnet {

namespace {
constexpr double kPi = 3.14159265358979323846;
}

void fill_roots(int64_t n, double* table) {
  for (int64_t k = 0; k < n; ++k) {
    double& re = table[2 * k];
    double& im = table[2 * k + 1];
    const auto from = [&](int64_t other) { return table + 2 * other; };
    if (2 * k > n) {  // the lower half of the circle mirrors the upper one
      re = from(n - k)[0], im = -from(n - k)[1];
    } else if (n % 2 == 0 && 4 * k > n) {  // its left half the right one
      re = -from(n / 2 - k)[0], im = from(n / 2 - k)[1];
    } else if (n % 4 == 0 && 8 * k > n) {  // and there, cosine and sine change places
      re = -from(n / 4 - k)[1], im = -from(n / 4 - k)[0];
    } else {
      // The angle is pi u / (4 n), brought below pi / 4.
      int64_t u = 8 * k;
      const bool left = u > 2 * n;
      if (left) u = 4 * n - u;
      const bool steep = u > n;
      if (steep) u = 2 * n - u;
      const double angle = kPi * static_cast<double>(u) / static_cast<double>(4 * n);
      const double cosine = steep ? std::sin(angle) : std::cos(angle);
      const double sine = steep ? std::cos(angle) : std::sin(angle);
      re = left ? -cosine : cosine;
      im = -sine;
    }
  }
}

}  // namespace attn::fnet
