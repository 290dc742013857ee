// SPDX-License-Identifier: Apache-2.0
//
// Activations element by element: y = f(x), and dx = f'(x) dy (written, not added). The formulas are in
// activation_formulas.hpp, once for scalars and vectors. Not for the kinds over an axis and not for
// differentiable_step, whose weights vary along the tensor. y may be x. [any-thread]
#pragma once

#include <cstdint>

#include "core/kinds/kinds.hpp"

namespace attn::kernels {

struct ActivationArgs {
  ActivationKind kind = ActivationKind::linear;
  double p[3] = {0, 0, 0};  // the constants of the kind, in the order of core/kinds/kinds.hpp
  double alpha = 0;         // the weight of xatlu, xgelu, xsilu
};

}  // namespace attn::kernels
