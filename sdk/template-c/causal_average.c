/* SPDX-License-Identifier: Apache-2.0
 *
 * The type example.causal_average: every position becomes the mean of itself and the window - 1 positions
 * before it (attention with equal weights on a causal window). No weights of its own. Decodes token by token
 * with an attached state, trains, and shows in profiles - all of that comes from the host.
 */
#include <attn/sdk/abi.h>
#include <stdio.h>
#include <stdlib.h>

#include "causal_average_op.h"

/* ---- what it accepts ------------------------------------------------------------------------------ */

static const attn_param window_param = {.struct_size = sizeof(attn_param),
                                        .kind = ATTN_PARAM_INT,
                                        .flags = ATTN_PARAM_HAS_MIN | ATTN_PARAM_EXCLUSIVE_MIN,
                                        .name = "window",
                                        .doc = "positions that a mean covers, the newest included",
                                        .def = {.kind = ATTN_VALUE_I64, .u = {.i = 4}},
                                        .min = {.kind = ATTN_VALUE_I64, .u = {.i = 0}}};
static const attn_param* const params[] = {&window_param};

static const char* const sequence[] = {"batch, seq, dim"};
static const attn_input input = {.struct_size = sizeof(attn_input),
                                 .name = "inputs",
                                 .doc = "the sequence",
                                 .n_shapes = 1,
                                 .shapes = sequence};
static const attn_input* const inputs[] = {&input};
static const attn_output output = {.struct_size = sizeof(attn_output),
                                   .name = "output",
                                   .doc = "the means",
                                   .shape = "batch, seq, dim"};
static const attn_output* const outputs[] = {&output};

/* ---- what it promises, and `attn check` tries to refute ------------------------------------------------ */

static int32_t one_position(const attn_claim_call* call, const void* user) {
  (void)user;
  return call->values[0].u.i == 1; /* window */
}
static int32_t many_positions(const attn_claim_call* call, const void* user) {
  return !one_position(call, user);
}
static int32_t in_window(const attn_claim_call* call, int64_t out, int64_t in, const void* user) {
  (void)user;
  return in <= out && in > out - call->values[0].u.i;
}
#define CLAIM(kind_) .struct_size = sizeof(attn_claim), .kind = ATTN_CLAIM_##kind_
static const attn_claim by_batch = {CLAIM(BATCH_INDEPENDENT)}, causal = {CLAIM(CAUSAL)},
                        decodes = {CLAIM(DECODE_EQUALS_PREFILL)},
                        same_bits = {CLAIM(DETERMINISTIC)}, linear = {CLAIM(LINEAR)},
                        window_only = {CLAIM(REACHES), .relation = "the window before it",
                                       .allows = in_window},
                        by_itself = {CLAIM(EQUIVARIANT), .condition = "window = 1",
                                     .holds = one_position},
                        ordered = {CLAIM(POSITION_SENSITIVE), .condition = "window > 1",
                                   .holds = many_positions};
static const attn_claim* const claims[] = {&by_batch, &causal,      &decodes,   &same_bits,
                                           &linear,   &window_only, &by_itself, &ordered};

/* ---- operators it calls: the host fills in the slot ------------------------------------------------ */

static const attn_op_ref* average;
static const attn_op_use use_average = {.struct_size = sizeof(attn_op_use),
                                        .version = 1,
                                        .min_attrs = 2,
                                        .min_in = 1,
                                        .name = "example.causal_average",
                                        .slot = &average};
static const attn_op_use* const uses[] = {&use_average};
static const attn_op* const ops[] = {&average_op};

/* ---- the layer --------------------------------------------------------------------------------------- */

typedef struct average_layer {
  int64_t window;
  uint32_t history; /* index of the state */
} average_layer;

static int32_t create(const attn_value* values, attn_layer** out, attn_error* error) {
  average_layer* layer = malloc(sizeof *layer);
  if (layer == NULL) {
    error->code = ATTN_OUT_OF_MEMORY;
    snprintf(error->where, sizeof error->where, "example.causal_average");
    snprintf(error->message, sizeof error->message, "no memory for the layer");
    return ATTN_OUT_OF_MEMORY;
  }
  layer->window = values[0].u.i;
  layer->history = 0;
  *out = (attn_layer*)layer;
  return ATTN_OK;
}

static void destroy(attn_layer* layer) { free(layer); }

static int32_t build(attn_layer* self, attn_builder* builder, attn_error* error) {
  const attn_state history = {.struct_size = sizeof(attn_state),
                              .flags = ATTN_STATE_HISTORY,
                              .name = "history",
                              .rank = 3,
                              .axis = 1,
                              .shape = {-1, -1, -1}};
  return builder->state(builder, &history, &((average_layer*)self)->history, error);
}

static int32_t forward(const attn_layer* self, const attn_call* call, attn_error* error) {
  const average_layer* layer = (const average_layer*)self;
  attn_tensor* x = call->inputs[0];
  if (x->view.rank != 3) {
    error->code = ATTN_INVALID_ARGUMENT;
    snprintf(error->where, sizeof error->where, "inputs");
    snprintf(error->message, sizeof error->message,
             "input must be (batch, seq, dim), but has rank %d; add the missing dimension",
             (int)x->view.rank);
    return ATTN_INVALID_ARGUMENT;
  }
  /* Without a state the history is x itself. */
  attn_tensor* history = NULL;
  int32_t code = call->engine->append(call->ctx, layer->history, x, &history, error);
  if (code != ATTN_OK) return code;
  const attn_value attrs[] = {{.kind = ATTN_VALUE_I64, .u = {.i = layer->window}},
                              {.kind = ATTN_VALUE_I64, .u = {.i = x->view.shape[1]}}};
  attn_tensor* result = x; /* any non-NULL value: the output is computed */
  code = call->engine->run(call->ctx, average, attrs, 2, &history, 1, &result, 1, error);
  if (--history->refs == 0) call->engine->release(call->ctx, history);
  if (code == ATTN_OK) call->outputs[0] = result;
  return code;
}

/* ---- what the host pulls -------------------------------------------------------------------------------- */

static const attn_type type = {.struct_size = sizeof(attn_type),
                               .flags = ATTN_TYPE_STATEFUL,
                               .id = "example.causal_average",
                               .class_name = "CausalAverage",
                               .description = "Mean of each position and those before it.",
                               .use_case = "A cheap baseline for attention, and a smoother.",
                               .input_shape = "(batch, seq_len, dim)",
                               .complexity = "O(seq_len * window * dim)",
                               .paper = "none",
                               .n_params = 1,
                               .n_inputs = 1,
                               .n_outputs = 1,
                               .n_claims = sizeof claims / sizeof *claims,
                               .params = params,
                               .inputs = inputs,
                               .outputs = outputs,
                               .claims = claims,
                               .create = create,
                               .destroy = destroy,
                               .build = build,
                               .forward = forward};
static const attn_type* const types[] = {&type};

static const attn_plugin plugin = {.struct_size = sizeof(attn_plugin),
                                   .abi_major = ATTN_ABI_MAJOR,
                                   .abi_minor_built = ATTN_ABI_MINOR,
                                   .abi_minor_needed = 0,
                                   .n_types = 1,
                                   .n_ops = 1,
                                   .n_uses = 1,
                                   .name = "causal_average",
                                   .version = "1.0.0",
                                   .license = "Apache-2.0",
                                   .types = types,
                                   .ops = ops,
                                   .uses = uses};

ATTN_NOTE("causal_average", "1.0.0", "example.causal_average");

const attn_plugin* attn_plugin_v1(void) { return &plugin; }
