/* SPDX-License-Identifier: Apache-2.0 */
#include "causal_average_op.h"

#include <stdio.h>

/* ---- attributes ------------------------------------------------------------------------------- */

static const attn_param window_attr = {.struct_size = sizeof(attn_param),
                                       .kind = ATTN_PARAM_INT,
                                       .name = "window",
                                       .doc = "positions that a mean covers",
                                       .def = {.kind = ATTN_VALUE_I64, .u = {.i = 1}}};
static const attn_param count_attr = {.struct_size = sizeof(attn_param),
                                      .kind = ATTN_PARAM_INT,
                                      .name = "count",
                                      .doc = "how many of the last positions to give; -1: all",
                                      .def = {.kind = ATTN_VALUE_I64, .u = {.i = -1}}};
static const attn_param* const attrs[] = {&window_attr, &count_attr};

static int32_t refuse(attn_error* error, const char* message) {
  error->code = ATTN_INVALID_ARGUMENT;
  snprintf(error->where, sizeof error->where, "example.causal_average");
  snprintf(error->message, sizeof error->message, "%s", message);
  return ATTN_INVALID_ARGUMENT;
}

/* ---- shape: checks everything, says what comes out ---------------------------------------------- */

static int32_t shape(const attn_op_call* call, attn_error* error) {
  const attn_view* x = &call->in[0]->view;
  const int64_t window = call->attrs[0].u.i, count = call->attrs[1].u.i;
  if (x->rank != 3) return refuse(error, "the history must be (batch, total, dim)");
  if (x->dtype != ATTN_F32 && x->dtype != ATTN_F64) {
    return refuse(error, "the history must be float32 or float64");
  }
  if (window < 1) return refuse(error, "window must be positive");
  if (count < -1 || count > x->shape[1]) {
    return refuse(error, "count must be -1, or between 0 and the length of the history");
  }
  attn_view* y = &call->out[0]->view;
  y->dtype = x->dtype;
  y->rank = 3;
  y->shape[0] = x->shape[0];
  y->shape[1] = count >= 0 ? count : x->shape[1];
  y->shape[2] = x->shape[2];
  y->stride[0] = ATTN_DENSE;
  return ATTN_OK;
}

/* ---- the work: one row (batch, position) after another, shared out among the threads ------------- */

typedef struct work {
  const attn_view* from; /* forward: history; vjp: gradient of the output */
  const attn_view* to;   /* forward: output; vjp: gradient of the history */
  int64_t window;
  int64_t first; /* place of output 0 in the history */
} work;

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/* Sums are taken in double and always in the same order, so a result does not depend on how many positions
   are computed at once: decoding token by token gives the same bits as all at once. */
#define DEFINE_ROWS(T, suffix)                                                                     \
  static void forward_##suffix(void* user, int64_t begin, int64_t end, int32_t worker) {           \
    const work* w = user;                                                                          \
    const attn_view *x = w->from, *y = w->to;                                                      \
    (void)worker;                                                                                  \
    for (int64_t row = begin; row < end; ++row) {                                                  \
      const int64_t b = row / y->shape[1], t = row % y->shape[1], p = w->first + t;                \
      const int64_t low = larger(0, p - w->window + 1);                                            \
      const T* in = (const T*)x->data + b * x->stride[0];                                          \
      T* out = (T*)y->data + b * y->stride[0] + t * y->stride[1];                                  \
      for (int64_t d = 0; d < y->shape[2]; ++d) {                                                  \
        double sum = 0;                                                                            \
        for (int64_t s = low; s <= p; ++s) sum += (double)in[s * x->stride[1] + d * x->stride[2]]; \
        out[d * y->stride[2]] = (T)(sum / (double)(p - low + 1));                                  \
      }                                                                                            \
    }                                                                                              \
  }                                                                                                \
  /* Position s went into every mean of a window that covers it. */                                \
  static void vjp_##suffix(void* user, int64_t begin, int64_t end, int32_t worker) {               \
    const work* w = user;                                                                          \
    const attn_view *dy = w->from, *dx = w->to;                                                    \
    (void)worker;                                                                                  \
    for (int64_t row = begin; row < end; ++row) {                                                  \
      const int64_t b = row / dx->shape[1], s = row % dx->shape[1];                                \
      const int64_t last = smaller(dx->shape[1] - 1, s + w->window - 1);                           \
      const T* in = (const T*)dy->data + b * dy->stride[0];                                        \
      T* out = (T*)dx->data + b * dx->stride[0] + s * dx->stride[1];                               \
      for (int64_t d = 0; d < dx->shape[2]; ++d) {                                                 \
        double sum = 0;                                                                            \
        for (int64_t p = larger(s, w->first); p <= last; ++p) {                                    \
          const double n = (double)smaller(w->window, p + 1);                                      \
          sum += (double)in[(p - w->first) * dy->stride[1] + d * dy->stride[2]] / n;               \
        }                                                                                          \
        out[d * dx->stride[2]] += (T)sum;                                                          \
      }                                                                                            \
    }                                                                                              \
  }
DEFINE_ROWS(float, f32)
DEFINE_ROWS(double, f64)

static void share_out(const attn_op_call* call, work* w,
                      void (*body)(void*, int64_t, int64_t, int32_t)) {
  const int64_t rows = w->to->shape[0] * w->to->shape[1];
  const int64_t cost_of_row = larger(1, w->to->shape[2] * w->window);
  call->engine->parallel_for(call->ctx, rows, larger(1, 16384 / cost_of_row), body, w);
}

static int32_t forward(const attn_op_call* call, attn_error* error) {
  const attn_view *x = &call->in[0]->view, *y = &call->out[0]->view;
  work w = {x, y, smaller(call->attrs[0].u.i, larger(1, x->shape[1])), x->shape[1] - y->shape[1]};
  (void)error;
  share_out(call, &w, x->dtype == ATTN_F32 ? forward_f32 : forward_f64);
  return ATTN_OK;
}

static int32_t vjp(const attn_op_call* call, attn_error* error) {
  const attn_view *dy = call->dout[0], *dx = call->din[0];
  (void)error;
  if (dy == NULL || dx == NULL) return ATTN_OK; /* nothing comes in, or nothing is wanted */
  work w = {dy, dx, smaller(call->attrs[0].u.i, larger(1, dx->shape[1])),
            dx->shape[1] - dy->shape[1]};
  share_out(call, &w, dx->dtype == ATTN_F32 ? vjp_f32 : vjp_f64);
  return ATTN_OK;
}

static int32_t cost(const attn_op_call* call, attn_cost* out) {
  const attn_view *x = &call->in[0]->view, *y = &call->out[0]->view;
  const double results = (double)y->shape[0] * (double)y->shape[1] * (double)y->shape[2];
  const double read = (double)x->shape[0] * (double)x->shape[1] * (double)x->shape[2];
  out->flops = results * (double)smaller(call->attrs[0].u.i, larger(1, x->shape[1]));
  out->bytes = (read + results) * (x->dtype == ATTN_F32 ? 4 : 8);
  return ATTN_OK;
}

const attn_op average_op = {.struct_size = sizeof(attn_op),
                            .name = "example.causal_average",
                            .doc = "mean of each position and those before it within a window",
                            .version = 1,
                            .n_in = 1,
                            .n_out = 1,
                            .n_attrs = 2,
                            .in_required = 1,
                            .map_output = -1,
                            .attrs = attrs,
                            .shape = shape,
                            .forward = forward,
                            .vjp = vjp,
                            .cost = cost};
