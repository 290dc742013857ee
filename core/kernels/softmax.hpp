// SPDX-License-Identifier: Apache-2.0
//
// softmax_rows     y[r] = e^(x[r] - max x[r]) / sum, rows of n elements; a row of -infinity: 1/n each
// softmax_row_vjp  dx = w (dw - sum dw w) for one row of weights w
// Rows may lie apart; y may be x. [any-thread]
#pragma once

#include <cstdint>
