// SPDX-License-Identifier: Apache-2.0
//
// Results against the oracle.
#include <sstream>

#include "tests/oracle/types/types.hpp"
#include "tests/properties/checks.hpp"

namespace attn::properties {
namespace {

using oracle::Tensor;

// The oracle sums in another order: some thousand terms, each rounded, and scores of some hundred whose
// exponentials multiply their errors. 1e-9 is 5e6 eps.
constexpr double kTolerance64 = 1e-9;
// Errors in units of eps times the largest result, plus the change that rounding inputs and weights alone
// would make (one sample of it, so that a factor of ten is usual), plus one rounding of a number of size 1, of which
// a function may keep a small difference.
constexpr double kResults32 = 256, kInputs32 = 100, kNarrow32 = 4096, kSharp32 = 64000;

std::string told(const std::string& name, double difference, double allowed) {
  std::ostringstream s;
  s << name << " differs by " << difference << ", allowed " << allowed;
  return s.str();
}

// Inputs changed as weights are by make_layer's noise.
std::map<std::string, Tensor> shaken(const Case& c, double noise) {
  std::map<std::string, Tensor> inputs = c.problem.inputs;
  Random random(c.weights, "inputs", 1);
  for (auto& [name, t] : inputs)
    if (name.find("mask") == std::string::npos)
      for (double& e : t.v) e *= 1 + random.uniform(-noise, noise);
  return inputs;
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

bool is_sharp(const Case& c) {
  for (const auto& [type, kwargs] :
       {std::pair("qk_norm_type", "qk_norm_kwargs"), {"normalization", "normalization_kwargs"}}) {
    const Json name = parameter(c, type), options = parameter(c, kwargs);
    if (!name.is_string() || name.as_string() != "logit_norm") continue;
    const Json* temperature = options.is_object() ? options.find("temperature") : nullptr;
    if (!temperature || temperature->to_double() < 0.2) return true;
  }
  return false;
}

bool is_narrow(const Case& c) {
  const auto one = [&](const char* name) {
    const Json j = parameter(c, name);
    return j.is_integer() && *j.to_int64() == 1;
  };
  const Json channels = parameter(c, "attention_channels");
  if (channels.is_integer() && *channels.to_int64() < 16) return true;  // an eighth in one mode
  if (one("head_dim") || one("key_dim") || one("dim") || one("channels")) return true;
  for (const auto& [name, value] : c.problem.inputs)
    if (name.find("mask") == std::string::npos && value.dim(-1) == 1) return true;
  const Json dim = parameter(c, "dim"), heads = parameter(c, "num_heads");
  return dim.is_integer() && dim == heads;
}

void check_forward(Trial& t) {
  Case& c = t.c;
  c.problem.weights = weights_of(*t.layer64);
  check_projection(t);
  t.answer = oracle::solve(c.problem);

  // Where rounding the inputs changes the result by a hundredth there is nothing to compare.
  const auto other = make_layer(c, ATTN_F64, kEps32);
  const Outputs near = run(*other, c, shaken(c, kEps32), spec_of(c));
  // So it is with a routing between scores of hundreds, each of whose rounds multiplies their errors by as much.
  if (is_sharp(c) && has_parameter(t.layer64->type(), "routing_iterations")) t.answer.margin = 0;
  for (const auto& [name, expected] : t.answer.outputs)
    if (near.contains(name) &&
        largest_difference(near.at(name), expected) > 0.01 * magnitude(expected)) {
      t.answer.margin = 0;
      t.marks.insert("chaotic " + c.id.text());
    }

  // A score of 10,000, rounded to float32, changes its weight by a thousandth.
  if (kEps32 * t.answer.largest_score > 1e-3) t.answer.margin = std::min(t.answer.margin, 1e-4);

  Call call(*t.layer64, c, c.problem.inputs, spec_of(c));
  const Outputs found = call.run();
  const bool near_jump = t.answer.margin < 1e-9;
  for (const auto& [name, expected] : t.answer.outputs) {
    if (!found.contains(name)) {
      t.fail("no output " + name);
      continue;
    }
    const double d = largest_difference(found.at(name), expected);
    const double allowed = kTolerance64 * magnitude(expected);
    if (!near_jump && !(d <= allowed)) t.fail("float64: " + told(name, d, allowed));
  }
  for (const auto& [name, unused] : found)
    if (!t.answer.outputs.contains(name)) t.fail("output " + name + " was not asked for");

  // Statistics.
  call.commit();
  const auto after = weights_of(*t.layer64);
  for (const auto& [name, value] : after) {
    const auto moved = t.answer.statistics.find(name);
    const Tensor& expected =
        moved != t.answer.statistics.end() ? moved->second : c.problem.weights.at(name);
    const double d = largest_difference(oracle::reshape(value, expected.shape), expected);
    if (!(d <= kTolerance64 * magnitude(expected)))
      t.fail("after the call " + told(name, d, kTolerance64 * magnitude(expected)));
    if (moved != t.answer.statistics.end())  // the next calls begin where this one began
      t.layer64->set_weight(name, to_array(c.problem.weights.at(name), ATTN_F64).view());
  }

  // float32.
  const Outputs found32 = run(*t.layer32, c, c.problem.inputs, spec_of(c));
  if (c.problem.training) t.layer32 = make_layer(c, ATTN_F32);
  for (const auto& [name, expected] : t.answer.outputs) {
    if (!found32.contains(name) || !near.contains(name)) continue;
    const double allowed = kEps32 *
                               (is_sharp(c)    ? kSharp32
                                : is_narrow(c) ? kNarrow32
                                               : kResults32) *
                               magnitude(expected) +
                           kInputs32 * largest_difference(near.at(name), expected) + kEps32;
    if (name == "output") t.tolerance32 = allowed;
    const double d = largest_difference(found32.at(name), expected);
    if (t.answer.margin > 1e-3 && !(d <= allowed)) t.fail("float32: " + told(name, d, allowed));
  }
}

}  // namespace attn::properties
