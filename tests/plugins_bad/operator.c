/* SPDX-License-Identifier: Apache-2.0 */
/* Offers the operators fixture.op/1 (one attribute) and fixture.op/7. */
#include <attn/sdk/abi.h>

static const attn_param amount = {.struct_size = sizeof(attn_param),
                                  .kind = ATTN_PARAM_REAL,
                                  .name = "amount",
                                  .doc = "not used",
                                  .def = {.kind = ATTN_VALUE_F64, .u = {.f = 1.0}}};
static const attn_param* const attrs[] = {&amount};
static int32_t refuse(const attn_op_call* call, attn_error* error) {
  (void)call;
  (void)error;
  return ATTN_UNSUPPORTED;
}
#define FIXTURE_OP(version_)                                                                      \
  {                                                                                               \
    .struct_size = sizeof(attn_op), .name = FIXTURE_OP_NAME, .doc = "refuses every call",         \
    .version = version_, .n_in = 1, .n_out = 1, .n_attrs = 1, .in_required = 1, .map_output = -1, \
    .attrs = attrs, .shape = refuse, .forward = refuse                                            \
  }
static const attn_op op1 = FIXTURE_OP(1), op7 = FIXTURE_OP(7);
static const attn_op* const ops[] = {&op1, &op7};
#define FIXTURE_OPS ops
#include "minimal.h"
