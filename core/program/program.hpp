// SPDX-License-Identifier: Apache-2.0
//
// A layer's score and mask rule, ready to run: what scalar and vector machines compute, what is proved of a call, and
// how rows and tiles learn which keys they may leave out. Made once from its texts, then constant. [any-thread]
#pragma once

#include <memory>

#include "core/program/lanes.hpp"
#include "core/program/text.hpp"

namespace attn::program {

// What a program is made of. Tables come in the order of their numbers.
struct Source {
  std::string_view score{}, mask_rule{};  // empty: none
  std::vector<Name> names{};
};

// The part of a mask rule that bounds the keys of a row: conditions on k alone against a number of the row.
struct Bound {
  enum Kind : uint8_t { from, until, only_if } kind;  // k >= x, k < x, x is not 0
  int32_t output;                                     // of Program::bounds
};

// A read of a table of real numbers, for its gradient.
struct GradRead {
  enum Way : uint8_t { row, ascending, descending, scattered } way;
  int8_t table;
  int32_t factor, index;  // outputs of Program::back; index: the element, or that of k = 0
};

struct Program {
  std::string score_text, rule_text;
  std::vector<Name> names;
  int tables = 0;
  bool has_score = false, has_rule = false;  // has_rule: there is one at all
  bool reads_extents = false;                // of queries or keys
  bool reads_example = false;                // by number

  // As written, for proofs and intervals.
  Steps written_score, written_rule, written_rest, written_bounds;
  // To be computed. rest: what bounds leave of the rule; no outputs: nothing.
  Steps score, rule, rest, bounds, back;
  std::vector<Bound> limits;  // in written_bounds and bounds alike

  // Outputs of back: the score; its derivative by s; factors and indices.
  int32_t ds = -1;           // -1: by_s says
  bool score_counts = true;  // the derivative by s is not 0
  std::vector<GradRead> reads;

  Lanes score_lanes, rest_lanes, back_lanes;
};

// Throws InvalidArgument.
[[nodiscard]] std::shared_ptr<const Program> make_program(const Source& source);

// A source as calls of operators have it. names: of the tensors, in order, "doc,slope"; constants: "P=40,alpha=0.5",
// whole where there is neither point nor exponent.
struct Request {
  std::string_view score{}, mask_rule{}, names{}, constants{};
  int tables = 0;
  Type types[kMostTables] = {};
  int ranks[kMostTables] = {};
};

[[nodiscard]] Source read_request(const Request& request);

// The program of a request, made once while the process remembers it; allocates nothing when it does.
[[nodiscard]] std::shared_ptr<const Program> find_program(const Request& request);

}  // namespace attn::program
