// SPDX-License-Identifier: Apache-2.0
//
// Penalties of weights and outputs, and their gradients.
//
// l1: l1 sum |x|; l2: l2 sum x^2; orthogonal (rank 2): with the rows (columns) of x divided by their norm and
// G their Gram matrix of m rows, factor * 0.5 * sum |G off the diagonal| / (m (m - 1) / 2); 0 for m < 2, and a
// row of zeros stays one. Computed in double. An activity penalty is this divided by the batch size: pass
// that as `scale` and multiply the value by it.
// What users give is >= 0 (the schema checks that); the penalties that a step or a threshold brings along are
// negative: they reward a steeper slope.
// Gradients: d|x|/dx = sign(x), 0 at 0.
// Errors: InvalidArgument that names `where`: a kind that is not floating, an orthogonal penalty of another
// rank, factors that are not finite, a gradient that is not dense float32 or float64 of the
// shape of x. [any-thread]
#pragma once

#include <string>

#include "core/schema/regularizer_spec.hpp"
#include "core/tensor/array.hpp"

namespace attn::weights {

[[nodiscard]] double penalty(const schema::RegularizerSpec& spec, const ConstView& x,
                             const std::string& where);

// gradient += scale * d penalty / dx
void add_penalty_gradient(const schema::RegularizerSpec& spec, const ConstView& x, double scale,
                          const View& gradient, const std::string& where);

}  // namespace attn::weights
