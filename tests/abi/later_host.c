/* SPDX-License-Identifier: Apache-2.0
 *
 * later_host PLUGIN LATER: a host of a later border, as far as example.causal_average needs one. Compiled with headers
 * whose structs have all grown, it runs a plugin that was built with other ones, and compares what it computes. LATER: 1
 * when the plugin was built with the same headers, else 0. */
#include <attn/sdk/abi.h>
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 2, SEQ = 5, DIM = 3 };

struct attn_op_ref {
  const attn_op* op;
};
typedef struct dense {
  attn_tensor tensor;
  double data[BATCH * SEQ * DIM];
} dense;

static void fail(const char* what) {
  fprintf(stderr, "later_host: %s\n", what);
  exit(1);
}
static void expect(int holds, const char* what) {
  if (!holds) fail(what);
}

static dense* sequence(void) {
  dense* x = calloc(1, sizeof *x);
  if (!x) fail("no memory");
  x->tensor.refs = 1;
  x->tensor.view = (attn_view){.data = x->data,
                               .dtype = ATTN_F64,
                               .rank = 3,
                               .shape = {BATCH, SEQ, DIM},
                               .stride = {SEQ * DIM, DIM, 1}};
  return x;
}

static int32_t append(attn_ctx* ctx, uint32_t state, attn_tensor* x, attn_tensor** all,
                      attn_error* error) {
  (void)ctx, (void)error;
  expect(state == 0, "the state's index");
  x->refs++;
  *all = x;
  return ATTN_OK;
}
static void release(attn_ctx* ctx, attn_tensor* x) {
  (void)ctx;
  free(x);
}
static void parallel_for(attn_ctx* ctx, int64_t n, int64_t grain,
                         void (*body)(void*, int64_t, int64_t, int32_t), void* user) {
  (void)ctx;
  for (int64_t begin = 0; begin < n; begin += grain)
    body(user, begin, begin + grain < n ? begin + grain : n, 0);
}
static int32_t run(attn_ctx* ctx, const attn_op_ref* ref, const attn_value* attrs, uint32_t n_attrs,
                   attn_tensor* const* in, uint32_t n_in, attn_tensor** out, uint32_t n_out,
                   attn_error* error);

static const attn_engine engine = {.struct_size = sizeof(attn_engine),
                                   .abi_minor = ATTN_ABI_MINOR,
                                   .run = run,
                                   .release = release,
                                   .append = append,
                                   .parallel_for = parallel_for,
                                   .later = {1, 1}};

static int32_t run(attn_ctx* ctx, const attn_op_ref* ref, const attn_value* attrs, uint32_t n_attrs,
                   attn_tensor* const* in, uint32_t n_in, attn_tensor** out, uint32_t n_out,
                   attn_error* error) {
  dense* y = sequence();
  attn_tensor* result = &y->tensor;
  const attn_op_call call = {.struct_size = sizeof call,
                             .n_in = n_in,
                             .n_out = n_out,
                             .n_attrs = n_attrs,
                             .attrs = attrs,
                             .in = (const attn_tensor* const*)in,
                             .out = &result,
                             .engine = &engine,
                             .ctx = ctx,
                             .later = {1, 1}};
  int32_t code = ref->op->shape(&call, error);
  if (code != ATTN_OK) return code;
  expect(result->view.stride[0] == ATTN_DENSE && result->view.shape[1] == SEQ,
         "the output's shape");
  result->view.stride[0] = SEQ * DIM;
  code = ref->op->forward(&call, error);
  out[0] = result;
  return code;
}

static int32_t state(attn_builder* builder, const attn_state* s, uint32_t* index,
                     attn_error* error) {
  (void)builder, (void)error;
  expect(s->flags == ATTN_STATE_HISTORY && s->axis == 1, "the state");
  *index = 0;
  return ATTN_OK;
}

int main(int argc, char** argv) {
  expect(argc == 3, "later_host PLUGIN LATER");
  const int later = atoi(argv[2]);
  void* library = dlopen(argv[1], RTLD_NOW);
  if (!library) fail(dlerror());
  const attn_plugin* (*entry)(void);
  *(void**)&entry = dlsym(library, "attn_plugin_v1");
  const attn_plugin* plugin = entry();
  const attn_type* type = plugin->types[0];
  const attn_op* op = plugin->ops[0];
  expect(plugin->abi_major == ATTN_ABI_MAJOR && plugin->abi_minor_needed <= ATTN_ABI_MINOR,
         "the versions");
  expect(ATTN_HAS(type, attn_type, forward) && ATTN_HAS(op, attn_op, vjp), "members of 1.0");
  expect(ATTN_HAS(type, attn_type, claims) == (plugin->abi_minor_built >= 1), "members of 1.1");
  expect(ATTN_HAS(type, attn_type, later) == later && ATTN_HAS(op, attn_op, later) == later,
         "members of the later border");

  const attn_op_ref average = {op};
  *plugin->uses[0]->slot = &average;
  attn_error error;
  attn_layer* layer = NULL;
  const attn_value window = {.kind = ATTN_VALUE_I64, .u = {.i = 2}};
  attn_builder builder = {.struct_size = sizeof builder, .n_inputs = 1, .state = state};
  expect(type->create(&window, &layer, &error) == ATTN_OK, "create()");
  expect(type->build(layer, &builder, &error) == ATTN_OK, "build()");
  dense* x = sequence();
  for (int i = 0; i < BATCH * SEQ * DIM; ++i) x->data[i] = i * i % 7;
  attn_tensor* inputs[] = {&x->tensor};
  attn_tensor* outputs[] = {NULL};
  const attn_call call = {.struct_size = sizeof call,
                          .n_inputs = 1,
                          .n_outputs = 1,
                          .inputs = inputs,
                          .outputs = outputs,
                          .outputs_wanted = 1,
                          .engine = &engine,
                          .later = {1, 1}};
  expect(type->forward(layer, &call, &error) == ATTN_OK, "forward()");
  for (int i = 0; i < BATCH * SEQ * DIM; ++i) {
    const int first = i / DIM % SEQ == 0;
    const double mean = first ? x->data[i] : (x->data[i - DIM] + x->data[i]) / 2;
    expect(fabs(((dense*)outputs[0])->data[i] - mean) < 1e-12, "the mean of two positions");
  }
  release(NULL, outputs[0]);
  release(NULL, &x->tensor);
  type->destroy(layer);
  return 0;
}
