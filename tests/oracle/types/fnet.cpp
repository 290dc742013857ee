// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/types/types.hpp"

namespace attn::oracle {

namespace {

constexpr double kPi = 3.14159265358979323846;

double angle(int64_t a, int64_t b, int64_t n) {
  return 2 * kPi * static_cast<double>(a * b % n) / static_cast<double>(n);
}

}  // namespace

void fnet(Run& run) {
  const Tensor& x = run.need("inputs");
  const int64_t B = x.dim(0), S = x.dim(1), D = x.dim(2);
  const double c = run.flag("normalize_dft", true)
                       ? 1 / std::sqrt(static_cast<double>(S) * static_cast<double>(D))
                       : 1.0;
  // First over the features, real and imaginary part; then the real part over the tokens.
  Tensor real({B, S, D}), imaginary({B, S, D}), y({B, S, D});
  for (int64_t b = 0; b < B; ++b)
    for (int64_t s = 0; s < S; ++s)
      for (int64_t l = 0; l < D; ++l)
        for (int64_t f = 0; f < D; ++f) {
          real.at(b, s, l) += x.at(b, s, f) * std::cos(angle(f, l, D));
          imaginary.at(b, s, l) -= x.at(b, s, f) * std::sin(angle(f, l, D));
        }
  for (int64_t k = 0; k < S; ++k)
    for (int64_t s = 0; s < S; ++s) {
      const double cosine = std::cos(angle(s, k, S)), sine = std::sin(angle(s, k, S));
      for (int64_t b = 0; b < B; ++b)
        for (int64_t l = 0; l < D; ++l)
          y.at(b, k, l) += c * (real.at(b, s, l) * cosine + imaginary.at(b, s, l) * sine);
    }
  if (const Tensor* mask = run.input("attention_mask"))
    y = multiply(y, reshape(*mask, {mask->dim(0), S, 1}));
  run.output("output", y);
}

}  // namespace attn::oracle
