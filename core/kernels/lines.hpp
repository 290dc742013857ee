// SPDX-License-Identifier: Apache-2.0
//
// Functions over one line of floats, for plugins (the border's attn_kernels).
//
// exp_line          y[i] = e^x[i]; y may be x
// log_sum_exp_rows  out[r] = log sum over j of e^x[r][j]; -infinity for a row of -infinity or without elements
// sum_line          sum of x, added in double
// dot_line          sum of x[i] y[i], added in double
// [any-thread]
#pragma once

#include <cstdint>
