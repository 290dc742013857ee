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

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "host/check/generator/problem.hpp"
#include "host/check/random.hpp"

namespace attn::check {

struct CaseId {
  uint64_t seed = 0;
  std::string type{};
  uint64_t number = 0;

  [[nodiscard]] std::string text() const { return type + ":" + std::to_string(number); }
};

struct Case {
  CaseId id{};
  Problem problem{};  // without weights
  attn_dtype mask_kind = ATTN_F32;
  uint64_t weights = 0;  // seed of the weights
  bool is_long = false;  // more positions than a block of keys
  bool is_tiny = false;  // 1 to 9 positions
};

struct CaseOptions {
  const Json* config = nullptr;  // of the layer; nullptr: random
  bool tiny = false;             // lengths 1 to 9, batch 1 or 3
};

// A case that the library takes. std::runtime_error when none is found.
[[nodiscard]] Case make_case(const CaseId& id, const CaseOptions& options = {});
// Shapes of the inputs, for Attention::build().
[[nodiscard]] std::vector<std::optional<Shape>> shapes_of(const Case& c);
// Its config, call and shapes, to be read.
[[nodiscard]] std::string told(const Case& c);

// Parameters of the case; a rule between them may not hold.
[[nodiscard]] Json make_config(const CaseId& id, Random& random, bool is_long);

// The config without parameters that have no effect beside the others, as long as they are not among the kept ones.
[[nodiscard]] Json with_effect(const std::string& type, Json config, const Json& kept);

// Inputs, mask and arguments for the config in `c`.
void make_call(Case& c, Random& random);

// The layer of a case, built, with weights drawn from the case's seed: the same numbers whatever the kind of
// elements. `noise` changes weights relatively, by at most so much, in one of several draws.
[[nodiscard]] std::unique_ptr<Attention> make_layer(const Case& c, attn_dtype dtype,
                                                    double noise = 0, uint64_t draw_number = 1);

// ---- how masks and positions of the case's type hang together -----------------------------------

struct Extents {
  int64_t batch = 1, heads = 1, queries = 1, keys = 1;
};
[[nodiscard]] Extents extents_of(const Case& c);
// Axes between the batch and the width of the inputs: "seq", "query", "key", "height, width".
struct Positions {
  std::string name{};
  std::vector<std::string> inputs{};
  int64_t count = 0;
};
// In the order of the inputs; those that share the names of their axes move together.
[[nodiscard]] std::vector<Positions> positions_of(const Case& c);
// The parameter as the layer uses it: given, or its default in the schema.
[[nodiscard]] Json parameter(const Case& c, const std::string& name);
[[nodiscard]] Json effective(const std::string& type, const Json& config, const std::string& name);
[[nodiscard]] bool has_parameter(const attn_type& type, const std::string& name);
// An input of numbers; one of integers alone says something of another.
[[nodiscard]] bool takes_numbers(const attn_input& in);
// Whether cases have it: not such integers of a type with a state, which every step would have to be told.
[[nodiscard]] bool is_drawn(const attn_type& type, const attn_input& in);
// The mask is added to the scores and has a gradient, instead of keeping keys.
[[nodiscard]] bool adds_mask(const Case& c);
// ... as a floating one of this input is; one without keys multiplies.
[[nodiscard]] bool adds_numbers(const attn_input& mask);
// Axes of (batch, head, query, key) that probability weights are normalised over together.
[[nodiscard]] std::vector<size_t> probability_axes(const Case& c);
[[nodiscard]] bool over_keys(const Case& c);
// A norm or an activation whose result at one position depends on others, with the options of the case.
[[nodiscard]] bool mixes_positions(const Case& c);
// A score program or a mask rule of the layer.
[[nodiscard]] bool has_program(const Case& c);
// A norm or an activation with an axis other than the width, whose weights may belong to positions.
[[nodiscard]] bool has_other_axis(const Case& c);
// A training call drops something.
[[nodiscard]] bool drops(const Case& c);
// A norm that takes statistics of the batch in training calls.
[[nodiscard]] bool takes_statistics(const Case& c);
// The call is causal, by parameter or argument.
[[nodiscard]] bool is_causal(const Case& c);
// Inputs of the case that are attended to, where these are others than the first: those with an extent "key".
[[nodiscard]] std::vector<std::string> second_sequence(const Case& c);
// The mask of the case, a table of the call, or integers that say something of another input.
[[nodiscard]] bool is_mask(const Case& c, const std::string& name);
// Tables of the call, for these rows of the batch. A Call takes them among its inputs instead of those of the case.
[[nodiscard]] std::map<std::string, Tensor> tables_of(const Case& c,
                                                      const std::vector<int64_t>& order);
// The mask of the case as its type declares it; nullptr: none is given.
[[nodiscard]] const attn_input* declared_mask(const Case& c);

}  // namespace attn::check
