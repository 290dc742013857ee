/* SPDX-License-Identifier: Apache-2.0
 *
 * What is wrong with a plugin that is otherwise right: its name, the test that finds it, and what it is. The same code for all;
 * defect.c says which one a file has.
 */
#ifndef FIXTURE_DEFECTS_H
#define FIXTURE_DEFECTS_H

#define FIXTURE_DEFECTS(X)                                                                     \
  X(nothing, "", "nothing")                                                                    \
  X(looks_ahead, "causal_leak", "causal calls see one position too many")                      \
  X(knows_length, "causal_prefix", "causal results are divided by the length of the sequence") \
  X(no_mask, "mask_numbers", "the mask is ignored")                                            \
  X(times_zero, "mask_nan", "masked keys are multiplied by zero, which leaves NaN")            \
  X(mixes_batch, "batch_rows", "the mean of the batch is taken off")                           \
  X(forgets, "decode_splits", "a step of decoding sees its own keys alone")                    \
  X(counts, "decode_truncate",                                                                 \
    "positions are counted beside the state, which truncate() does not know")                  \
  X(by_threads, "threads", "an operator multiplies by the number of threads")                  \
  X(drifts, "repeated_call", "every call adds a little more")                                  \
  X(by_recording, "recording", "recording scales the result")                                  \
  X(by_build, "saved_weights", "every layer has a constant of its own that is no weight")      \
  X(wrong_slope, "gradients", "an operator's gradient is twice too large")                     \
  X(sticks, "gradients_add", "an operator adds to gradients also where cotangents are zero")   \
  X(writes_input, "inputs_kept", "an operator writes to its input")                            \
  X(coarse, "float32", "float32 is computed to three digits")                                  \
  X(overflows, "large_inputs", "exp() and log() of the inputs, one after the other")           \
  X(says_causal, "claims_hold", "claims to be causal, and is so only when asked")              \
  X(says_equivariant, "claims_hold", "claims to be equivariant, and adds positions")           \
  X(says_invariant, "claims_hold", "claims to be invariant, and its outputs follow")           \
  X(says_inert, "claims_hold", "claims that a bias that counts is inert")                      \
  X(says_linear, "claims_hold", "claims to be linear, with a softmax")                         \
  X(says_homogeneous, "claims_hold", "claims a degree that it has not")                        \
  X(says_independent, "claims_hold",                                                           \
    "claims rows of the batch to be independent, and takes their mean")                        \
  X(says_near, "claims_hold", "claims to reach the next positions alone, and attends to all")  \
  X(says_neutral, "claims_hold",                                                               \
    "claims a mask of ones to be neutral, and scales where one is given")                      \
  X(says_respected, "claims_hold", "claims to respect a mask that it ignores")                 \
  X(says_decodes, "claims_hold",                                                               \
    "claims steps of decoding to give the whole, and sees the last alone")                     \
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
