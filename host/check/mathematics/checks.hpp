// SPDX-License-Identifier: Apache-2.0
//
// The properties that layers of every type have. Each looks at one case and says in words what does not hold; nothing
// said, all holds. false: the property says nothing about this case.
//
// tests/properties calls them for random layers of the library's types, `attn check` for those of a plugin.
#pragma once

#include "host/check/mathematics/trial.hpp"

namespace attn::check {

// ---- independence ---------------------------------------------------------------------------------
bool check_batch(Trial& t);  // an element does not depend on its neighbours
// Keys that no query uses do not matter, when they are ...
bool check_mask_numbers(Trial& t);   // ... other numbers,
bool check_mask_nan(Trial& t);       // NaN,
bool check_mask_infinity(Trial& t);  // infinite.
bool check_mask_gradients(Trial& t);
// In a causal call no position depends on a later one, ...
bool check_causal(Trial& t);
bool check_causal_nan(Trial& t);  // ... even NaN,
bool check_prefix(Trial& t);      // nor on whether there are any.
// Positions that a mask (batch, key) leaves out there have no effect on the others.
bool check_padding_left(Trial& t);
bool check_padding_right(Trial& t);
bool check_padding_inside(Trial& t);

// ---- the same result on another way -----------------------------------------------------------------
bool check_decode(Trial& t);    // random chunks as all at once
bool check_splits(Trial& t);    // every way to cut six positions
bool check_truncate(Trial& t);  // taken back and done again
bool check_reorder(Trial& t);   // rows chosen, as a beam search does
bool check_restore(Trial& t);   // a copy of a row goes on as the row would have
bool check_refused(Trial& t);   // a call that fails leaves the state as it was
bool check_file(Trial& t);      // saved and restored
bool check_dropout(Trial& t);   // the same seed, the same result
bool check_repeat(Trial& t);    // a second call, and one after other calls
bool check_shapes(Trial& t);    // computed alone, for recording, too
bool check_record(Trial& t);    // recorded or not
bool check_threads(Trial& t);   // 1, 2 and 5 threads; sets the number for the process
bool check_single(Trial& t);    // float32 and float64

// ---- gradients --------------------------------------------------------------------------------------
bool check_gradients(Trial& t);      // against differences; penalties, too
bool check_gradients_add(Trial& t);  // two backward calls add up, and a zero cotangent gives zero
bool check_unused_weights(
    Trial& t);              // what changes nothing has no gradient, what has none changes nothing
bool check_kept(Trial& t);  // inputs and weights are as they were

// ---- values -----------------------------------------------------------------------------------------
bool check_large(Trial& t);  // inputs times 1e4
bool check_maps(Trial& t);   // rows of attention maps sum to one

// Outputs, and gradients of inputs and, if asked for, of weights, for random cotangents.
[[nodiscard]] Outputs everything(Attention& layer, const Case& c, const Inputs& inputs,
                                 bool of_weights);
// Numbers that are not finite in `narrow`, or neither in `wide` (float64), though float32 could hold them; "": none.
[[nodiscard]] std::string not_finite(const Outputs& narrow, const Outputs& wide);
// Some functions grow so fast that the formula itself leaves every range.
[[nodiscard]] bool grows(const Case& c);
[[nodiscard]] Inputs scaled(const Case& c, double by);

// The first positions of the sequence, with what masks say about them; nothing: a map, or two sequences.
[[nodiscard]] std::optional<Inputs> prefix(const Case& c, int64_t length);

// The first output, which every call gives.
[[nodiscard]] std::string output_of(const Attention& layer);

}  // namespace attn::check
