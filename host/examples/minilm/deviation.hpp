// SPDX-License-Identifier: Apache-2.0
//
// How far numbers are from those of the published model.
#pragma once

#include <attn/tensor.hpp>

#include <algorithm>
#include <cmath>

// max |y - reference| / max |reference|, with a mask (batch, tokens) over the tokens that it keeps. y is float32, its
// last axis the width.
inline double deviation(const attn::Array& y, const attn::Array& reference,
                        const attn::Array* mask = nullptr) {
  const attn::Array expected = reference.astype(ATTN_F64);
  const attn::Array valid = mask ? mask->astype(ATTN_F32) : attn::Array();
  const int64_t width = y.shape()[y.shape().size() - 1];
  if (y.shape() != expected.shape()) return HUGE_VAL;
  double error = 0, largest = 0;
  for (int64_t i = 0; i < y.size(); ++i) {
    if (mask && valid.data<float>()[i / width] <= 0) continue;
    const double wanted = expected.data<double>()[i];
    // A NaN is the largest error of all; max() would lose it.
    const double off = std::abs(static_cast<double>(y.data<float>()[i]) - wanted);
    error = std::isnan(off) ? HUGE_VAL : std::max(error, off);
    largest = std::max(largest, std::abs(wanted));
  }
  return largest > 0 ? error / largest : HUGE_VAL;
}
