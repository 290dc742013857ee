// SPDX-License-Identifier: Apache-2.0
//
// Dependencies, sampled: one position of one row is moved by small and huge amounts, and what changes depends on it.
// A sample of one size misses much: what saturates does not notice a small move, what has a threshold only some.
#include <attn/error.hpp>

#include <set>
#include <sstream>

#include "host/check/claims/trial.hpp"
#include "host/check/mathematics/checks.hpp"

namespace attn::check {
namespace {

constexpr double kMoves[] = {0.5, 300, 3, 30, 300, 0.5, 30, 3};
// Sums in another order; what depends on a position changes by more.
constexpr double kNothing = 1e-10;

int64_t positions(const Tensor& x) { return x.size() / std::max<int64_t>(1, x.dim(0) * x.dim(-1)); }

std::string told(const Case& c, const Dependency& d) {
  std::ostringstream s;
  s.precision(3);
  s << told(c) << ": output " << d.out << " of row " << d.out_row << " depends on position " << d.in
    << " of row " << d.in_row << " of " << d.input << "; moved by " << d.move << " it changes by "
    << d.change << " of the largest output";
  return s.str();
}

}  // namespace

ClaimTrial::ClaimTrial(Case the_case) : c(std::move(the_case)) {
  layer = make_layer(c, ATTN_F64);
  output = output_of(*layer);
  const Call of(*layer, c, c.problem.inputs, spec_of(c));
  call.emplace(*layer, ClaimCall::Options{.arguments = of.arguments(),
                                          .inputs = shapes_of(c),
                                          .training = c.problem.training});
  for (const ClaimInfo& claim : claims_of(layer->type()))
    if (claim.known && call->holds(claim)) claims.push_back(claim);
}

Influence influence(const ClaimTrial& t) {
  Influence seen;
  const Tensor before = t.run_with(t.c.problem.inputs).at(t.output);
  const double largest = std::max(magnitude(before), 1e-300);
  Random random(t.c.weights, "moves", 0);
  for (const auto& [name, x] : t.c.problem.inputs) {
    if (is_mask(t.c, name)) continue;
    const int64_t row = random.below(x.dim(0));
    for (int64_t q = 0; q < positions(x); ++q) {
      std::set<std::pair<int64_t, int64_t>> known;
      const auto all = static_cast<size_t>(before.dim(0) * positions(before));
      for (const double move : kMoves) {
        if (known.size() == all) break;
        Inputs inputs = t.c.problem.inputs;
        const auto [begin, end] = position(x, row, q);
        for (size_t i = begin; i < end; ++i) inputs.at(name).v[i] += random.uniform(-move, move);
        const Tensor after = t.run_with(inputs).at(t.output);
        ++seen.moves;
        for (int64_t b = 0; b < before.dim(0); ++b)
          for (int64_t p = 0; p < positions(before); ++p) {
            double change = 0;
            const auto [from, to] = position(before, b, p);
            for (size_t i = from; i < to; ++i) {
              const double d = before.v[i] == after.v[i] ? 0 : std::fabs(before.v[i] - after.v[i]);
              change = std::isnan(d) ? HUGE_VAL : std::max(change, d);
            }
            change /= largest;
            if (change <= kNothing || !known.emplace(b, p).second) continue;
            seen.found.push_back({.input = name,
                                  .in_row = row,
                                  .in = q,
                                  .out_row = b,
                                  .out = p,
                                  .move = move,
                                  .change = change});
          }
      }
    }
  }
  return seen;
}

Finding try_batch(const ClaimTrial& t, const Influence& seen) {
  for (const Dependency& d : seen.found)
    if (d.in_row != d.out_row) return {seen.moves, told(t.c, d)};
  const int64_t batch = t.c.problem.inputs.begin()->second.dim(0);
  return {batch > 1 ? seen.moves : 0, ""};
}

Finding try_causal(const ClaimTrial& t, const ClaimInfo& claim, const Influence& seen) {
  for (const Dependency& d : seen.found)
    if (!t.call->allows(claim, d.out, d.in)) return {seen.moves, told(t.c, d)};
  // A length is in no move.
  Finding f{seen.moves, ""};
  const Tensor whole = t.run_with(t.c.problem.inputs).at(t.output);
  for (int64_t length = 1; length < positions(whole); ++length) {
    const std::optional<Inputs> inputs = prefix(t.c, length);
    if (!inputs) break;
    const Tensor part = t.run_with(*inputs).at(t.output);
    ++f.samples;
    const double d =
        largest_difference(part, slice(whole, 1, 0, length)) / std::max(magnitude(whole), 1e-300);
    if (d > kNothing)
      return {f.samples, told(t.c) + ": the first " + std::to_string(length) +
                             " positions alone give other outputs, by " + Json(d).dump() +
                             " of the largest"};
  }
  return f;
}

Finding try_reaches(const ClaimTrial& t, const ClaimInfo& claim, const Influence& seen) {
  const std::string subject =
      claim.subject.empty() ? t.layer->type().inputs[0]->name : claim.subject;
  if (!t.c.problem.inputs.contains(subject)) return {};
  for (const Dependency& d : seen.found)
    if (d.input == subject && !t.call->allows(claim, d.out, d.in))
      return {seen.moves, told(t.c, d)};
  return {seen.moves, ""};
}

Finding try_mask_respected(const ClaimTrial& t) {
  Trial both;
  both.c = t.c;
  prepare(both);
  Finding f;
  for (const auto check : {check_mask_numbers, check_mask_nan, check_mask_infinity}) {
    if (check(both)) ++f.samples;
    if (!both.failures.empty()) return {f.samples, told(t.c) + ": " + both.failures.front()};
  }
  return f;
}

}  // namespace attn::check
