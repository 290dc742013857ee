// SPDX-License-Identifier: Apache-2.0
//
// Random valid layers and calls, made from the schema of a type alone: kinds, ranges, choices and rules of its
// parameters, the shapes of its inputs, its arguments. Names count only where a schema cannot say what a number
// means (which widths are sensible, what lengths must add up to). What the library's own validation refuses is
// drawn again.
//
// A case is a function of (seed, type, number): nothing else, and the same on every machine.
#pragma once

#include <attn/attention.hpp>

#include <memory>
#include <set>
#include <string>

#include "tests/oracle/problem.hpp"
#include "tests/properties/random.hpp"

namespace attn::properties {

struct CaseId {
  uint64_t seed = 0;
  std::string type{};
  uint64_t number = 0;

  [[nodiscard]] std::string text() const { return type + ":" + std::to_string(number); }
};

struct Case {
  CaseId id{};
  oracle::Problem problem{};  // without weights
  attn_dtype mask_kind = ATTN_F32;
  uint64_t weights = 0;  // seed of the weights
  bool is_long = false;  // more positions than a block of keys
};

// What was seen: "norm gated.qk_norm_type=rms_norm" and the like.
using Marks = std::set<std::string>;

// A case; marks what it covers.
[[nodiscard]] Case make_case(const CaseId& id, Marks& marks);
// What all cases of a type together must cover.
[[nodiscard]] Marks expected_marks(const std::string& type);
// ... and all cases of all these types.
[[nodiscard]] Marks expected_options(const std::vector<std::string>& types);

// Parameters of the case; false when a rule between them does not hold.
[[nodiscard]] Json make_config(const CaseId& id, Random& random, bool is_long);
void mark_config(const std::string& type, const Json& config, Marks& marks);

// Inputs, mask and arguments for the config in `c`.
void make_call(Case& c, Random& random);
void mark_call(const Case& c, Marks& marks);

// The layer of a case, built, with weights drawn from the case's seed: the same numbers whatever the kind of
// elements. `noise` changes weights and inputs relatively, by at most so much.
[[nodiscard]] std::unique_ptr<Attention> make_layer(const Case& c, attn_dtype dtype,
                                                    double noise = 0);

// ---- how masks and positions of the case's type hang together -----------------------------------

struct Extents {
  int64_t batch = 1, heads = 1, queries = 1, keys = 1;
};
[[nodiscard]] Extents extents_of(const Case& c);
// The parameter as the layer uses it: given, or its default in the schema.
[[nodiscard]] Json parameter(const Case& c, const std::string& name);
[[nodiscard]] Json effective(const std::string& type, const Json& config, const std::string& name);
[[nodiscard]] bool has_parameter(const attn_type& type, const std::string& name);
// The mask is added to the scores and has a gradient, instead of keeping keys.
[[nodiscard]] bool adds_mask(const Case& c);
// Probability weights are normalised over the keys.
[[nodiscard]] bool over_keys(const Case& c);

}  // namespace attn::properties
