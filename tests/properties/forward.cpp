// SPDX-License-Identifier: Apache-2.0
//
// Results against the oracle.
#include <sstream>

#include "tests/oracle/types/types.hpp"
#include "tests/properties/own.hpp"

namespace attn::properties {
namespace {

// The oracle sums in another order: some thousand terms, each rounded, and scores of some hundred whose
// exponentials multiply their errors. 1e-9 is 5e6 eps.
constexpr double kTolerance64 = 1e-9;
std::string told(const std::string& name, double difference, double allowed) {
  std::ostringstream s;
  s << name << " differs by " << difference << ", allowed " << allowed;
  return s.str();
}

void check_projection(Trial& t) {
  const auto it = t.c.problem.weights.find("projection_matrix");
  if (it == t.c.problem.weights.end()) return;
  const Json seed = t.layer64->config().at("seed");
  const Tensor& w = it->second;
  const Tensor drawn = oracle::performer_projection(
      *seed.to_uint64(), w.dim(0), *parameter(t.c, "nb_features").to_int64(), w.dim(2),
      parameter(t.c, "ortho_scaling").to_double(),
      parameter(t.c, "feature_map").as_string() != "positive");
  // Rounded to float32 once.
  if (const double d = largest_difference(w, drawn); !(d <= kEps32 * magnitude(drawn)))
    t.fail(told("projection_matrix", d, kEps32 * magnitude(drawn)));
}

}  // namespace

void check_forward(Trial& t) {
  Case& c = t.c;
  c.problem.weights = weights_of(*t.layer64);
  check_projection(t);
  const oracle::Answer answer = oracle::solve(c.problem);
  t.margin = std::min(t.margin, answer.margin);

  // A score of 10,000, rounded to float32, changes its weight by a thousandth.
  if (kEps32 * answer.largest_score > 1e-3) t.margin = std::min(t.margin, 1e-4);

  Call call(*t.layer64, c, c.problem.inputs, spec_of(c));
  const Outputs found = call.run();
  const bool near_jump = t.margin < 1e-9;
  for (const auto& [name, expected] : answer.outputs) {
    if (!found.contains(name)) {
      t.fail("no output " + name);
      continue;
    }
    const double d = largest_difference(found.at(name), expected);
    const double allowed = kTolerance64 * magnitude(expected);
    if (!near_jump && !(d <= allowed)) t.fail("float64: " + told(name, d, allowed));
  }
  for (const auto& [name, unused] : found)
    if (!answer.outputs.contains(name)) t.fail("output " + name + " was not asked for");

  // Statistics.
  call.commit();
  const auto after = weights_of(*t.layer64);
  for (const auto& [name, value] : after) {
    const auto moved = answer.statistics.find(name);
    const Tensor& expected =
        moved != answer.statistics.end() ? moved->second : c.problem.weights.at(name);
    const double d = largest_difference(oracle::reshape(value, expected.shape), expected);
    if (!(d <= kTolerance64 * magnitude(expected)))
      t.fail("after the call " + told(name, d, kTolerance64 * magnitude(expected)));
    if (moved != answer.statistics.end())  // the next calls begin where this one began
      t.layer64->set_weight(name, to_array(c.problem.weights.at(name), ATTN_F64).view());
  }
}

}  // namespace attn::properties
