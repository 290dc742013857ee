// SPDX-License-Identifier: Apache-2.0
//
// Products of one to three factors over rows of n numbers, and their sums.
//
// product_add        y[r y_row + i] += f(r, i)
// product_line_sums  sums[i] += sum over r of f(r, i)
// product_row_sums   sums[r] += sum over i of f(r, i)
// where f(r, i) is the product over the factors of data[r row + i step], step being 0 or 1. y overlaps no factor. Sums
// are taken in float over short stretches and added up in double; their order depends on rows and n alone. [any-thread]
#pragma once

#include <cstdint>

namespace attn::kernels {

struct Factors {
  const float* data[3] = {};
  int64_t row[3] = {}, step[3] = {};
  int32_t count = 0;
};

}  // namespace attn::kernels
