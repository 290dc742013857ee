/* SPDX-License-Identifier: Apache-2.0 */
/* Parameters that make no sense: a default outside its range, a name twice, a required one last. */
#include <attn/sdk/abi.h>

static const attn_param heads = {.struct_size = sizeof(attn_param),
                                 .kind = ATTN_PARAM_INT,
                                 .flags = ATTN_PARAM_HAS_MIN | ATTN_PARAM_EXCLUSIVE_MIN,
                                 .name = "heads",
                                 .doc = "",
                                 .def = {.kind = ATTN_VALUE_I64, .u = {.i = 0}},
                                 .min = {.kind = ATTN_VALUE_I64, .u = {.i = 0}}};
static const attn_param again = {.struct_size = sizeof(attn_param),
                                 .kind = ATTN_PARAM_INT,
                                 .flags = ATTN_PARAM_REQUIRED,
                                 .name = "heads",
                                 .doc = ""};
static const attn_param* const bad_params[] = {&heads, &again};
#define FIXTURE_PARAMS bad_params
#include "minimal.h"
