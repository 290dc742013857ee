// SPDX-License-Identifier: Apache-2.0
//
// Reaches every struct and every enumeration of abi.h, for the dump that tests/abi/growth compares.
#include <attn/sdk/abi.h>

#define KIND(constant) decltype(constant)*

extern "C" void attn_border(const attn_plugin*, const attn_note*, attn_code, attn_dtype,
                            attn_value_kind, attn_param_kind, attn_claim_kind, attn_log_level,
                            KIND(ATTN_PARAM_REQUIRED), KIND(ATTN_INPUT_OPTIONAL),
                            KIND(ATTN_OUTPUT_OPTIONAL), KIND(ATTN_SHARD_DETERMINISTIC),
                            KIND(ATTN_OP_TRAINING), KIND(ATTN_OP_RANDOM),
                            KIND(ATTN_WEIGHT_TRAINABLE), KIND(ATTN_STATE_HISTORY),
                            KIND(ATTN_SITE_MAP), KIND(ATTN_COMPONENT_NONE),
                            KIND(ATTN_CALL_TRAINING), KIND(ATTN_TYPE_STATEFUL)) {}
