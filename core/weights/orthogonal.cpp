// SPDX-License-Identifier: Apache-2.0
#include "core/weights/orthogonal.hpp"

#include <algorithm>
#include <cmath>

namespace attn::weights {
namespace {

constexpr size_t kBlock =
    32;  // columns: rows x 32 doubles stay in the second-level cache up to 2000 rows

// H = I - tau v v^T, acting on rows first, first + 1, ...
struct Reflection {
  std::vector<double> v{};
  double tau = 0.0;
  double diagonal = 0.0;  // of R
};

// block: (rows, kBlock) row-major. block := H block for columns from..kBlock.
void apply(const Reflection& h, size_t first, size_t from, std::vector<double>& block) {
  if (h.tau == 0.0) return;
  double w[kBlock] = {};
  for (size_t i = 0; i < h.v.size(); ++i) {
    const double* row = &block[(first + i) * kBlock];
    for (size_t j = 0; j < kBlock; ++j) w[j] += h.v[i] * row[j];
  }
  for (size_t j = 0; j < kBlock; ++j) w[j] = j < from ? 0.0 : w[j] * h.tau;
  for (size_t i = 0; i < h.v.size(); ++i) {
    double* row = &block[(first + i) * kBlock];
    for (size_t j = 0; j < kBlock; ++j) row[j] -= h.v[i] * w[j];
  }
}

// The reflection that turns column j of the block, from row `first` on, into (diagonal, 0, ..., 0).
Reflection reflect(const std::vector<double>& block, size_t rows, size_t first, size_t j) {
  Reflection h;
  h.v.resize(rows - first);
  double norm2 = 0.0;
  for (size_t i = first; i < rows; ++i) {
    h.v[i - first] = block[i * kBlock + j];
    norm2 += h.v[i - first] * h.v[i - first];
  }
  if (norm2 == 0.0) return h;
  const double norm = std::sqrt(norm2);
  // Away from the column's own sign: nothing cancels.
  h.diagonal = h.v[0] > 0.0 ? -norm : norm;
  const double v0 = h.v[0] - h.diagonal;
  const double v2 = norm2 - h.v[0] * h.v[0] + v0 * v0;
  h.v[0] = v0;
  h.tau = 2.0 / v2;
  return h;
}

}  // namespace

void orthogonal_factor(std::vector<double>& a, size_t rows, size_t cols) {
  std::vector<Reflection> reflections;
  reflections.reserve(cols);
  std::vector<double> block(rows * kBlock);

  // R and the reflections, one block of columns after the other.
  for (size_t begin = 0; begin < cols; begin += kBlock) {
    const size_t n = std::min(kBlock, cols - begin);
    std::fill(block.begin(), block.end(), 0.0);
    for (size_t i = 0; i < rows; ++i) {
      std::copy_n(&a[i * cols + begin], n, &block[i * kBlock]);
    }
    for (size_t k = 0; k < begin; ++k) apply(reflections[k], k, 0, block);
    for (size_t j = 0; j < n; ++j) {
      reflections.push_back(reflect(block, rows, begin + j, j));
      apply(reflections.back(), begin + j, j + 1, block);
    }
  }

  // Q = H1 H2 ... applied to unit columns; a later reflection leaves earlier unit columns alone.
  for (size_t begin = 0; begin < cols; begin += kBlock) {
    const size_t n = std::min(kBlock, cols - begin);
    std::fill(block.begin(), block.end(), 0.0);
    for (size_t j = 0; j < n; ++j) {
      block[(begin + j) * kBlock + j] = reflections[begin + j].diagonal < 0.0 ? -1.0 : 1.0;
    }
    for (size_t k = begin + n; k-- > 0;) apply(reflections[k], k, 0, block);
    for (size_t i = 0; i < rows; ++i) {
      std::copy_n(&block[i * kBlock], n, &a[i * cols + begin]);
    }
  }
}

}  // namespace attn::weights
