/* SPDX-License-Identifier: Apache-2.0
 *
 * abi.h - everything that crosses the border between the attn host and a plugin. C11, no dependency. abi_schema.h is
 * the part of it in which a plugin says what it is.
 *
 * What      A plugin is a shared library that exports one function, attn_plugin_v1(). It returns a constant
 *           table of attention types and operators. The host pulls that table; the plugin never calls a
 *           host symbol by name, and everything it may call is in the attn_engine table it is handed.
 * Growth    attn_value, attn_view, attn_tensor, attn_shape and attn_error are frozen for ever. Every other
 *           struct begins with struct_size and grows at its end only; arrays hold pointers, so an element
 *           may grow. Read a member of a growable struct only when ATTN_HAS says that it is there.
 * Ownership Tensors, states, weights and texts handed out by the host belong to the host. Tables and texts
 *           of a plugin are constant and live as long as the library is loaded (for ever). Errors are
 *           memory of the caller. Nothing allocated on one side is freed on the other.
 * Errors    Functions that can fail return ATTN_OK (0) or a code and fill *error. No exception may cross.
 * Threads   A tag ends each function's comment:
 *             [any-thread]            may be called from any thread at any time
 *             [one-thread-per-layer]  the host never calls it twice at once for one layer
 *             [call-thread]           only on the thread that runs the current forward or operator,
 *                                     and only until that returns
 * Pointers  A tag stands before each pointer that a function takes, and says who may use it for how long. Unless it
 *           says more ("until wait", "for ever"), a pointer is the callee's until the function returns.
 *             in      read only; the caller keeps it
 *             out     memory of the caller that the callee writes; nothing in it is read
 *             inout   memory of the caller that is read and written
 *             new     out, for a handle that is the caller's from then on: given back with release() or destroy()
 *             lent    out, for a pointer to what the callee keeps
 *             take    a handle that the callee ends; the caller uses it no more
 *             handle  an object of either side that the call is about
 *             user    handed on to a function of the same owner, never looked at
 * Units     Shapes and strides count elements, not bytes. Text is UTF-8 and ends with NUL.
 */
#ifndef ATTN_SDK_ABI_H
#define ATTN_SDK_ABI_H

#include <attn/sdk/abi_schema.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ATTN_ABI_MAJOR 1 /* layouts: another major is refused */
#define ATTN_ABI_MINOR 1 /* of this header: members appended since 1.0 */

/* Opaque: what a plugin keeps for one layer; the context of one call; a resolved operator. */
typedef struct attn_layer attn_layer;
typedef struct attn_ctx attn_ctx;
typedef struct attn_op_ref attn_op_ref;
struct attn_engine;

/* ---- several ranks: processes or threads that share the work of one call ------------------------ */

/* What an operator with ATTN_OP_COMMUNICATES talks to the others with. Every rank makes the same calls in the
   same order. One transfer at a time: between a start and wait() its memory is the transfer's, and nothing else
   may be started. Messages of 0 bytes are fine. An error ends the call on all ranks. */
typedef struct attn_communicator {
  uint32_t struct_size, reserved;
  int32_t rank, size; /* this rank, 0..size-1, and how many there are */
  void* host;
  /* Begins to send to one rank and to receive from another; sizes agree on both sides. [call-thread] */
  int32_t (*start_sendrecv)(/*handle*/ const struct attn_communicator*, int32_t to,
                            /*in until wait*/ const void* send, uint64_t send_bytes, int32_t from,
                            /*out until wait*/ void* receive, uint64_t receive_bytes,
                            /*out*/ attn_error*);
  /* Begins to copy data of rank `root` to all others. [call-thread] */
  int32_t (*start_broadcast)(/*handle*/ const struct attn_communicator*, int32_t root,
                             /*inout until wait*/ void* data, uint64_t bytes, /*out*/ attn_error*);
  /* Until what was started has arrived. [call-thread] */
  int32_t (*wait)(/*handle*/ const struct attn_communicator*, /*out*/ attn_error*);
  /* all = what ranks 0, 1, ... gave, one behind the other; bytes: of each rank. [call-thread] */
  int32_t (*all_gather)(/*handle*/ const struct attn_communicator*, /*in*/ const void* own,
                        /*out*/ void* all, /*in*/ const uint64_t* bytes, /*out*/ attn_error*);
} attn_communicator;

/* Outputs must not depend on how the sequence is shared out, to the last bit. */
enum { ATTN_SHARD_DETERMINISTIC = 1u << 0 };

/* Which tokens of a sequence this rank has: axis 1 of input 0 of a type with ATTN_TYPE_SEQUENCE_PARALLEL. */
typedef struct attn_shard {
  uint32_t struct_size;
  uint32_t flags; /* ATTN_PART_* */
  int32_t rank, size;
  int64_t begin, end;    /* tokens of this rank; may be none */
  int64_t total;         /* tokens of all, at least 1 */
  const int64_t* bounds; /* size + 1 numbers: rank i has tokens bounds[i] .. bounds[i + 1] - 1 */
} attn_shard;

/* ---- operators: the same struct whether the host or a plugin provides them -------------------- */

enum { ATTN_OP_TRAINING = 1u << 0, ATTN_OP_RECORDING = 1u << 1 };

/* One run of an operator. All arrays have the declared lengths: the host pads what was left out. */
typedef struct attn_op_call {
  uint32_t struct_size;
  uint32_t flags; /* ATTN_OP_TRAINING, ATTN_OP_RECORDING */
  uint32_t n_in, n_out, n_saved, n_attrs;
  const attn_value* attrs;      /* defaults filled in, kinds checked */
  const attn_tensor* const* in; /* NULL: absent */
  /* NULL: not wanted. shape() fills all of them: dtype, rank, shape, and strides unless stride[0] stays ATTN_DENSE. */
  attn_tensor* const* out;
  attn_view* const* saved; /* hidden outputs for vjp; shaped by shape(); NULL unless RECORDING */
  const attn_view* const* dout; /* vjp only. NULL: zero */
  attn_view* const* din;        /* vjp only. NULL: not needed. Accumulate into it */
  uint64_t seed, stream; /* operators with ATTN_OP_RANDOM: the same pair in forward and in vjp */
  const struct attn_engine* engine;
  attn_ctx* ctx; /* for scratch, parallel_for and kernels only */
  /* Operators with ATTN_OP_COMMUNICATES; NULL: alone. shape() may read rank and size and sends nothing. */
  const attn_communicator* communicator;
} attn_op_call;

#define ATTN_DENSE INT64_MIN

/* What a run costs; for profiles and for planning. */
typedef struct attn_cost {
  uint32_t struct_size, reserved;
  double flops; /* multiply and add are two */
  double bytes; /* that have to be read and written at least once */
} attn_cost;

typedef int32_t (*attn_op_fn)(/*in*/ const attn_op_call*, /*out*/ attn_error*); /* [call-thread] */

enum {
  /* takes seed and stream; in training calls alone, where its attribute dropout or rate, if it has one, is above 0 */
  ATTN_OP_RANDOM = 1u << 0,
  ATTN_OP_NO_GRAD = 1u << 1,     /* a constant for differentiation */
  ATTN_OP_COMMUNICATES = 1u << 2 /* takes the communicator; its vjp runs on all ranks, too */
};

typedef struct attn_op {
  uint32_t struct_size;
  uint32_t flags; /* ATTN_OP_RANDOM, ATTN_OP_NO_GRAD, ATTN_OP_COMMUNICATES */
  const char* name;
  const char* doc;
  uint32_t version; /* another meaning is another version; appended attributes are not */
  uint32_t n_in, n_out, n_saved, n_attrs;
  uint32_t in_required; /* bit i: input i must be there */
  uint32_t in_const;    /* bit i: input i never gets a gradient */
  int32_t map_output;   /* the optional output that is an attention map, or -1 */
  const attn_param* const* attrs;
  attn_op_fn shape;   /* fills dtype and shape of every output and of saved; checks all arguments */
  attn_op_fn forward; /* computes outputs (and saved when RECORDING) */
  attn_op_fn vjp;     /* accumulates gradients; NULL: recording through it is an error */
  int32_t (*cost)(/*in*/ const attn_op_call*, /*out*/ attn_cost*); /* may be NULL. [any-thread] */
} attn_op;

/* An operator that a plugin calls. The host fills *slot when it loads the plugin, before init(). */
typedef struct attn_op_use {
  uint32_t struct_size;
  uint32_t version;
  uint32_t min_attrs; /* an older host whose operator has fewer is refused at load */
  uint32_t min_in;
  const char* name;
  const attn_op_ref** slot;
} attn_op_use;

/* ---- what the host lends ------------------------------------------------------------------------ */

/* Numerical kernels of the CPU level in use, for operators. [any-thread] but for matmul. */
typedef struct attn_kernels {
  uint32_t struct_size, reserved;
  /* c[i] = alpha a[i] b[i] (+ c[i] when accumulate), `batch` products (m, k) x (k, n). Any strides. [call-thread] */
  void (*matmul)(/*handle*/ attn_ctx*, int64_t batch, int64_t m, int64_t n, int64_t k, float alpha,
                 /*in*/ const float* a, int64_t a_batch, int64_t a_row, int64_t a_col,
                 /*in*/ const float* b, int64_t b_batch, int64_t b_row, int64_t b_col,
                 /*inout*/ float* c, int64_t c_batch, int64_t c_row, int32_t accumulate);
  void (*exp)(int64_t n, /*in*/ const float* x, /*out*/ float* y); /* y may be x */
  /* Each row in place; a row of -infinity becomes 1 / cols. */
  void (*softmax)(int64_t rows, int64_t cols, /*inout*/ float* x, int64_t row);
  /* out[r] = log sum exp of row r; -infinity for a row of -infinity. */
  void (*log_sum_exp)(int64_t rows, int64_t cols, /*in*/ const float* x, int64_t row,
                      /*out*/ float* out);
  double (*sum)(int64_t n, /*in*/ const float* x);
  double (*dot)(int64_t n, /*in*/ const float* x, /*in*/ const float* y);
  void (*sort)(int64_t n, /*inout*/ float* x, int32_t descending);
  /* c = a b (+ c when accumulate), one product (m, k) x (k, n) on this thread alone: for bodies of parallel_for. */
  void (*matmul_serial_f32)(int64_t m, int64_t n, int64_t k, /*in*/ const float* a, int64_t a_row,
                            int64_t a_col, /*in*/ const float* b, int64_t b_row, int64_t b_col,
                            /*inout*/ float* c, int64_t c_row, int32_t accumulate);
  void (*matmul_serial_f64)(int64_t m, int64_t n, int64_t k, /*in*/ const double* a, int64_t a_row,
                            int64_t a_col, /*in*/ const double* b, int64_t b_row, int64_t b_col,
                            /*inout*/ double* c, int64_t c_row, int32_t accumulate);
  /* Rows of n >= 1 scores z to weights w, and dz (written) of one row from dw, as operators over a probability do: attrs
     are the seven that these begin with, slope is threshmax's. scratch: 3 n. Returns the gradient of slope. */
  void (*probability_rows)(/*in*/ const attn_value* attrs, double slope, int32_t dtype,
                           int64_t rows, int64_t n, /*in*/ const void* z, int64_t z_row,
                           /*out*/ void* w, int64_t w_row);
  double (*probability_row_vjp)(/*in*/ const attn_value* attrs, double slope, int32_t dtype,
                                int64_t n, /*in*/ const void* z, /*in*/ const void* dw,
                                /*out*/ void* dz, /*out*/ void* scratch);
} attn_kernels;

typedef enum attn_log_level {
  ATTN_LOG_DEBUG = 0,
  ATTN_LOG_INFO = 1,
  ATTN_LOG_WARNING = 2,
  ATTN_LOG_ERROR = 3
} attn_log_level;

typedef struct attn_engine {
  uint32_t struct_size;
  uint32_t abi_minor;

  /* Runs an operator. attrs, in: in declared order, trailing ones may be left out. out[i] non-NULL on
     entry (any non-NULL value) means wanted; on return a new handle with refs 1. [call-thread] */
  int32_t (*run)(/*handle*/ attn_ctx*, /*handle*/ const attn_op_ref*,
                 /*in*/ const attn_value* attrs, uint32_t n_attrs, /*in*/ attn_tensor* const* in,
                 uint32_t n_in, /*new*/ attn_tensor** out, uint32_t n_out, /*out*/ attn_error*);
  /* Ends the use of a handle whose refs reached 0. What is not released dies with the call. [call-thread] */
  void (*release)(/*handle*/ attn_ctx*, /*take*/ attn_tensor*);
  /* Another look at the same memory, with its gradient; offset: from the tensor's first element. All elements must lie
     in the tensor's memory, and while recording without overlaps or stride 0. [call-thread] */
  int32_t (*view)(/*handle*/ attn_ctx*, /*handle*/ attn_tensor*, int32_t rank,
                  /*in*/ const int64_t* shape, /*in*/ const int64_t* stride, int64_t offset,
                  /*new*/ attn_tensor** out, /*out*/ attn_error*);
  /* A tensor with the given dense contents (copied); no gradient. [call-thread] */
  int32_t (*constant)(/*handle*/ attn_ctx*, int32_t dtype, int32_t rank,
                      /*in*/ const int64_t* shape, /*in*/ const void* dense,
                      /*new*/ attn_tensor** out, /*out*/ attn_error*);
  /* The contents, for reading. In a shape-only run zeros of the same shape. [call-thread] */
  int32_t (*read)(/*handle*/ attn_ctx*, /*handle*/ const attn_tensor*, /*out*/ attn_view* out,
                  /*out*/ attn_error*);

  /* Appends x to a HISTORY state along its axis; *all is the whole history. Counts when forward succeeds.
     Without an attached state *all is x itself. [call-thread] */
  int32_t (*append)(/*handle*/ attn_ctx*, uint32_t state, /*handle*/ attn_tensor* x,
                    /*new*/ attn_tensor** all, /*out*/ attn_error*);
  /* A VALUE state; NULL when it was never set or none is attached. [call-thread] */
  int32_t (*state_get)(/*handle*/ attn_ctx*, uint32_t state, /*new*/ attn_tensor** out,
                       /*out*/ attn_error*);
  /* Replaces a VALUE state when forward succeeds; nothing without an attached state. [call-thread] */
  int32_t (*state_set)(/*handle*/ attn_ctx*, uint32_t state, /*handle*/ attn_tensor*,
                       /*out*/ attn_error*);
  /* New value of a STATISTIC weight; seen by later uses in this call, written back at commit. [call-thread] */
  int32_t (*assign)(/*handle*/ attn_ctx*, uint32_t weight, /*handle*/ attn_tensor*,
                    /*out*/ attn_error*);
  /* Adds a scalar to the losses of this call under a name. [call-thread] */
  int32_t (*loss)(/*handle*/ attn_ctx*, /*in*/ const char* name, /*handle*/ attn_tensor* scalar,
                  /*out*/ attn_error*);
  /* Names the next operator in maps and profiles; the text is copied. [call-thread] */
  void (*label)(/*handle*/ attn_ctx*, /*in*/ const char* text);

  /* Inside operators: memory aligned to 64 bytes until the operator returns; NULL when there is none. [call-thread] */
  void* (*scratch)(/*handle*/ attn_ctx*, uint64_t bytes);
  /* Inside operators: body(user, begin, end, worker) over [0, n) in pieces of at most `grain`; worker < concurrency().
     Returns when all is done. Nested calls run on the calling thread. body must not throw. [call-thread] */
  void (*parallel_for)(/*handle*/ attn_ctx*, int64_t n, int64_t grain,
                       void (*body)(/*user*/ void* user, int64_t begin, int64_t end,
                                    int32_t worker),
                       /*user*/ void* user);
  int32_t (*concurrency)(/*handle*/ attn_ctx*); /* [call-thread] */

  /* Philox4x32-10: four random words for a counter. [any-thread] */
  void (*random4)(uint64_t seed, uint64_t stream, uint64_t counter, /*out*/ uint32_t out[4]);
  void (*log)(int32_t level, /*in*/ const char* text); /* [any-thread] */
  const char* (*cpu_level)(void); /* "reference" or one of levels.hpp. [any-thread] */
  const attn_kernels* kernels;

  /* Counts `positions` further positions when forward succeeds: for a type whose state keeps values and no
     history. Nothing without an attached state. [call-thread] */
  int32_t (*advance)(/*handle*/ attn_ctx*, int64_t positions, /*out*/ attn_error*);

  /* Observables: named tensors that a call gives beside its outputs to those who ask, of a type or an operator.
     Asked for or not, a name is told to those who want to know what there is. 1.1. [call-thread] */
  int32_t (*observes)(/*handle*/ attn_ctx*, /*in*/ const char* name); /* 1: asked for */
  /* Copies the values of one that is asked for, under the label of the operator, in a type's forward() that of label();
     nothing otherwise. Names are [a-z][a-z0-9_]*. "map" is (batch, heads, queries, keys), weights: what they tell too
     (entropy, column_mass, distances, top_keys, top_weights) is computed where it is asked for. Weights that exist for
     some keys at a time are "map_keys", which tells what "map" does: first a view of the shape and dtype of all of them,
     whose numbers are not read (strides may be 0), then in order those of some keys, (batch, heads, queries, some), until
     all keys were there. [call-thread] */
  int32_t (*observe)(/*handle*/ attn_ctx*, /*in*/ const char* name, /*in*/ const attn_view* values,
                     /*out*/ attn_error*);
} attn_engine;

/* ---- types ---------------------------------------------------------------------------------------- */

enum {
  ATTN_WEIGHT_TRAINABLE = 1u << 0,
  ATTN_WEIGHT_STATISTIC = 1u << 1,       /* changed by assign() in training calls */
  ATTN_WEIGHT_NOT_STORED = 1u << 2,      /* accepted in weight files and ignored; not stored */
  ATTN_WEIGHT_OPTIONAL_IN_FILE = 1u << 3 /* a weight file may lack it: what build() gave stays */
};

typedef struct attn_weight {
  uint32_t struct_size;
  uint32_t flags;   /* ATTN_WEIGHT_* */
  const char* name; /* path: "cross_attention/qkv/kernel" */
  int32_t rank;
  int32_t reserved;
  int64_t shape[ATTN_MAX_RANK];
  attn_value initializer; /* as an INITIALIZER parameter arrives; F64: a constant; NULL: zeros */
  attn_value regularizer; /* STR, OBJECT or NULL */
  /* Initial values in place of the initializer: dense, of kind initial_dtype, copied; NULL: none. Floating
     ones become the layer's dtype. Whole numbers keep theirs, and are not trained. */
  const void* initial_value;
  int32_t initial_dtype;
  int32_t reserved2;
  /* DERIVED: element `index`, in row-major order, of the table of this shape. A weight file whose table is off by
     more than `tolerance` somewhere gets a warning. NULL: values are not looked at. [any-thread] */
  double (*table)(/*handle*/ const attn_layer*, /*in*/ const int64_t* shape, int64_t index);
  double tolerance;
} attn_weight;

enum {
  ATTN_STATE_HISTORY = 1u << 0, /* grows along axis: append() */
  ATTN_STATE_VALUE = 1u << 1    /* fixed: state_get(), state_set() */
};

typedef struct attn_state {
  uint32_t struct_size;
  uint32_t flags; /* ATTN_STATE_* */
  const char* name;
  int32_t rank;
  int32_t axis;                 /* HISTORY: the axis that grows */
  int64_t shape[ATTN_MAX_RANK]; /* -1: taken from the first use; axis 0 is the batch */
  int64_t max_len; /* HISTORY: longest capacity allowed and the default one; 0: no bound */
} attn_state;

/* The input is (batch, height, width, channels); otherwise axis -3 of rank 4 is the heads. */
enum { ATTN_SITE_MAP = 1u << 0 };

/* A member of a family (norm, probability, activation, regularizer), chosen by name and options. */
typedef struct attn_component_spec {
  uint32_t struct_size;
  uint32_t flags;      /* ATTN_SITE_* */
  const char* family;  /* "norm", "probability", "activation", "regularizer" */
  const char* name;    /* as the parameter arrived; NULL: none (activation: linear) */
  const char* options; /* JSON text or NULL */
  const char* site;    /* prefix of its weights: "cross_attention/q_norm" */
  attn_shape input;    /* of the tensor it is applied to, where known */
} attn_component_spec;

enum {
  ATTN_COMPONENT_NONE = 1u << 0,            /* identity: leave it out */
  ATTN_COMPONENT_MIXES_POSITIONS = 1u << 1, /* one position's result depends on others: no cache */
  ATTN_COMPONENT_STATISTICS = 1u << 2,      /* outputs 1 and 2 are new values of weights 2 and 3 */
  ATTN_COMPONENT_OTHER_AXIS = 1u << 3,      /* probability: normalises another axis than the keys */
  ATTN_COMPONENT_BY_POSITION = 1u << 4      /* weights by position: takes the whole sequence */
};

/* What the host made of it: the attributes that the family's operator begins with, and its weights in the
   order of that operator's inputs. Lives as long as the layer. */
typedef struct attn_component {
  uint32_t struct_size;
  uint32_t flags; /* ATTN_COMPONENT_* */
  uint32_t n_attrs;
  uint32_t n_weights;
  const attn_value* attrs;
  const int32_t* weights; /* index of a weight of the layer, or -1: absent */
} attn_component;

/* Lent to build(). All functions [one-thread-per-layer]. */
typedef struct attn_builder {
  uint32_t struct_size, n_inputs;
  const attn_shape* inputs; /* in the order of the type's inputs */
  void* host;
  int32_t (*weight)(/*handle*/ struct attn_builder*, /*in*/ const attn_weight*,
                    /*out*/ uint32_t* index, /*out*/ attn_error*);
  int32_t (*state)(/*handle*/ struct attn_builder*, /*in*/ const attn_state*,
                   /*out*/ uint32_t* index, /*out*/ attn_error*);
  int32_t (*component)(/*handle*/ struct attn_builder*, /*in*/ const attn_component_spec*,
                       /*lent*/ const attn_component** out, /*out*/ attn_error*);
  void (*log)(/*handle*/ struct attn_builder*, int32_t level, /*in*/ const char* text);
} attn_builder;

enum {
  ATTN_CALL_TRAINING = 1u << 0,
  ATTN_CALL_RECORDING = 1u << 1,
  ATTN_CALL_SHAPES_ONLY = 1u << 2,
  ATTN_CALL_STATEFUL = 1u << 3, /* a state is attached */
  ATTN_CALL_OBSERVED = 1u << 4  /* somebody asks for observables: observes(), observe(). 1.1 */
};

typedef struct attn_call {
  uint32_t struct_size;
  uint32_t flags; /* ATTN_CALL_* */
  uint32_t n_inputs, n_weights, n_args, n_outputs;
  attn_tensor* const* inputs;  /* NULL: not given */
  attn_tensor* const* weights; /* by the index that build() got */
  const attn_value* args;      /* by the order of the type's arguments, defaults filled in */
  attn_tensor** outputs;       /* to fill; the host takes over one reference of each */
  uint64_t outputs_wanted;     /* bit i: optional output i is asked for */
  int64_t position;            /* length of the attached state before this call; 0 without one */
  const attn_engine* engine;
  attn_ctx* ctx;
  const attn_shard* part; /* with ATTN_TYPE_SEQUENCE_PARALLEL; NULL: the whole sequence is here */
} attn_call;

enum {
  /* forward() can have a part of the sequence: input 0 and all outputs are (batch, seq, ...), each member gives the
     outputs of its own tokens, without statistics and losses, and meets the others in ATTN_OP_COMMUNICATES only. */
  ATTN_TYPE_SEQUENCE_PARALLEL = 1u << 0,
  ATTN_TYPE_STATEFUL =
      1u << 1 /* build() declares states; with a CAUSAL parameter only while that is true */
};

typedef struct attn_type {
  uint32_t struct_size;
  uint32_t flags;         /* ATTN_TYPE_* */
  const char* id;         /* "example.my_type"; names without a dot are the library's own */
  const char* class_name; /* "MyAttention": an identifier */
  const char* description;
  const char* use_case;
  const char* input_shape; /* "(batch, seq_len, dim)" */
  const char* complexity;
  const char* paper;
  uint32_t n_params, n_rules, n_inputs, n_args, n_outputs;
  uint32_t reserved;
  const attn_param* const* params; /* required ones first: the order of all lists and messages */
  const attn_rule* const* rules;
  const attn_input* const* inputs;
  const attn_param* const* args;
  const attn_output* const* outputs;
  int32_t (*create)(/*in*/ const attn_value* values, /*new*/ attn_layer** out,
                    /*out*/ attn_error*); /* [any-thread] */
  void (*destroy)(/*take*/ attn_layer*);  /* [any-thread] */
  int32_t (*build)(/*handle*/ attn_layer*, /*handle*/ attn_builder*,
                   /*out*/ attn_error*); /* [one-thread-per-layer] */
  /* Must not change *layer: many threads may run it at once, each with a context of its own. [any-thread] */
  int32_t (*forward)(/*handle*/ const attn_layer*, /*in*/ const attn_call*, /*out*/ attn_error*);
  /* values: those that create() got. Writes the numbers that the layer put in the place of nulls, for its
   * config; NULL: it puts none. [any-thread] */
  void (*resolved)(/*handle*/ const attn_layer*, /*inout*/ attn_value* values);
  uint32_t n_claims; /* 1.1 */
  uint32_t reserved2;
  const attn_claim* const* claims;
} attn_type;

typedef struct attn_plugin {
  uint32_t struct_size;
  uint16_t abi_major;
  uint16_t abi_minor_built;  /* ATTN_ABI_MINOR of the header it was compiled with */
  uint16_t abi_minor_needed; /* the oldest host it works with */
  uint16_t reserved;
  uint32_t n_types, n_ops, n_uses;
  const char *name, *version;
  const char* license; /* SPDX expression */
  const attn_type* const* types;
  const attn_op* const* ops;
  const attn_op_use* const* uses;
  int32_t (*init)(/*in for ever*/ const attn_engine*,
                  /*out*/ attn_error*); /* each host at load, before any deinit(). [any-thread] */
  void (*deinit)(void);                 /* each host at its end; both may be NULL. [any-thread] */
} attn_plugin;

/* The one exported function. Must not fail; returns the same table every time. [any-thread] */
#define ATTN_EXPORT __attribute__((visibility("default")))
ATTN_EXPORT const attn_plugin* attn_plugin_v1(void);

/* What the host reads from the file before it runs any code of it: the ELF section ".attn_note". */
typedef struct attn_note {
  char magic[8]; /* ATTN_NOTE_MAGIC, without the NUL */
  uint16_t abi_major, abi_minor_built, abi_minor_needed, pointer_bits;
  char name[64];
  char version[32];
  char types[1024]; /* ids, separated by one space */
} attn_note;

#define ATTN_NOTE_MAGIC "ATTNOTE1"
#define ATTN_NOTE_SECTION ".attn_note"

/* For plugins in C: ATTN_NOTE("name", "1.0.0", "my.type other.type"); at file scope. */
#define ATTN_NOTE(name_, version_, types_)                                                  \
  __attribute__((section(ATTN_NOTE_SECTION), used)) const attn_note attn_note_of_plugin = { \
      ATTN_NOTE_MAGIC, ATTN_ABI_MAJOR, ATTN_ABI_MINOR, 0, (uint16_t)(8 * sizeof(void*)),    \
      name_,           version_,       types_}

#ifdef __cplusplus
} /* extern "C" */
#endif

#include <attn/sdk/abi_layout.h>

#endif /* ATTN_SDK_ABI_H */
