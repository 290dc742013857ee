/* SPDX-License-Identifier: Apache-2.0 */
/* A type that gives the host the absurd number that its parameter chooses, in build(), forward() or an operator. */
#include <attn/sdk/abi.h>

static const attn_engine* engine;
static const attn_op_ref* op_ref;

static int32_t fixture_init(const attn_engine* e, attn_error* error) {
  (void)error;
  engine = e;
  return ATTN_OK;
}
#define FIXTURE_INIT fixture_init

/* ---- an operator: what its shape() says ---- */
static const attn_param what_attribute = {.struct_size = sizeof(attn_param),
                                          .kind = ATTN_PARAM_INT,
                                          .name = "what",
                                          .doc = "which absurdity",
                                          .def = {.kind = ATTN_VALUE_I64, .u = {.i = 0}}};
static const attn_param* const op_attrs[] = {&what_attribute};
static int32_t op_shape(const attn_op_call* call, attn_error* error) {
  (void)error;
  attn_view* out = &call->out[0]->view;
  attn_view* second = &call->out[1]->view;
  *second = *out;
  out->rank = second->rank = 1;
  out->shape[0] = second->shape[0] = 4;
  if (call->saved) *call->saved[0] = call->in[0]->view;
  switch (call->attrs[0].u.i) {
    case 20:
      out->rank = 100;
      break;
    case 21:
      out->rank = -100;
      break;
    case 22:
      second->rank = 100;
      break; /* nothing uses it */
    case 23:
      out->dtype = 77;
      break;
    case 24:
      out->shape[0] = INT64_MAX;
      break;
    case 25:
      out->shape[0] = -4;
      break;
    case 26:
      out->stride[0] = INT64_MAX;
      break;
    case 27:
      if (call->saved) call->saved[0]->rank = 100;
      break;
    case 28:
      if (call->saved) call->saved[0]->dtype = 77;
      break;
    case 29:
      if (call->saved) call->saved[0]->shape[0] = INT64_MAX;
      break;
    default:
      break;
  }
  return ATTN_OK;
}
static int32_t op_nothing(const attn_op_call* call, attn_error* error) {
  (void)call;
  (void)error;
  return ATTN_OK;
}
static const attn_op absurd_op = {.struct_size = sizeof(attn_op),
                                  .name = FIXTURE_ID "_op",
                                  .doc = "gives shapes that cannot be",
                                  .version = 1,
                                  .n_in = 1,
                                  .n_out = 2,
                                  .n_saved = 1,
                                  .n_attrs = 1,
                                  .in_required = 1,
                                  .map_output = -1,
                                  .attrs = op_attrs,
                                  .shape = op_shape,
                                  .forward = op_nothing,
                                  .vjp = op_nothing};
static const attn_op* const ops[] = {&absurd_op};
#define FIXTURE_OPS ops
static const attn_op_use use = {sizeof(attn_op_use), 1, 1, 1, FIXTURE_ID "_op", &op_ref};
static const attn_op_use* const uses[] = {&use};
#define FIXTURE_USES uses

/* ---- the type ---- */
static const attn_param what_param = {.struct_size = sizeof(attn_param),
                                      .kind = ATTN_PARAM_INT,
                                      .name = "what",
                                      .doc = "which absurdity",
                                      .def = {.kind = ATTN_VALUE_I64, .u = {.i = 0}}};
static const attn_param* const params[] = {&what_param};
#define FIXTURE_PARAMS params

static int64_t chosen;
static int32_t absurd_create(const attn_value* values, attn_layer** out, attn_error* error) {
  (void)error;
  chosen = values[0].u.i;
  *out = (attn_layer*)&chosen;
  return ATTN_OK;
}
static int32_t absurd_build(attn_layer* layer, attn_builder* b, attn_error* error) {
  (void)layer;
  uint32_t index;
  attn_state state = {.struct_size = sizeof state,
                      .flags = ATTN_STATE_HISTORY,
                      .name = "history",
                      .rank = 2,
                      .axis = 1,
                      .shape = {-1, -1},
                      .max_len = 8};
  attn_weight weight = {.struct_size = sizeof weight,
                        .flags = ATTN_WEIGHT_STATISTIC,
                        .name = "w",
                        .rank = 1,
                        .shape = {2}};
  attn_component_spec component = {.struct_size = sizeof component,
                                   .family = "activation",
                                   .name = "softmax",
                                   .options = "{\"axis\": -50}",
                                   .site = "a",
                                   .input = {1, 100, {4}}};
  const attn_component* made;
  switch (chosen) {
    case 40:
      weight.rank = 100;
      break;
    case 41:
      weight.rank = -1;
      break;
    case 42:
      weight.shape[0] = INT64_MAX;
      break;
    case 43:
      weight.shape[0] = -1;
      break;
    case 44:
      state.rank = 100;
      break;
    case 45:
      state.axis = 100;
      break;
    case 46:
      state.max_len = -1;
      break;
    case 47:
      return b->component(b, &component, &made, error);
    case 48:
      component.input.rank = -100;
      return b->component(b, &component, &made, error);
    default:
      break;
  }
  const int32_t code = b->weight(b, &weight, &index, error);
  return code ? code : b->state(b, &state, &index, error);
}
static int32_t absurd_forward(const attn_layer* layer, const attn_call* call, attn_error* error) {
  (void)layer;
  attn_ctx* ctx = call->ctx;
  attn_tensor* x = call->inputs[0];
  attn_tensor* y = 0;
  const int64_t one[100] = {1, 1, 1, 1, 1, 1, 1, 1}, none[2] = {0, 1}, huge[2] = {INT64_MAX, 2};
  const float numbers[8] = {0};
  const attn_value what = {.kind = ATTN_VALUE_I64, .u = {.i = chosen}};
  attn_tensor* outs[2] = {x, 0};
  int32_t code = engine->view(ctx, x, 1, one, one, 1, &y, error); /* an offset of its own */
  if (code) return code;
  switch (chosen) {
    case 1:
      code = engine->view(ctx, y, 1, one, one, INT64_MAX, &y, error);
      break;
    case 2:
      code = engine->view(ctx, y, 2, none, one, INT64_MAX, &y, error);
      break;
    case 3:
      code = engine->view(ctx, y, 1, one, one, -1, &y, error);
      break;
    case 4:
      code = engine->view(ctx, y, 100, one, one, 0, &y, error);
      break;
    case 5:
      code = engine->view(ctx, y, -1, one, one, 0, &y, error);
      break;
    case 6:
      code = engine->view(ctx, y, 2, huge, huge, 0, &y, error);
      break;
    case 7:
      code = engine->constant(ctx, ATTN_F32, 100, one, numbers, &y, error);
      break;
    case 8:
      code = engine->constant(ctx, ATTN_F32, -1, one, numbers, &y, error);
      break;
    case 9:
      code = engine->constant(ctx, ATTN_F32, 2, huge, numbers, &y, error);
      break;
    case 10:
      code = engine->constant(ctx, 77, 1, one, numbers, &y, error);
      break;
    case 11:
      code = engine->append(ctx, 1000, x, &y, error);
      break;
    case 12:
      code = engine->state_get(ctx, 1000, &y, error);
      break;
    case 13:
      code = engine->state_set(ctx, 1000, x, error);
      break;
    case 14:
      code = engine->assign(ctx, 1000, x, error);
      break;
    case 15:
      code = engine->advance(ctx, INT64_MAX, error);
      break;
    case 16:
      code = engine->advance(ctx, -1, error);
      break;
    default:
      break;
  }
  if (code) return code;
  if (chosen >= 20 && chosen < 40)
    code = engine->run(ctx, op_ref, &what, 1, call->inputs, 1, outs, 1, error);
  if (code) return code;
  x->refs++;
  call->outputs[0] = x;
  return ATTN_OK;
}
#define FIXTURE_CREATE absurd_create
#define FIXTURE_BUILD absurd_build
#define FIXTURE_FORWARD absurd_forward
#include "minimal.h"
