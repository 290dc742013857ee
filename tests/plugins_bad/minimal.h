/* SPDX-License-Identifier: Apache-2.0
 *
 * A complete plugin in C with one type, each part of which a fixture may replace before it includes this.
 * The type has one parameter and hands its input through.
 *
 *   FIXTURE_ID      id of the type               FIXTURE_NOTE_TYPES  types in the metadata
 *   FIXTURE_NAME    name of the plugin           FIXTURE_NOTE_NAME   name in the metadata
 *   FIXTURE_PARAMS  the parameters, an array     FIXTURE_NO_ENTRY    do not define the entry function
 *   FIXTURE_INIT    init function                FIXTURE_USES        array of operators that it uses
 *   FIXTURE_OPS     array of own operators       FIXTURE_DEINIT  deinit function
 *   FIXTURE_INPUTS, FIXTURE_OUTPUTS, FIXTURE_ARGS  arrays in place of one input, one output and no argument
 *   FIXTURE_CREATE, FIXTURE_BUILD, FIXTURE_FORWARD  functions of the type
 *   FIXTURE_FLAGS   flags of the type
 *   FIXTURE_ON_CALL function that each function of the type calls first
 */
#ifndef ATTN_TESTS_PLUGINS_BAD_MINIMAL_H
#define ATTN_TESTS_PLUGINS_BAD_MINIMAL_H

#include <attn/sdk/abi.h>

#ifndef FIXTURE_NAME
#define FIXTURE_NAME "fixture"
#endif
#ifndef FIXTURE_ID
#define FIXTURE_ID "fixture.type"
#endif
#ifndef FIXTURE_NOTE_TYPES
#define FIXTURE_NOTE_TYPES FIXTURE_ID
#endif
#ifndef FIXTURE_NOTE_NAME
#define FIXTURE_NOTE_NAME FIXTURE_NAME
#endif
#ifndef FIXTURE_ABI_MAJOR
#define FIXTURE_ABI_MAJOR ATTN_ABI_MAJOR
#endif
#ifndef FIXTURE_ABI_NEEDED
#define FIXTURE_ABI_NEEDED 0
#endif
#ifndef FIXTURE_ABI_BUILT
#define FIXTURE_ABI_BUILT ATTN_ABI_MINOR
#endif
#ifndef FIXTURE_FLAGS
#define FIXTURE_FLAGS 0
#endif
#ifndef FIXTURE_INIT
#define FIXTURE_INIT 0
#endif
#ifndef FIXTURE_DEINIT
#define FIXTURE_DEINIT 0
#endif
#ifndef FIXTURE_FORWARD
#define FIXTURE_FORWARD forward
#endif

#ifndef FIXTURE_ON_CALL
#define FIXTURE_ON_CALL() (void)0
#endif

#ifndef FIXTURE_CREATE
#define FIXTURE_CREATE create
#endif
#ifndef FIXTURE_BUILD
#define FIXTURE_BUILD build
#endif

static inline int32_t create(const attn_value* values, attn_layer** out, attn_error* error) {
  static int layer;
  FIXTURE_ON_CALL();
  (void)values;
  (void)error;
  *out = (attn_layer*)&layer;
  return ATTN_OK;
}
static void destroy(attn_layer* layer) {
  FIXTURE_ON_CALL();
  (void)layer;
}
static inline int32_t build(attn_layer* layer, attn_builder* builder, attn_error* error) {
  FIXTURE_ON_CALL();
  (void)layer;
  (void)builder;
  (void)error;
  return ATTN_OK;
}
static inline int32_t forward(const attn_layer* layer, const attn_call* call, attn_error* error) {
  FIXTURE_ON_CALL();
  (void)layer;
  (void)error;
  call->inputs[0]->refs++;
  call->outputs[0] = call->inputs[0];
  return ATTN_OK;
}

#ifndef FIXTURE_PARAMS
static const attn_param size_param = {.struct_size = sizeof(attn_param),
                                      .kind = ATTN_PARAM_INT,
                                      .flags = ATTN_PARAM_HAS_MIN,
                                      .name = "size",
                                      .doc = "not used",
                                      .def = {.kind = ATTN_VALUE_I64, .u = {.i = 1}},
                                      .min = {.kind = ATTN_VALUE_I64, .u = {.i = 0}}};
static const attn_param* const params[] = {&size_param};
#define FIXTURE_PARAMS params
#endif

#ifndef FIXTURE_INPUTS
static const char* const input_shapes[] = {"batch, seq, dim"};
static const attn_input input = {.struct_size = sizeof(attn_input),
                                 .name = "inputs",
                                 .doc = "the sequence",
                                 .n_shapes = 1,
                                 .shapes = input_shapes};
static const attn_input* const inputs[] = {&input};
#define FIXTURE_INPUTS inputs
#endif
#ifndef FIXTURE_OUTPUTS
static const attn_output output = {.struct_size = sizeof(attn_output),
                                   .name = "output",
                                   .doc = "the sequence",
                                   .shape = "batch, seq, dim"};
static const attn_output* const outputs[] = {&output};
#define FIXTURE_OUTPUTS outputs
#endif

static const attn_type type = {.struct_size = sizeof(attn_type),
                               .flags = FIXTURE_FLAGS,
                               .id = FIXTURE_ID,
                               .class_name = "FixtureType",
                               .description = "Hands its input through.",
                               .use_case = "Tests.",
                               .input_shape = "(batch, seq, dim)",
                               .complexity = "O(1)",
                               .paper = "none",
                               .n_params = sizeof FIXTURE_PARAMS / sizeof FIXTURE_PARAMS[0],
                               .n_inputs = sizeof FIXTURE_INPUTS / sizeof FIXTURE_INPUTS[0],
                               .n_outputs = sizeof FIXTURE_OUTPUTS / sizeof FIXTURE_OUTPUTS[0],
#ifdef FIXTURE_CLAIMS
                               .n_claims = sizeof FIXTURE_CLAIMS / sizeof FIXTURE_CLAIMS[0],
                               .claims = FIXTURE_CLAIMS,
#endif
#ifdef FIXTURE_ARGS
                               .n_args = sizeof FIXTURE_ARGS / sizeof FIXTURE_ARGS[0],
                               .args = FIXTURE_ARGS,
#endif
                               .params = FIXTURE_PARAMS,
                               .inputs = FIXTURE_INPUTS,
                               .outputs = FIXTURE_OUTPUTS,
                               .create = FIXTURE_CREATE,
                               .destroy = destroy,
                               .build = FIXTURE_BUILD,
                               .forward = FIXTURE_FORWARD};
static const attn_type* const types[] = {&type};

static const attn_plugin plugin = {.struct_size = sizeof(attn_plugin),
                                   .abi_major = FIXTURE_ABI_MAJOR,
                                   .abi_minor_built = FIXTURE_ABI_BUILT,
                                   .abi_minor_needed = FIXTURE_ABI_NEEDED,
                                   .n_types = 1,
#ifdef FIXTURE_OPS
                                   .n_ops = sizeof FIXTURE_OPS / sizeof FIXTURE_OPS[0],
                                   .ops = FIXTURE_OPS,
#endif
#ifdef FIXTURE_USES
                                   .n_uses = sizeof FIXTURE_USES / sizeof FIXTURE_USES[0],
                                   .uses = FIXTURE_USES,
#endif
                                   .name = FIXTURE_NAME,
                                   .version = "1.0.0",
                                   .license = "Apache-2.0",
                                   .types = types,
                                   .init = FIXTURE_INIT,
                                   .deinit = FIXTURE_DEINIT};

__attribute__((section(ATTN_NOTE_SECTION), used))
const attn_note fixture_note = {{'A', 'T', 'T', 'N', 'O', 'T', 'E', '1'},
                                FIXTURE_ABI_MAJOR,
                                FIXTURE_ABI_BUILT,
                                FIXTURE_ABI_NEEDED,
                                (uint16_t)(8 * sizeof(void*)),
                                FIXTURE_NOTE_NAME,
                                "1.0.0",
                                FIXTURE_NOTE_TYPES};

#ifndef FIXTURE_NO_ENTRY
ATTN_EXPORT const attn_plugin* attn_plugin_v1(void) { return &plugin; }
#else
ATTN_EXPORT const void* fixture_table(void) { return &plugin; }
#endif

#endif
