/* SPDX-License-Identifier: Apache-2.0
 *
 * A plugin that passes `attn check`, compiled once for each fault of faults.txt with that one alone: FAULT(name) is
 * true there. The type multiplies its input by `size`, with an operator of its own.
 */
#define _GNU_SOURCE
#include <attn/sdk/abi.h>
#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The build defines FAULT_IS_name as 1; FAULT of any other name is 0. */
#define FAULT_PLACE_1 0,
#define FAULT_SECOND(first, second, ...) second
#define FAULT_PICK(place) FAULT_SECOND(place 1, 0, 0)
#define FAULT_OF(value) FAULT_PICK(FAULT_PLACE_##value)
#define FAULT_VALUE(value) FAULT_OF(value)
#define FAULT(name) FAULT_VALUE(FAULT_IS_##name)

/* ---- at load ---------------------------------------------------------------------------------------- */

static void* sleep_for_ever(void* unused) {
  for (;;) pause();
  return unused;
}
static inline void on_signal(int number) { (void)number; }

__attribute__((constructor)) static void at_load(void) {
  pthread_t thread;
  if (FAULT(prints_at_load)) fprintf(stderr, "fixture: loaded\n");
  if (FAULT(starts_a_thread)) pthread_create(&thread, NULL, sleep_for_ever, NULL);
  if (FAULT(takes_a_signal)) signal(SIGUSR1, on_signal);
  if (FAULT(leaves_a_file_open)) (void)!open("/dev/null", O_RDONLY);
}
__attribute__((destructor)) static void at_end(void) {
  if (FAULT(ends_the_process_badly)) _exit(3);
}

#if FAULT(exports_more)
ATTN_EXPORT int helper_of_many(void) { return 1; }
#endif
#if FAULT(calls_the_host)
__attribute__((weak)) const char* host_version(void) __asm__("_ZN4attn7versionEv");
#endif

/* ---- the operator ----------------------------------------------------------------------------------- */

static int32_t refuse(attn_error* error, const char* message) {
  error->code = ATTN_INVALID_ARGUMENT;
  if (FAULT(message_without_end)) {
    memset(error->message, 'x', sizeof error->message);
    memset(error->where, 'x', sizeof error->where);
    return ATTN_INVALID_ARGUMENT;
  }
  snprintf(error->where, sizeof error->where, "fixture.scale");
  snprintf(error->message, sizeof error->message, "%s", message);
  return ATTN_INVALID_ARGUMENT;
}

static const attn_param factor_attr = {.struct_size = sizeof(attn_param),
                                       .kind = ATTN_PARAM_INT,
                                       .name = "factor",
                                       .doc = "of every element",
                                       .def = {.kind = ATTN_VALUE_I64, .u = {.i = 1}}};
static const attn_param* const attrs[] = {&factor_attr};

static int32_t scale_shape(const attn_op_call* call, attn_error* error) {
  const attn_view* x = &call->in[0]->view;
  attn_view* y = &call->out[0]->view;
  if (x->dtype != ATTN_F32 && x->dtype != ATTN_F64)
    return refuse(error, "the tensor must be float32 or float64");
  *y = (attn_view){.data = y->data, .dtype = x->dtype, .rank = x->rank};
  memcpy(y->shape, x->shape, sizeof y->shape);
  y->stride[0] = ATTN_DENSE;
  return ATTN_OK;
}

static int64_t count_of(const attn_view* v) {
  int64_t n = 1;
  for (int i = 0; i < v->rank; ++i) n *= v->shape[i];
  return n;
}
/* Where element n lies. */
static int64_t place(const attn_view* v, int64_t n) {
  int64_t at = 0;
  if (FAULT(ignores_strides)) return n;
  for (int i = v->rank - 1; i >= 0; --i) {
    at += n % v->shape[i] * v->stride[i];
    n /= v->shape[i];
  }
  return at;
}
static double get(const attn_view* v, int64_t at) {
  return v->dtype == ATTN_F32 ? (double)((const float*)v->data)[at] : ((const double*)v->data)[at];
}
static void set(const attn_view* v, int64_t at, double x) {
  if (v->dtype == ATTN_F32)
    ((float*)v->data)[at] = (float)x;
  else
    ((double*)v->data)[at] = x;
}

/* Writes what is there already. */
static inline void touch(const attn_view* v, int64_t at) {
  volatile char* byte = (volatile char*)v->data + at * (v->dtype == ATTN_F32 ? 4 : 8);
  *byte = *byte;
}

static volatile double shared_number;

static int32_t scale_forward(const attn_op_call* call, attn_error* error) {
  const attn_view *x = &call->in[0]->view, *y = &call->out[0]->view;
  const int64_t n = count_of(x);
  double factor = (double)call->attrs[0].u.i;
  (void)error;
  if (FAULT(divides_by_the_length)) shared_number = (double)(1000 / (int)x->shape[1]);
  if (FAULT(shares_a_number)) {
    shared_number = 1;
    for (int i = 0; i < 20; ++i) {
      shared_number = shared_number * factor; /* a product that others multiply into */
      sched_yield();
      shared_number = shared_number / factor;
    }
    factor *= shared_number;
  }
  for (int64_t i = 0; i < n; ++i) {
    if (FAULT(leaves_gaps) && x->shape[1] == 16 && i + 1 == n) break;
    set(y, place(y, i), factor * get(x, place(x, i)));
  }
  if (FAULT(writes_its_input) && n) touch(x, 0);
  if (FAULT(reads_past_its_input) && n) shared_number = get(x, n);
  if (FAULT(writes_past_its_result) && n && x->shape[1] == 16) touch(y, n);
  return ATTN_OK;
}

static int32_t scale_vjp(const attn_op_call* call, attn_error* error) {
  const attn_view *dy = call->dout[0], *dx = call->din[0];
  (void)error;
  if (!dy || !dx) return ATTN_OK;
  for (int64_t i = 0; i < count_of(dx); ++i)
    set(dx, place(dx, i),
        get(dx, place(dx, i)) + (double)call->attrs[0].u.i * get(dy, place(dy, i)));
  return ATTN_OK;
}

static const attn_op scale_op = {.struct_size = sizeof(attn_op),
                                 .name = "fixture.scale",
                                 .doc = "every element times a factor",
                                 .version = 1,
                                 .n_in = 1,
                                 .n_out = 1,
                                 .n_attrs = 1,
                                 .in_required = 1,
                                 .map_output = -1,
                                 .attrs = attrs,
                                 .shape = scale_shape,
                                 .forward = scale_forward,
                                 .vjp = scale_vjp};
static const attn_op* const ops[] = {&scale_op};
static const attn_op_ref* scale;
static const attn_op_use use_scale = {.struct_size = sizeof(attn_op_use),
                                      .version = 1,
                                      .min_attrs = 1,
                                      .min_in = 1,
                                      .name = "fixture.scale",
                                      .slot = &scale};
static const attn_op_use* const uses[] = {&use_scale};

/* ---- the schema ------------------------------------------------------------------------------------- */

static const attn_param size_param = {
    .struct_size = sizeof(attn_param),
    .kind = ATTN_PARAM_INT,
    .flags = (FAULT(divides_by_zero) ? 0 : ATTN_PARAM_HAS_MIN) |
             (FAULT(config_creeps) ? ATTN_PARAM_NULLABLE : 0),
    .name = FAULT(camel_case) ? "modelSize" : "size",
    .doc = FAULT(undocumented) ? "" : "the factor",
    .def = {.kind = FAULT(config_creeps) ? ATTN_NULL : ATTN_VALUE_I64, .u = {.i = 2}},
    .min = {.kind = ATTN_VALUE_I64, .u = {.i = 1}}};
static const char* const modes[] = {"plain", "other"};
static const attn_param mode_param = {.struct_size = sizeof(attn_param),
                                      .kind = ATTN_PARAM_TEXT,
                                      .name = "mode",
                                      .doc = "two words for the same",
                                      .def = {.kind = ATTN_VALUE_STR, .u = {.s = "plain"}},
                                      .choices = modes,
                                      .n_choices = 2};
static const attn_param* const params[] = {&size_param, &mode_param};

static int32_t small_enough(const attn_value* values, const void* user) {
  static int asked;
  (void)user;
  const int unusual = values[0].u.i > 2 && strcmp(values[1].u.s, "other") == 0;
  if (FAULT(moody_rule) && unusual && ++asked % 2 == 0) return 0;
  return values[0].kind == ATTN_NULL || values[0].u.i < 1000000000;
}
static const attn_rule size_rule = {
    .struct_size = sizeof(attn_rule),
    .text = FAULT(rule_without_a_name) ? "that is too much" : "size must be below 1000000000",
    .check = small_enough};
static const attn_rule* const rules[] = {&size_rule};

static const attn_param argument = {.struct_size = sizeof(attn_param),
                                    .kind = ATTN_PARAM_BOOL,
                                    .name = FAULT(argument_named_as_an_input) ? "inputs" : "unused",
                                    .doc = "no effect",
                                    .def = {.kind = ATTN_VALUE_BOOL}};
static const attn_param* const arguments[] = {&argument};

static const char* const input_shapes[] = {"batch, seq, dim"};
static const attn_input input = {.struct_size = sizeof(attn_input),
                                 .name = "inputs",
                                 .doc = "the sequence",
                                 .n_shapes = FAULT(input_without_a_shape) ? 0 : 1,
                                 .shapes = input_shapes};
static const attn_input* const inputs[] = {&input};
static const attn_output output = {
    .struct_size = sizeof(attn_output),
    .name = "output",
    .doc = "the products",
    .shape = FAULT(declares_another_shape) ? "batch, dim, seq" : "batch, seq, dim"};
static const attn_output* const outputs[] = {&output};

/* ---- the layer -------------------------------------------------------------------------------------- */

typedef struct layer {
  int64_t size;
} layer;

static int64_t size_of_all;
static void* volatile memory;

static int32_t create(const attn_value* values, attn_layer** out, attn_error* error) {
  layer* made = malloc(sizeof *made);
  const int64_t size = values[0].kind == ATTN_NULL ? 2 : values[0].u.i;
  if (!made) return ATTN_OUT_OF_MEMORY;
  if (FAULT(refuses_its_bound) && size == 1) return refuse(error, "size must be at least 2");
  if (FAULT(refuses_a_choice) && strcmp(values[1].u.s, "other") == 0)
    return refuse(error, "mode 'other' is not there yet");
  if (FAULT(divides_by_zero)) shared_number = (double)(1000 / (int)size);
  if (FAULT(opens_files)) (void)!open("/dev/null", O_RDONLY);
  made->size = size;
  if (FAULT(layers_share_a_number)) size_of_all = size;
  *out = (attn_layer*)made;
  return ATTN_OK;
}
static void destroy(attn_layer* self) {
  if (!FAULT(keeps_layers)) free(self);
}
static int32_t build(attn_layer* self, attn_builder* builder, attn_error* error) {
  (void)self;
  (void)builder;
  (void)error;
  return ATTN_OK;
}
static inline void resolved(const attn_layer* self, attn_value* values) {
  values[0] = (attn_value){.kind = ATTN_VALUE_I64, .u = {.i = ((const layer*)self)->size + 1}};
}

static int32_t forward(const attn_layer* self, const attn_call* call, attn_error* error) {
  attn_tensor* x = call->inputs[0];
  const int64_t size = FAULT(layers_share_a_number) ? size_of_all : ((const layer*)self)->size;
  const attn_value attr = {.kind = ATTN_VALUE_I64, .u = {.i = size}};
  attn_tensor* result = x;
  if (x->view.rank != 3 && !FAULT(takes_any_rank))
    return refuse(error, "the input must be (batch, seq, dim); add or take out a dimension");
  if (x->view.rank == 3 && !FAULT(divides_by_the_length) && x->view.shape[1] == 0)
    return refuse(error, "the sequence must have at least one position");
  if (FAULT(prints_in_calls)) fprintf(stderr, "fixture: forward\n");
  if (FAULT(keeps_memory)) memory = malloc(40);
  if (FAULT(allocates)) free((void*)(memory = malloc(40)));
  if (FAULT(reads_a_longer_call)) {
    char longer[sizeof(attn_call) + 16];
    memcpy(longer, call, sizeof longer);
    shared_number = longer[sizeof(attn_call) + 8];
  }
  if (FAULT(wants_an_exact_size) && call->struct_size != sizeof(attn_call))
    return refuse(error, "attn_call has another size than this plugin was compiled for");
  const int32_t code = call->engine->run(call->ctx, scale, &attr, 1, &x, 1, &result, 1, error);
  if (code == ATTN_OK) call->outputs[0] = result;
  return code;
}

static const attn_type type = {.struct_size = sizeof(attn_type),
                               .id = "fixture.check",
                               .class_name = "FixtureCheck",
                               .description = "Multiplies its input.",
                               .use_case = FAULT(text_missing) ? "" : "Tests of the checker.",
                               .input_shape = "(batch, seq, dim)",
                               .complexity = "O(seq * dim)",
                               .paper = "none",
                               .n_params = 2,
                               .n_rules = 1,
                               .n_inputs = 1,
                               .n_args = 1,
                               .n_outputs = 1,
                               .params = params,
                               .rules = rules,
                               .inputs = inputs,
                               .args = arguments,
                               .outputs = outputs,
                               .create = create,
                               .destroy = destroy,
                               .build = build,
                               .forward = forward,
                               .resolved = FAULT(config_creeps) ? resolved : NULL};
static const attn_type* const types[] = {&type};

/* ---- the plugin ------------------------------------------------------------------------------------- */

static int32_t init(const attn_engine* engine, attn_error* error) {
  static int runs;
  (void)engine;
  if (FAULT(init_only_once) && ++runs > 1) return refuse(error, "initialised already");
  return ATTN_OK;
}
static void deinit(void) {
  static void* kept;
  if (FAULT(frees_at_each_end)) free(kept ? kept : (kept = malloc(40)));
}

#define PLUGIN                                                                                 \
  {                                                                                            \
    .struct_size = sizeof(attn_plugin), .abi_major = ATTN_ABI_MAJOR,                           \
    .abi_minor_built = ATTN_ABI_MINOR, .n_types = 1, .n_ops = 1, .n_uses = 1, .name = "fault", \
    .version = "1.0.0",                                                                        \
    .license = FAULT(license_in_prose) ? "free, as in free of charge!" : "Apache-2.0",         \
    .types = types, .ops = ops, .uses = uses, .init = init, .deinit = deinit                   \
  }
static const attn_plugin plugin = PLUGIN, second = PLUGIN;

ATTN_NOTE("fault", "1.0.0", "fixture.check");

static inline int has_threads(void) {
  DIR* tasks = opendir("/proc/self/task");
  int entries = 0; /* with . and .. */
  while (tasks && readdir(tasks)) ++entries;
  if (tasks) closedir(tasks);
  return entries > 3;
}

ATTN_EXPORT const attn_plugin* attn_plugin_v1(void) {
  static volatile int calls;
  static attn_plugin made;
  if (FAULT(another_table)) return (calls = calls + 1) % 2 ? &plugin : &second;
  if (FAULT(half_made_table)) {
    calls = calls + 1;
    if (made.struct_size == 0) {
      made.struct_size = sizeof made;
      /* Until another thread has come, where there are any. */
      for (int i = 0; i < 4000 && calls < 2 && has_threads(); ++i) usleep(500);
      made = plugin;
    }
    return &made;
  }
#if FAULT(calls_the_host)
  if (host_version) calls = calls + host_version()[0];
#endif
  return &plugin;
}
