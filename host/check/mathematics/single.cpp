// SPDX-License-Identifier: Apache-2.0
//
// float32 against float64: how far it may be off, and whether it is not further.
#include <sstream>

#include <attn/factory.hpp>

#include "host/check/mathematics/checks.hpp"

namespace attn::check {
namespace {

// Errors in units of eps times the largest result, plus the change that rounding inputs and weights alone
// would make (one sample of it, so that a factor of ten is usual), plus one rounding of a number of size 1, of which
// a function may keep a small difference.
constexpr double kResultUnits = 256, kInputUnits = 100, kNarrowUnits = 4096, kSharpUnits = 64000;

std::string told(const std::string& name, double difference, double allowed) {
  std::ostringstream s;
  s << name << " differs by " << difference << ", allowed " << allowed;
  return s.str();
}

}  // namespace

Inputs shaken(const Case& c, Inputs inputs, double noise, uint64_t draw) {
  Random random(c.weights, "inputs", draw);
  for (auto& [name, t] : inputs)
    if (!is_mask(c, name))
      for (double& e : t.v) e *= 1 + random.uniform(-noise, noise);
  return inputs;
}

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
    if (!is_mask(c, name) && value.dim(-1) == 1) return true;
  const Json dim = parameter(c, "dim"), heads = parameter(c, "num_heads");
  return dim.is_integer() && dim == heads;
}

void prepare(Trial& t) {
  Case& c = t.c;
  t.layer64 = make_layer(c, ATTN_F64);
  t.layer32 = make_layer(c, ATTN_F32);
  for (const WeightInfo& w : t.layer64->weights())
    t.statistics = t.statistics || (c.problem.training && w.statistic);
  t.expected = run(*t.layer64, c, c.problem.inputs, spec_of(c));
  const auto other = make_layer(c, ATTN_F64, kEps32);
  const Outputs near = run(*other, c, shaken(c, c.problem.inputs, kEps32), spec_of(c));
  // A routing between scores of hundreds, each of whose rounds multiplies their errors by as much.
  if (is_sharp(c) && has_parameter(t.layer64->type(), "routing_iterations")) t.margin = 0;
  for (const auto& [name, expected] : t.expected) {
    const double moved = largest_difference(near.at(name), expected);
    // Where rounding the inputs changes the result by a hundredth there is nothing to compare.
    if (moved > 0.01 * magnitude(expected)) {
      t.margin = 0;
      t.marks.insert("chaotic " + c.id.text());
    }
    const double units = is_sharp(c) ? kSharpUnits : is_narrow(c) ? kNarrowUnits : kResultUnits;
    const double allowed = kEps32 * units * magnitude(expected) + kInputUnits * moved + kEps32;
    t.tolerance32[name] = allowed;
  }
}

bool check_single(Trial& t) {
  if (!(t.margin > 1e-3)) return false;
  const Outputs found = run(*t.layer32, t.c, t.c.problem.inputs, spec_of(t.c));
  for (const auto& [name, expected] : t.expected) {
    const double d = largest_difference(found.at(name), expected);
    const double allowed = t.tolerance32.at(name);
    if (!(d <= allowed)) t.fail("float32: " + told(name, d, allowed));
  }
  return true;
}

}  // namespace attn::check
