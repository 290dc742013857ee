/* SPDX-License-Identifier: Apache-2.0
 *
 * abi_schema.h - the part of abi.h in which a plugin says what it is: codes and values, parameters, rules, inputs,
 * outputs, claims. The head of abi.h has the rules that hold for all of it.
 */
#ifndef ATTN_SDK_ABI_SCHEMA_H
#define ATTN_SDK_ABI_SCHEMA_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ATTN_MAX_RANK 8

/* True when the struct that p points to is long enough to hold `member` of struct type `type`. */
#define ATTN_HAS(p, type, member) \
  ((p)->struct_size >= offsetof(type, member) + sizeof(((type*)0)->member))

/* ---- codes; never renumbered ---------------------------------------------------------------- */

typedef enum attn_code {
  ATTN_OK = 0,
  ATTN_INVALID_ARGUMENT = 1, /* what the caller gave is wrong: shape, kind, range, order of calls */
  ATTN_UNSUPPORTED = 2, /* right in itself, but this host, type or operator does not offer it */
  ATTN_OUT_OF_MEMORY = 3,
  ATTN_INTERNAL = 4 /* a fault of the plugin or of the host */
} attn_code;

typedef enum attn_dtype {
  ATTN_F32 = 1,
  ATTN_F64 = 2,
  ATTN_F16 = 3,
  ATTN_BF16 = 4,
  ATTN_I32 = 5,
  ATTN_I64 = 6,
  ATTN_U32 = 7,
  ATTN_U8 = 8,
  ATTN_BOOL = 9
} attn_dtype;

typedef enum attn_value_kind {
  ATTN_NULL = 0, /* for an attribute: its default */
  ATTN_VALUE_BOOL = 1,
  ATTN_VALUE_I64 = 2,
  ATTN_VALUE_F64 = 3,
  ATTN_VALUE_STR = 4,
  ATTN_VALUE_I64S = 5,
  ATTN_VALUE_F64S = 6,
  ATTN_VALUE_OBJECT = 7 /* u.s is the JSON text of an object */
} attn_value_kind;

/* ---- frozen structs --------------------------------------------------------------------------- */

/* A parameter, a call argument or an operator attribute. Pointers live as long as the call they are
   given to; those given to create() may not be kept, copy them. */
typedef struct attn_value {
  int32_t kind;   /* attn_value_kind */
  uint32_t count; /* of the lists */
  union {
    int64_t i; /* BOOL (0 or 1), I64; a seed is the bits of a uint64_t */
    double f;
    const char* s;
    const int64_t* is;
    const double* fs;
  } u;
} attn_value;

typedef struct attn_view {
  void* data;    /* NULL in a shape-only run */
  int32_t dtype; /* attn_dtype */
  int32_t rank;  /* 0..ATTN_MAX_RANK */
  int64_t shape[ATTN_MAX_RANK];
  int64_t stride[ATTN_MAX_RANK]; /* in elements */
} attn_view;

/* A handle of the host. This prefix may be read at any time, so shapes cost no call; the host keeps a
   private tail behind it. A handle is valid for one call only, that of its epoch. */
typedef struct attn_tensor {
  attn_view view;
  uint32_t flags; /* read only; none for plugins yet */
  int32_t refs;   /* counted by the holder; give a handle back with release() when it reaches 0 */
  uint32_t epoch; /* number of the call that the handle belongs to */
  uint32_t reserved;
} attn_tensor;

typedef struct attn_shape {
  int32_t rank;
  int32_t present;            /* 0: an optional input that is not there */
  int64_t dim[ATTN_MAX_RANK]; /* -1: not known yet */
} attn_shape;

/* Memory of the caller; contents are undefined unless the function returned a code. */
typedef struct attn_error {
  int32_t code;
  char where[124];   /* the layer, operator or parameter concerned */
  char message[896]; /* what was wrong, what was expected, what to do */
} attn_error;

/* ---- schema: parameters of types, arguments of calls, attributes of operators ----------------- */

typedef enum attn_param_kind {
  ATTN_PARAM_BOOL = 1,
  ATTN_PARAM_INT = 2,
  ATTN_PARAM_REAL = 3, /* arrives as F64 whatever the config wrote */
  ATTN_PARAM_TEXT = 4, /* any string; with choices one of these; with `of` a score program */
  ATTN_PARAM_INTS = 5,
  ATTN_PARAM_REALS = 6,
  ATTN_PARAM_INT_OR_PAIR = 7, /* arrives as I64S of two; `of` "triple": or three, of three */
  ATTN_PARAM_SEED = 8, /* 0..2^64-1, the bits of an I64; null: drawn for the layer and its config */
  ATTN_PARAM_PROBABILITY = 9,  /* name of a probability type, any letter case */
  ATTN_PARAM_NORM = 10,        /* name of a norm; choices are further names that the type takes */
  ATTN_PARAM_ACTIVATION = 11,  /* name of an activation; null is linear */
  ATTN_PARAM_INITIALIZER = 12, /* name or object; arrives as STR or OBJECT */
  ATTN_PARAM_REGULARIZER = 13, /* name or object; arrives as STR or OBJECT */
  ATTN_PARAM_OPTIONS = 14      /* object or null: options of the parameter named in `of` */
} attn_param_kind;

enum {
  ATTN_PARAM_REQUIRED = 1u << 0,
  ATTN_PARAM_NULLABLE = 1u << 1,
  ATTN_PARAM_HAS_MIN = 1u << 2,
  ATTN_PARAM_HAS_MAX = 1u << 3,
  ATTN_PARAM_EXCLUSIVE_MIN = 1u << 4,
  ATTN_PARAM_EXCLUSIVE_MAX = 1u << 5,
  ATTN_PARAM_ODD = 1u << 6,
  ATTN_PARAM_CAUSAL =
      1u << 7, /* BOOL: true: no position uses later ones; null: true with a state */
  ATTN_PARAM_EXTENSION =
      1u << 8 /* not required; beyond what the type is known for: validated and described, but not
                                    listed unless it is given */
};

typedef struct attn_param {
  uint32_t struct_size;
  uint32_t kind;  /* attn_param_kind */
  uint32_t flags; /* ATTN_PARAM_* */
  uint32_t n_choices;
  const char* name;
  const char* doc;
  attn_value def; /* when absent; NULL for a required one */
  attn_value min, max;
  const char* const* choices;
  const char* const* aliases; /* further names of the same setting */
  uint32_t n_aliases;
  uint32_t reserved;
  const char* of; /* OPTIONS: name of the parameter whose options these are, or NULL */
} attn_param;

/* A rule between parameters, checked after each one by itself, with defaults filled in, in schema order. */
typedef struct attn_rule {
  uint32_t struct_size, reserved;
  const char* text; /* the message when broken; {name} stands for the value of that parameter */
  int32_t (*check)(/*in*/ const attn_value* values,
                   /*user*/ const void* user); /* nonzero: holds. [any-thread] */
  const void* user;
} attn_rule;

enum {
  ATTN_INPUT_OPTIONAL = 1u << 0,
  ATTN_INPUT_MASK = 1u << 1,    /* a keep mask: no width; a floating one arrives as bool, > 0 */
  ATTN_INPUT_NUMBERS = 1u << 2, /* MASK: a floating one arrives as it is: no keep mask */
  ATTN_INPUT_PARTIAL = 1u << 3, /* MASK: what it leaves out acts in other ways; the doc says how */
  ATTN_INPUT_UNUSED = 1u << 4   /* taken for the sake of callers that pass it; no effect */
};

typedef struct attn_input {
  uint32_t struct_size;
  uint32_t flags; /* ATTN_INPUT_* */
  const char* name;
  const char* doc;
  uint32_t n_shapes;
  uint32_t dtypes; /* bit i: attn_dtype i is taken; 0: floating kinds, for a mask every kind */
  const char* const* shapes; /* one text for each accepted rank, extents named: "batch, seq, dim" */
  const char* const* aliases; /* further names of the same input */
  uint32_t n_aliases;
  uint32_t reserved;
} attn_input;

enum { ATTN_OUTPUT_OPTIONAL = 1u << 0 };

typedef struct attn_output {
  uint32_t struct_size;
  uint32_t flags; /* ATTN_OUTPUT_* */
  const char* name;
  const char* doc;
  const char* shape;    /* extents named: "batch, heads, query, key" */
  const char* argument; /* the BOOL argument of the call that switches it on, or NULL */
} attn_output;

/* ---- claims: what is true of a type (since 1.1) -------------------------------------------------- */

/* Positions p, q are those of the axes of a tensor between batch and width, in row-major order; b is a row of the
   batch. Numbers that a host does not know are claims of a later border: it shows them and asks nothing. */
typedef enum attn_claim_kind {
  ATTN_CLAIM_BATCH_INDEPENDENT = 1, /* an output of row b depends on the inputs of row b alone */
  ATTN_CLAIM_CAUSAL =
      2, /* output p on inputs q <= p alone; and a prefix gives a prefix of the outputs */
  ATTN_CLAIM_REACHES = 3, /* output p depends on position q of the subject only if allows(p, q) */
  ATTN_CLAIM_MASK_RESPECTED =
      4, /* what the mask keeps for no query, NaN too, is in no row but its own */
  ATTN_CLAIM_MASK_NEUTRAL = 5, /* a mask of ones gives the bits of no mask */
  ATTN_CLAIM_EQUIVARIANT = 6,  /* permuting positions of the subject permutes the outputs */
  ATTN_CLAIM_INVARIANT = 7,    /* permuting positions of the subject changes nothing */
  ATTN_CLAIM_POSITION_SENSITIVE =
      8, /* some permutation changes more than a permutation of outputs */
  ATTN_CLAIM_DECODE_EQUALS_PREFILL =
      9,                        /* every split of a sequence gives the rows of the whole call */
  ATTN_CLAIM_INERT = 10,        /* the weight that is the subject never has a gradient */
  ATTN_CLAIM_LINEAR = 11,       /* f(a x + b y) = a f(x) + b f(y) in input 0 */
  ATTN_CLAIM_HOMOGENEOUS = 12,  /* f(a x) = a^degree f(x) in input 0, a > 0 */
  ATTN_CLAIM_DETERMINISTIC = 13 /* the same bits again, for any number of threads */
} attn_claim_kind;

/* The call that a claim is about, as create() and forward() would see it. */
typedef struct attn_claim_call {
  uint32_t struct_size;
  uint32_t flags; /* ATTN_CALL_TRAINING, ATTN_CALL_STATEFUL */
  const attn_value*
      values; /* parameters, with the numbers that the layer put in the place of nulls */
  const attn_value*
      args; /* by the order of the type's arguments, defaults filled in; NULL: a required one, not known */
  uint32_t n_inputs;
  uint32_t reserved;
  const attn_shape* inputs; /* by the order of the type's inputs */
} attn_claim_call;

/* A type may make the same claim several times: it holds where one of them does. */
typedef struct attn_claim {
  uint32_t struct_size;
  uint32_t kind; /* attn_claim_kind */
  /* REACHES, EQUIVARIANT, INVARIANT, POSITION_SENSITIVE: an input, NULL: the first. INERT: a weight, or a part of its
     last axis, "qkv/bias [1/3 .. 2/3)"; host/docs/claims.md has further forms. Otherwise NULL. */
  const char* subject;
  const char* condition; /* holds() in words: "use_causal_mask"; NULL without holds() */
  int32_t (*holds)(/*in*/ const attn_claim_call*,
                   /*user*/ const void* user); /* nonzero: it does. NULL: always. [any-thread] */
  const char* relation;                        /* allows() in words; NULL without allows() */
  /* REACHES: see there. EQUIVARIANT, INVARIANT: p and q may be exchanged; NULL: any two. [any-thread] */
  int32_t (*allows)(/*in*/ const attn_claim_call*, int64_t p, int64_t q, /*user*/ const void* user);
  const void* user;
  double degree; /* HOMOGENEOUS */
} attn_claim;

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* ATTN_SDK_ABI_SCHEMA_H */
