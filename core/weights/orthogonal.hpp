// SPDX-License-Identifier: Apache-2.0
//
// The orthogonal factor of a matrix, by Householder reflections in double.
//
// A = Q R with A: (rows, cols), rows >= cols; Q has orthonormal columns and R a diagonal >= 0, which makes Q
// unique, and uniformly distributed when the elements of A are independent standard normals (Mezzadri 2007).
// Columns are worked on in blocks that stay in the cache; the order of operations is fixed, so are the bits.
// About 4 cols^2 (rows - cols / 3) flops. Throws std::bad_alloc. [any-thread]
#pragma once

#include <cstddef>
#include <vector>

namespace attn::weights {

// a: row-major (rows, cols), replaced by Q.
void orthogonal_factor(std::vector<double>& a, size_t rows, size_t cols);

}  // namespace attn::weights
