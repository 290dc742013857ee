/* SPDX-License-Identifier: Apache-2.0
 *
 * What is wrong with a plugin that is otherwise right: its name, the test that finds it, and what it is. The same code for all;
 * defect.c says which one a file has.
 */
#ifndef FIXTURE_DEFECTS_H
#define FIXTURE_DEFECTS_H

#define FIXTURE_DEFECTS(X)                                                                    \
  X(nothing, "", "nothing")                                                                   \
  X(looks_ahead, "causal_leak", "sees one position too many in causal calls")                 \
  X(knows_length, "causal_prefix", "divides causal results by the length of the sequence")    \
  X(no_mask, "mask_numbers", "ignores the mask")                                              \
  X(times_zero, "mask_nan", "multiplies masked keys by zero, which leaves NaN")               \
  X(mixes_batch, "batch_rows", "takes off the mean of the batch")                             \
  X(forgets, "decode_splits", "sees only its own keys in a step of decoding")                 \
  X(counts, "decode_truncate",                                                                \
    "counts positions beside the state, of which truncate() does not know")                   \
  X(by_threads, "threads", "has an operator that multiplies by the number of threads")        \
  X(drifts, "repeated_call", "adds a little more in every call")                              \
  X(by_recording, "recording", "scales the result while recording")                           \
  X(by_build, "saved_weights", "gives every layer a constant that is no weight")              \
  X(wrong_slope, "gradients", "has an operator whose gradient is twice too large")            \
  X(coarse_slope, "gradients",                                                                \
    "has an operator whose float32 gradient is wrong by one in two hundred")                  \
  X(bends, "gradients_add",                                                                   \
    "has an operator whose gradient takes the size of cotangents without their sign")         \
  X(sticks, "gradients_add",                                                                  \
    "has an operator that adds to gradients also where cotangents are zero")                  \
  X(writes_input, "inputs_kept", "has an operator that writes to its input")                  \
  X(coarse, "float32", "computes float32 to three digits")                                    \
  X(overflows, "large_inputs", "takes exp() and log() of the inputs, one after the other")    \
  X(says_causal, "claims_hold", "claims to be causal, and is so only when asked")             \
  X(says_equivariant, "claims_hold", "claims to be equivariant, and adds positions")          \
  X(says_invariant, "claims_hold", "claims to be invariant, and its outputs follow")          \
  X(says_inert, "claims_hold", "claims that a bias that counts is inert")                     \
  X(says_linear, "claims_hold", "claims to be linear, with a softmax")                        \
  X(says_homogeneous, "claims_hold", "claims a degree that it has not")                       \
  X(says_independent, "claims_hold",                                                          \
    "claims rows of the batch to be independent, and takes their mean")                       \
  X(says_near, "claims_hold", "claims to reach the next positions alone, and attends to all") \
  X(says_neutral, "claims_hold",                                                              \
    "claims a mask of ones to be neutral, and scales where one is given")                     \
  X(says_respected, "claims_hold", "claims to respect a mask that it ignores")                \
  X(says_decodes, "claims_hold",                                                              \
    "claims steps of decoding to give the whole, and sees the last alone")                    \
  X(says_deterministic, "claims_hold", "claims to be deterministic, and counts its calls")

#define FIXTURE_DEFECT_NAME(name, test, what) defect_##name,
typedef enum fixture_defect { FIXTURE_DEFECTS(FIXTURE_DEFECT_NAME) } fixture_defect;
#undef FIXTURE_DEFECT_NAME

#ifdef __cplusplus
extern "C"
#else
extern
#endif
    const int fixture_has;

#endif
