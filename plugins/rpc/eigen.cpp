// SPDX-License-Identifier: Apache-2.0
#include "eigen.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace rpc {
namespace {

constexpr int64_t kSweeps = 8;    // of rotations that are applied at once, strip by strip
constexpr int kMaxSteps = 60;     // for one eigenvalue; two or three are usual
constexpr double kTiny = 1e-290;  // reciprocals of squares below it overflow

}  // namespace

Eigen::Eigen(const MatrixKernels& kernels, int64_t n, attn::sdk::Arena& memory)
    : kernels_(kernels), capacity_(kSweeps * n) {
  const int64_t ld = padded(n);
  z_ = memory.take<double>(n * ld);
  reflectors_ = memory.take<double>(n * ld);
  for (double** p : {&beta_, &d_, &e_, &v_, &w_, &p_, &next_}) *p = memory.take<double>(ld);
  rotations_ = memory.take<Rotation>(capacity_);
}

void Eigen::decompose(int64_t n, int64_t ld, double* a, double* values) {
  n_ = n;
  ld_ = ld;
  // By a power of two to the size of 1, so that no product of some entries leaves the range of double.
  double most = 0;
  for (int64_t i = 0; i < n * ld; ++i) most = std::max(most, std::fabs(a[i]));
  const int exponent =
      most > 0 && std::isfinite(most) ? std::clamp(std::ilogb(most), -1000, 1000) : 0;
  const double down = std::ldexp(1.0, -exponent), up = std::ldexp(1.0, exponent);
  for (int64_t i = 0; i < n * ld; ++i) a[i] *= down;
  tridiagonalize(a);
  diagonalize();
  for (int64_t i = 0; i < n; ++i) values[i] = up * d_[i];
}

// Step k reflects rows and columns k+1.. with v: a -= v w^T + w v^T. Applying that and multiplying by the reflector
// of the next step is one pass over a, because row k+1 is finished first.
void Eigen::tridiagonalize(double* a) {
  for (double* x : {v_, w_, p_, next_}) std::fill_n(x, ld_, 0.0);
  for (int64_t k = 0; k < n_; ++k) {
    // Row k with the updates of all steps before; v_ and w_ are those of step k - 1.
    double* row = a + k * ld_;
    if (k > 0)
      for (int64_t j = k; j < n_; ++j) row[j] -= v_[k] * w_[j] + w_[k] * v_[j];
    d_[k] = row[k];
    double* reflector = reflectors_ + k * ld_;
    std::fill_n(reflector, ld_, 0.0);
    beta_[k] = 0;
    e_[k] = k + 1 < n_ ? row[k + 1] : 0;
    double tail = 0;
    for (int64_t j = k + 2; j < n_; ++j) tail += row[j] * row[j];
    if (tail > 0) {
      const double length = std::sqrt(row[k + 1] * row[k + 1] + tail);
      e_[k] = row[k + 1] > 0 ? -length : length;
      std::copy(row + k + 1, row + n_, reflector + k + 1);
      reflector[k + 1] -= e_[k];
      beta_[k] = 2 / (reflector[k + 1] * reflector[k + 1] + tail);
    }
    const int64_t first = (k + 1) / 8 * 8;
    kernels_.reduce(k + 1, n_, first, columns(), ld_, a, v_, w_, reflector, p_);
    double half = 0;
    for (int64_t j = k + 1; j < n_; ++j) half += p_[j] * reflector[j];
    half *= beta_[k] / 2;
    std::fill_n(v_, ld_, 0.0);
    std::fill_n(w_, ld_, 0.0);
    for (int64_t j = k + 1; j < n_; ++j) {
      v_[j] = reflector[j];
      w_[j] = beta_[k] * (p_[j] - half * reflector[j]);
    }
  }
}

// Rotations are gathered and applied to the rows of z, the vectors of the three diagonals, some sweeps at a time.
void Eigen::diagonalize() {
  std::fill_n(z_, n_ * ld_, 0.0);
  double norm = 0;
  for (int64_t i = 0; i < n_; ++i) {
    z_[i * ld_ + i] = 1;
    norm = std::max(norm, std::fabs(d_[i]) + std::fabs(e_[i]));
  }
  // What a step leaves below this is as good as 0: the reduction made larger errors.
  const double small = std::numeric_limits<double>::epsilon() * norm / 2;
  pending_ = 0;
  for (int64_t l = 0; l < n_; ++l) {
    for (int step = 0; step < kMaxSteps; ++step) {
      int64_t m = l;
      while (m + 1 < n_ && std::fabs(e_[m]) > small) ++m;
      if (m == l) break;
      if (pending_ + (m - l) > capacity_) flush();
      // Wilkinson's shift: the eigenvalue of the upper 2 x 2 block that is nearer to its corner.
      const double h = (d_[l + 1] - d_[l]) / (2 * e_[l]);
      double g = d_[m] - d_[l] + e_[l] / (h + std::copysign(std::sqrt(h * h + 1), h));
      double s = 1, c = 1, shift = 0;
      bool split = false;
      for (int64_t i = m - 1; i >= l; --i) {
        // What one rotation hands to the next needs a division only; the root, for s and c, is ready by the time that
        // they are multiplied.
        const double f = s * e_[i], b = c * e_[i];
        const double ff = f * f, gg = g * g, fg = f * g, square = ff + gg;
        const double root = std::sqrt(square);
        e_[i + 1] = root;
        if (square < kTiny) {
          d_[i + 1] -= shift;
          e_[m] = 0;
          split = true;
          break;
        }
        const double inverse = 1 / square, ss = ff * inverse, cs = fg * inverse;
        s = f * (root * inverse);
        c = g * (root * inverse);
        const double d = d_[i + 1] - shift, a = d_[i] - d;
        shift = a * ss + 2 * b * cs;
        d_[i + 1] = d + shift;
        g = a * cs + b * (gg * inverse - ss);
        rotations_[pending_++] = {i, c, s};
      }
      if (split) continue;
      d_[l] -= shift;
      e_[l] = g;
      e_[m] = 0;
    }
  }
  flush();
}

void Eigen::flush() {
  kernels_.rotate(pending_, rotations_, columns(), ld_, z_);
  pending_ = 0;
}

void Eigen::vectors(int64_t count, const int64_t* which, double* out) const {
  for (int64_t r = 0; r < count; ++r) std::copy_n(z_ + which[r] * ld_, ld_, out + r * ld_);
  constexpr int64_t kRows = 8;  // that stay in the cache while the reflectors pass by
  for (int64_t r = 0; r < count; r += kRows)
    for (int64_t k = n_ - 2; k >= 0; --k)
      if (beta_[k] != 0)
        kernels_.reflect(std::min(kRows, count - r), (k + 1) / 8 * 8, columns(), ld_, beta_[k],
                         reflectors_ + k * ld_, out + r * ld_);
}

}  // namespace rpc
