// SPDX-License-Identifier: Apache-2.0
//
// Gradients add up and are linear in their cotangents, weights that do nothing have none, and nothing that a call is
// given is changed by it.
#include <cstring>

#include "host/check/mathematics/checks.hpp"

namespace attn::check {
namespace {

bool same_bits(const Array& a, const ConstView& b) {
  const Array copy = Array::copy_of(b);
  return a.bytes() == copy.bytes() && std::memcmp(a.raw(), copy.raw(), a.bytes()) == 0;
}

// A weight moved and put back.
Outputs with_moved(Trial& t, const std::string& weight, double by) {
  const Tensor before = to_tensor(t.layer64->weight(weight));
  Tensor moved = before;
  Random random(t.c.weights, "move " + weight, 0);
  for (double& x : moved.v) x += random.single(by);
  t.layer64->set_weight(weight, to_array(moved, ATTN_F64).view());
  Outputs out = run(*t.layer64, t.c, t.c.problem.inputs, spec_of(t.c));
  t.layer64->set_weight(weight, to_array(before, ATTN_F64).view());
  return out;
}

}  // namespace

bool check_gradients_add(Trial& t) {
  if (t.c.is_long) return false;
  Attention& layer = *t.layer64;
  CallSpec spec = spec_of(t.c);
  spec.record = true;
  // Gradients of weights are added to `into`; given back are they and those of the inputs.
  const auto add = [&](Gradients& into, double factor) {
    Call call(layer, t.c, t.c.problem.inputs, spec);
    Outputs cotangents, all;
    Random random(t.c.weights, "cotangents to add", 0);
    for (const auto& [name, y] : call.run()) {
      cotangents[name] = Tensor(y.shape);
      for (double& x : cotangents[name].v) x = factor * random.single();
    }
    call.backward(cotangents, into);
    for (const auto& [name, x] : t.c.problem.inputs)
      if (!is_mask(t.c, name)) all["input " + name] = call.input_gradient(name);
    for (const auto& e : into.entries())
      if (e.trained) all["weight " + e.name] = to_tensor(e.gradient.view());
    return all;
  };
  // "": is expected times the factor.
  const auto compare = [&](const Outputs& found, double factor, const Outputs& of, double allowed,
                           const std::string& what) {
    for (const auto& [name, g] : of) {
      if (!found.contains(name)) continue;
      Tensor expected = g;
      for (double& x : expected.v) x *= factor;
      const double d = largest_difference(found.at(name), expected);
      if (!(d <= allowed)) t.fail(what + ": that of " + name + " differs by " + Json(d).dump());
    }
  };
  // Factors are powers of two, which change no rounding: however much cancels in a gradient, it follows to the bit.
  Gradients none(layer), once(layer), minus(layer);
  const Outputs zero = add(none, 0), one = add(once, 1), other = add(minus, -2);
  compare(zero, 0, one, 0, "cotangents of zeros give a gradient");
  compare(other, -2, one, 0, "cotangents times -2 do not give the gradients times -2");
  double largest = 1;  // cotangents of 1 leave rounding of this size where gradients cancel
  for (const auto& [name, g] : one)
    if (name.starts_with("weight ")) largest = std::max(largest, magnitude(g));
  Outputs sum = add(once, -2);
  std::erase_if(sum, [](const auto& entry) { return entry.first.starts_with("input "); });
  compare(sum, -1, one, 1e-10 * largest,
          "backward() with cotangents c and then -2 c does not add up to that with -c");
  return true;
}

bool check_unused_weights(Trial& t) {
  if (t.c.is_long || t.margin < 1e-3) return false;
  const Outputs all = everything(*t.layer64, t.c, t.c.problem.inputs, true);
  double largest = 0;
  for (const auto& [name, g] : all)
    if (name.starts_with("gradient of ")) largest = std::max(largest, magnitude(g));
  for (const WeightInfo& w : t.layer64->weights()) {
    const auto g = all.find("gradient of weight " + w.name);
    if (!w.trainable || g == all.end()) continue;
    const double size = magnitude(g->second);
    if (!std::isfinite(size)) t.fail("the gradient of " + w.name + " is not finite");
    const Outputs moved = with_moved(t, w.name, 0.5);
    bool changes = false;
    for (const auto& [name, y] : moved)
      changes = changes || largest_difference(y, t.expected.at(name)) != 0;
    if (!changes && size > 1e-9 * std::max(largest, 1.0))
      t.fail(w.name + " changes no result and has a gradient of " + Json(size).dump());
  }
  return true;
}

bool check_kept(Trial& t) {
  for (Attention* layer : {t.layer64.get(), t.layer32.get()}) {
    std::vector<std::pair<std::string, Array>> weights;
    for (const WeightInfo& w : layer->weights())
      if (!w.not_stored) weights.emplace_back(w.name, Array::copy_of(layer->weight(w.name)));
    CallSpec spec = spec_of(t.c);
    spec.record = true;
    Call call(*layer, t.c, t.c.problem.inputs, spec);
    Outputs cotangents;
    for (const auto& [name, y] : call.run()) cotangents[name] = Tensor(y.shape, 1.0);
    Gradients gradients(*layer);
    call.backward(cotangents, gradients);
    const Inputs after = call.inputs();
    const attn_dtype kind = layer->dtype();
    for (const auto& [name, x] : t.c.problem.inputs) {
      const attn_dtype given = is_mask(t.c, name) && !adds_mask(t.c) ? t.c.mask_kind : kind;
      if (!same_bits(to_array(x, given), to_array(after.at(name), given).view()))
        t.fail("a call changes its input " + name);
    }
    for (const auto& [name, before] : weights)
      if (!same_bits(before, layer->weight(name)))
        t.fail("a call, without commit(), changes the weight " + name);
  }
  return true;
}

}  // namespace attn::check
