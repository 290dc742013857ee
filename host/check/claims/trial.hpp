// SPDX-License-Identifier: Apache-2.0
//
// Claims of a type tried on one random layer and call, in float64. host/docs/claims.md has the exact meanings.
//
// Nothing here proves a claim: what is not refuted was sampled.
#pragma once

#include <attn/claims.hpp>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "host/check/generator/call.hpp"

namespace attn::check {

// A case, its layer with noise in all weights, and the claims that the type makes for this call.
struct ClaimTrial {
  explicit ClaimTrial(Case the_case);

  Case c;
  std::unique_ptr<Attention> layer{};
  std::vector<ClaimInfo> claims{};  // whose conditions hold
  std::optional<ClaimCall> call{};
  std::string output{};  // the first one

  [[nodiscard]] Outputs run_with(const Inputs& inputs) const {
    return run(*layer, c, inputs, spec_of(c));
  }
};

struct Finding {
  int64_t samples = 0;    // calls, moves, draws; 0: nothing that this case could say
  std::string refuted{};  // what shows that the claim is false; empty: it was kept
};

// ---- dependencies -----------------------------------------------------------------------------------

// An output that changed when one position of an input was moved.
struct Dependency {
  std::string input{};
  int64_t in_row = 0, in = 0;    // batch row and position that were moved
  int64_t out_row = 0, out = 0;  // ... and that changed
  double move = 0, change = 0;   // how far; the change is relative to the largest output
};

// Which positions of the outputs depend on which of the inputs: a sample of moves, small and huge. Upper bounds for
// all values would come from here, too, and make claims about dependencies proved instead of sampled.
struct Influence {
  std::vector<Dependency> found{};  // one for each pair
  int64_t moves = 0;
};
[[nodiscard]] Influence influence(const ClaimTrial& t);

[[nodiscard]] Finding try_batch(const ClaimTrial& t, const Influence& seen);
[[nodiscard]] Finding try_causal(const ClaimTrial& t, const ClaimInfo& claim,
                                 const Influence& seen);
[[nodiscard]] Finding try_reaches(const ClaimTrial& t, const ClaimInfo& claim,
                                  const Influence& seen);
[[nodiscard]] Finding try_mask_respected(const ClaimTrial& t);

// ---- the others -------------------------------------------------------------------------------------
[[nodiscard]] Finding try_mask_neutral(const ClaimTrial& t);
[[nodiscard]] Finding try_order(const ClaimTrial& t, const ClaimInfo& claim);
[[nodiscard]] Finding try_decode(const ClaimTrial& t);
[[nodiscard]] Finding try_linear(const ClaimTrial& t);
[[nodiscard]] Finding try_homogeneous(const ClaimTrial& t, const ClaimInfo& claim);
[[nodiscard]] Finding try_deterministic(const ClaimTrial& t);

// The first output changes in another way than the positions of the group (positions_of()) that were exchanged.
struct OrderFinding {
  double follows = 0, stays = 0;  // the difference from the permuted result, from the result
  bool uniform = false;           // all positions have the same result: there is no order to see
};
// parts: positions of the same part are exchanged among themselves; empty: all.
[[nodiscard]] OrderFinding exchange(const ClaimTrial& t, const Positions& group,
                                    const std::vector<int64_t>& part, uint64_t draw);
// A norm or an activation over positions may have a weight for each of them, which makes every layer sensitive.
[[nodiscard]] bool has_weight_by_position(const Attention& layer, int64_t count);
// Parts of the positions that the claim lets be exchanged: the number of each position's part.
[[nodiscard]] std::vector<int64_t> parts_of(const ClaimTrial& t, const ClaimInfo& claim,
                                            int64_t count);

// ---- inert weights ----------------------------------------------------------------------------------

struct InertFinding {
  int64_t draws = 0;
  std::vector<std::pair<size_t, std::string>>
      refuted{};                          // claim (its place in t.claims), weight and gradient
  std::vector<size_t> seen{};             // claims that were about some weight of this layer
  std::vector<std::string> undeclared{};  // weights without a gradient that no claim names
};
// All inert claims that hold, together: what is said to be inert never has a gradient, in draws of several sizes, and
// what is not has one in some draw. Draws end when nothing is left to find.
[[nodiscard]] InertFinding try_inert(const ClaimTrial& t, int64_t least_draws, int64_t most_draws);

}  // namespace attn::check
