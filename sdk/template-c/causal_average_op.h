/* SPDX-License-Identifier: Apache-2.0
 *
 * The operator example.causal_average/1, written against the C border alone.
 *
 *   in 0    history (batch, total, dim): all positions up to now
 *   attrs   window  how many positions a mean covers, itself included
 *           count   how many of the last positions to give; -1: all
 *   out 0   (batch, count, dim): out[b, t] = mean of history[b, s] for s in (p - window, p], s >= 0,
 *           where p is the place of t in the history
 *
 * float32 and float64, any strides; differentiable. Pure: may run on many threads at once.
 */
#ifndef AVERAGE_OP_H
#define AVERAGE_OP_H

#include <attn/sdk/abi.h>

extern const attn_op average_op;

#endif
