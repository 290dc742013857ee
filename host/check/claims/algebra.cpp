// SPDX-License-Identifier: Apache-2.0
//
// Claims about numbers: a mask of ones, sums and factors, steps of decoding, the same bits again.
#include <attn/error.hpp>

#include "host/check/claims/trial.hpp"
#include "host/check/generator/axis_names.hpp"
#include "host/check/mathematics/checks.hpp"

namespace attn::check {
namespace {

constexpr double kSame =
    1e-9;  // of the largest output: sums of some hundred terms in another order

std::string first_input(const ClaimTrial& t) { return t.layer->type().inputs[0]->name; }

Tensor combined(const Tensor& x, double a, const Tensor& y, double b) {
  Tensor out = x;
  for (size_t i = 0; i < x.v.size(); ++i) out.v[i] = a * x.v[i] + b * y.v[i];
  return out;
}

// The outputs of other numbers in the first input.
Tensor with_first(const ClaimTrial& t, const Tensor& x) {
  Inputs inputs = t.c.problem.inputs;
  inputs[first_input(t)] = x;
  return t.run_with(inputs).at(t.output);
}

Finding compare(const ClaimTrial& t, const Tensor& found, const Tensor& expected,
                const std::string& what) {
  const double d = largest_difference(found, expected) /
                   std::max({magnitude(found), magnitude(expected), 1e-300});
  if (d <= kSame) return {1, ""};
  return {1, told(t.c) + ": " + what + ", off by " + Json(d).dump() + " of the largest output"};
}

// f of a trial of both kinds of elements.
Finding by_checks(const ClaimTrial& t, std::initializer_list<bool (*)(Trial&)> checks) {
  Trial both;
  both.c = t.c;
  prepare(both);
  Finding f;
  for (const auto check : checks) {
    f.samples += check(both);
    if (!both.failures.empty()) return {f.samples, told(t.c) + ": " + both.failures.front()};
  }
  return f;
}

}  // namespace

Finding try_mask_neutral(const ClaimTrial& t) {
  const attn_type& type = t.layer->type();
  Case c = t.c;
  for (uint32_t i = 0; i < type.n_inputs; ++i)
    if (type.inputs[i]->flags & ATTN_INPUT_MASK) c.problem.inputs.erase(type.inputs[i]->name);
  const Extents e = extents_of(c);
  Finding f;
  Outputs without;
  try {
    without = run(*t.layer, c, c.problem.inputs, spec_of(c));
  } catch (const InvalidArgument&) {
    return {};  // this call needs its mask
  }
  for (uint32_t i = 0; i < type.n_inputs; ++i) {
    const attn_input& mask = *type.inputs[i];
    if (!(mask.flags & ATTN_INPUT_MASK)) continue;
    std::vector<std::string> shapes(mask.shapes, mask.shapes + mask.n_shapes);
    if (shapes.empty()) shapes = {"batch, key"};
    for (const std::string& text : shapes)
      for (const attn_dtype kind : {ATTN_BOOL, ATTN_F32}) {
        if (kind == ATTN_F32 && mask.flags & ATTN_INPUT_NUMBERS) continue;  // 1 is a number there
        std::vector<int64_t> shape;
        for (const std::string& axis : axis_names(text))
          shape.push_back(axis == "batch"   ? e.batch
                          : axis == "head"  ? e.heads
                          : axis == "query" ? e.queries
                                            : e.keys);
        Case given = c;
        given.mask_kind = kind;
        Tensor ones(shape, 1.0);
        ones.integral = kind == ATTN_BOOL;
        given.problem.inputs[mask.name] = ones;
        Outputs with;
        try {
          with = run(*t.layer, given, given.problem.inputs, spec_of(given));
        } catch (const InvalidArgument&) {
          continue;  // not of this rank, or not with this norm
        }
        ++f.samples;
        for (const auto& [name, y] : without)
          if (const double d = largest_difference(with.at(name), y); d != 0)
            return {f.samples, told(given) + ": a mask of ones (" + text + ") changes " + name +
                                   " by " + Json(d).dump()};
      }
  }
  return f;
}

Finding try_linear(const ClaimTrial& t) {
  const Tensor& x = t.c.problem.inputs.at(first_input(t));
  Tensor y = x;
  Random random(t.c.weights, "another input", 0);
  for (double& e : y.v) e = random.single(3);
  const double a = 1.75, b = -0.6;
  return compare(t, with_first(t, combined(x, a, y, b)),
                 combined(with_first(t, x), a, with_first(t, y), b),
                 "f(a x + b y) is not a f(x) + b f(y)");
}

Finding try_homogeneous(const ClaimTrial& t, const ClaimInfo& claim) {
  const Tensor& x = t.c.problem.inputs.at(first_input(t));
  const Tensor y = with_first(t, x);
  Finding f;
  for (const double a : {0.5, 3.0, 100.0}) {
    const double factor = std::pow(a, claim.degree);
    const Finding one = compare(t, with_first(t, combined(x, a, x, 0)), combined(y, factor, y, 0),
                                "f(a x) is not a^k f(x) for a = " + Json(a).dump());
    f.samples += one.samples;
    if (!one.refuted.empty()) return {f.samples, one.refuted};
  }
  return f;
}

Finding try_decode(const ClaimTrial& t) {
  return by_checks(t, {check_splits, check_decode, check_truncate});
}

Finding try_deterministic(const ClaimTrial& t) {
  return by_checks(t, {check_threads, check_repeat});
}

}  // namespace attn::check
