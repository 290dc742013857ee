/* SPDX-License-Identifier: Apache-2.0 */
/* A type with FIXTURE_MANY_INPUTS, _OUTPUTS and _ARGUMENTS, and an operator with FIXTURE_MANY_ATTRIBUTES, _PORTS and
 * _SAVED. Each output is the input of its number, or the first one. */
#include <attn/sdk/abi.h>
#include <stdio.h>

#ifndef FIXTURE_MANY_INPUTS
#define FIXTURE_MANY_INPUTS 1
#endif
#ifndef FIXTURE_MANY_OUTPUTS
#define FIXTURE_MANY_OUTPUTS 1
#endif
#ifndef FIXTURE_MANY_ARGUMENTS
#define FIXTURE_MANY_ARGUMENTS 1
#endif
#ifndef FIXTURE_MANY_ATTRIBUTES
#define FIXTURE_MANY_ATTRIBUTES 1
#endif
#ifndef FIXTURE_MANY_PORTS
#define FIXTURE_MANY_PORTS 1
#endif
#ifndef FIXTURE_MANY_SAVED
#define FIXTURE_MANY_SAVED 1
#endif

static char names[100][8];
static const char* const many_shapes[] = {"batch"};
static attn_input many_inputs[FIXTURE_MANY_INPUTS];
static const attn_input* inputs_of_many[FIXTURE_MANY_INPUTS];
static attn_output many_outputs[FIXTURE_MANY_OUTPUTS];
static const attn_output* outputs_of_many[FIXTURE_MANY_OUTPUTS];
static attn_param many_arguments[FIXTURE_MANY_ARGUMENTS], many_attributes[FIXTURE_MANY_ATTRIBUTES];
static const attn_param* arguments_of_many[FIXTURE_MANY_ARGUMENTS];
static const attn_param* attributes_of_many[FIXTURE_MANY_ATTRIBUTES];

/* Asked of all calls that a host likes to try. */
static int32_t never(const attn_claim_call* call, const void* user) {
  (void)call;
  (void)user;
  return 0;
}
static const attn_claim never_causal = {.struct_size = sizeof(attn_claim),
                                        .kind = ATTN_CLAIM_CAUSAL,
                                        .condition = "never",
                                        .holds = never};
static const attn_claim* const claims_of_many[] = {&never_causal};
#define FIXTURE_CLAIMS claims_of_many

__attribute__((constructor)) static void fill(void) {
  for (int i = 0; i < 100; ++i) snprintf(names[i], sizeof names[i], "n%d", i);
  for (int i = 0; i < FIXTURE_MANY_INPUTS; ++i) {
    many_inputs[i] = (attn_input){.struct_size = sizeof(attn_input),
                                  .name = names[i],
                                  .doc = "",
                                  .n_shapes = 1,
                                  .shapes = many_shapes};
    inputs_of_many[i] = &many_inputs[i];
  }
  for (int i = 0; i < FIXTURE_MANY_OUTPUTS; ++i) {
    many_outputs[i] = (attn_output){
        .struct_size = sizeof(attn_output), .name = names[i], .doc = "", .shape = "batch"};
    outputs_of_many[i] = &many_outputs[i];
  }
  for (int i = 0; i < FIXTURE_MANY_ARGUMENTS; ++i) {
    many_arguments[i] = (attn_param){.struct_size = sizeof(attn_param),
                                     .kind = ATTN_PARAM_INT,
                                     .name = names[i],
                                     .doc = "",
                                     .def = {.kind = ATTN_VALUE_I64, .u = {.i = i}}};
    arguments_of_many[i] = &many_arguments[i];
  }
  for (int i = 0; i < FIXTURE_MANY_ATTRIBUTES; ++i) {
    many_attributes[i] = (attn_param){.struct_size = sizeof(attn_param),
                                      .kind = ATTN_PARAM_INT,
                                      .name = names[i],
                                      .doc = "",
                                      .def = {.kind = ATTN_VALUE_I64, .u = {.i = i}}};
    attributes_of_many[i] = &many_attributes[i];
  }
}

static int32_t many_op(const attn_op_call* call, attn_error* error) {
  (void)call;
  (void)error;
  return ATTN_UNSUPPORTED;
}
#ifdef FIXTURE_OP_NAME
static const attn_op op = {.struct_size = sizeof(attn_op),
                           .name = FIXTURE_OP_NAME,
                           .doc = "",
                           .version = 1,
                           .n_in = FIXTURE_MANY_PORTS,
                           .n_out = FIXTURE_MANY_PORTS,
                           .n_saved = FIXTURE_MANY_SAVED,
                           .n_attrs = FIXTURE_MANY_ATTRIBUTES,
                           .map_output = -1,
                           .attrs = attributes_of_many,
                           .shape = many_op,
                           .forward = many_op};
static const attn_op* const ops[] = {&op};
#define FIXTURE_OPS ops
#endif

static int32_t many_forward(const attn_layer* layer, const attn_call* call, attn_error* error) {
  (void)layer;
  (void)error;
  (void)many_op;
  for (uint32_t i = 0; i < call->n_outputs; ++i) {
    call->outputs[i] = call->inputs[i < call->n_inputs ? i : 0];
    call->outputs[i]->refs++;
  }
  for (uint32_t i = 0; i < call->n_args; ++i)
    if (call->args[i].u.i != (int64_t)i) return ATTN_INTERNAL;
  return ATTN_OK;
}
#define FIXTURE_FORWARD many_forward
#define FIXTURE_INPUTS inputs_of_many
#define FIXTURE_OUTPUTS outputs_of_many
#define FIXTURE_ARGS arguments_of_many
#include "minimal.h"
