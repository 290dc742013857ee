// SPDX-License-Identifier: Apache-2.0
//
// The group "mathematics" of `attn check`: each property of checks.hpp, tried on random layers and calls of a type.
#include "host/check/mathematics/checks.hpp"
#include "host/check/subject.hpp"
#include "host/check/test.hpp"

namespace attn::check {
namespace {

// A case that the type accepts; a call that is refused for its shapes is drawn again.
Trial prepared(const CaseId& id, const CaseOptions& options) {
  constexpr uint64_t kTries = 20, kApart = 1000;
  for (uint64_t n = 0;; ++n) {
    Trial t;
    t.c = make_case({id.seed, id.type, id.number + kApart * n}, options);
    try {
      prepare(t);
      return t;
    } catch (const InvalidArgument&) {
      if (n == kTries) throw;
    }
  }
}

template <bool (*Check)(Trial&)>
Outcome try_cases(Subject& s) {
  static_cast<void>(s.type());
  const CaseOptions options{.config = s.given_config() ? &*s.given_config() : nullptr};
  const int64_t count = s.times(24, 6);
  int64_t tried = 0;
  for (int64_t n = 0; n < count; ++n) {
    Trial t = prepared({s.seed(), s.id(), static_cast<uint64_t>(n)}, options);
    s.doing(told(t.c));
    tried += Check(t);
    if (!t.failures.empty()) return failed(t.failures.front(), told(t.c));
  }
  if (tried == 0)
    return skipped("says nothing about this type, or not in " + std::to_string(count) +
                   " random settings");
  return passed(std::to_string(tried) + " random layers");
}

constexpr Group kGroup = Group::mathematics;

}  // namespace

std::span<const Test> mathematics_tests() {
  static constexpr Test kTests[] = {
      {"causal_leak", "in a causal call no output depends on a later position",
       try_cases<check_causal>, kGroup},
      {"causal_leak_nan", "in a causal call a NaN reaches no earlier position",
       try_cases<check_causal_nan>, kGroup},
      {"causal_prefix",
       "in a causal call the beginning of a sequence gives what it gives with more behind it",
       try_cases<check_prefix>, kGroup},
      {"mask_numbers", "keys that a mask keeps for no query may hold any numbers",
       try_cases<check_mask_numbers>, kGroup},
      {"mask_nan", "keys that a mask keeps for no query may hold NaN", try_cases<check_mask_nan>,
       kGroup},
      {"mask_infinity", "keys that a mask keeps for no query may hold infinities",
       try_cases<check_mask_infinity>, kGroup},
      {"mask_gradients", "keys that a mask keeps for no query have no gradient and change none",
       try_cases<check_mask_gradients>, kGroup},
      {"padding_left", "padding before a sequence, left out by a mask, may hold anything",
       try_cases<check_padding_left>, kGroup},
      {"padding_right", "padding behind a sequence, left out by a mask, may hold anything",
       try_cases<check_padding_right>, kGroup},
      {"padding_inside", "a gap inside a sequence, left out by a mask, may hold anything",
       try_cases<check_padding_inside>, kGroup},
      {"batch_rows", "a row of the batch gives what it gives alone", try_cases<check_batch>,
       kGroup},
      {"decode_chunks", "a sequence in random chunks gives what it gives at once",
       try_cases<check_decode>, kGroup},
      {"decode_splits", "every way to cut six positions gives what they give at once",
       try_cases<check_splits>, kGroup},
      {"decode_truncate", "positions taken back and given again give the same",
       try_cases<check_truncate>, kGroup},
      {"decode_reorder", "rows that are chosen in a state go on as they would have",
       try_cases<check_reorder>, kGroup},
      {"decode_restore", "a copy of a row in a state goes on as the row would have",
       try_cases<check_restore>, kGroup},
      {"decode_refused", "a call that is refused leaves the state as it was",
       try_cases<check_refused>, kGroup},
      {"threads", "results and gradients are the same bits on 1, 2 and 5 threads",
       try_cases<check_threads>, kGroup},
      {"repeated_call", "a call gives the same bits again, whatever came between",
       try_cases<check_repeat>, kGroup},
      {"recording", "recording for gradients changes no result", try_cases<check_record>, kGroup},
      {"saved_weights", "a layer saved and loaded gives the same bits", try_cases<check_file>,
       kGroup},
      {"float32", "float32 gives what float64 gives, but for rounding", try_cases<check_single>,
       kGroup},
      {"gradients", "gradients of inputs, weights and penalties are those of central differences",
       try_cases<check_gradients>, kGroup},
      {"gradients_add",
       "gradients add up over backward calls, and are zero for cotangents of zeros",
       try_cases<check_gradients_add>, kGroup},
      {"unused_weights", "a weight that changes no result has no gradient",
       try_cases<check_unused_weights>, kGroup},
      {"inputs_kept", "a call changes neither its inputs nor the weights", try_cases<check_kept>,
       kGroup},
      {"large_inputs", "inputs of 1e4 give finite results and gradients", try_cases<check_large>,
       kGroup},
      {"attention_maps", "rows of attention maps sum to one", try_cases<check_maps>, kGroup},
      {"shapes_alone", "output_shapes() gives the shapes of the call", try_cases<check_shapes>,
       kGroup},
      {"dropout_seed", "training calls with one seed give the same bits", try_cases<check_dropout>,
       kGroup},
  };
  return kTests;
}

}  // namespace attn::check
