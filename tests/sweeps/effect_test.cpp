// SPDX-License-Identifier: Apache-2.0
//
// Every parameter, argument and optional input changes something that a user sees: a result, a gradient, a penalty,
// an initial weight, a statistic or the size of a state. What does not says so ("no effect") where it is described,
// and then changes nothing.
#include <attn/factory.hpp>
#include <catch2/catch.hpp>

#include <algorithm>

#include "host/check/generator/settings.hpp"

using namespace attn;
using namespace attn::check;

namespace {

// Numbers by what they are: "output attention_weights in training", "penalty w_q/kernel".
using Outcome = std::map<std::string, Tensor>;

void add_state(Attention& layer, Outcome& out) {
  if (!layer.has_state()) return;
  std::unique_ptr<State> state;
  try {
    state = layer.make_state(2);
  } catch (const InvalidArgument&) {
    state = layer.make_state(2, 4);  // types without a longest length
  }
  const std::vector<double> size{static_cast<double>(state->capacity()),
                                 static_cast<double>(state->bytes())};
  out["state"] = Tensor({2}, size);
}

void add_call(Attention& layer, const Case& c, bool training, Outcome& out) {
  const std::string when = training ? " in training" : "";
  CallSpec spec = spec_of(c);
  spec.training = training;
  spec.record = true;
  Call call(layer, c, c.problem.inputs, spec);
  Outputs cotangents;
  for (const auto& [name, value] : call.run()) {
    out["output " + name + when] = value;
    Tensor t(value.shape);
    Random random(7, name, 0);
    for (double& x : t.v) x = random.single();
    if (name == "output") cotangents[name] = std::move(t);
  }
  for (const Penalty& p : layer.losses(call.context()))
    out["penalty " + p.name + when] = Tensor({1}, p.value);
  Gradients gradients(layer);
  call.backward(cotangents, gradients, true);
  for (const auto& g : gradients.entries())
    if (g.trained) out["gradient " + g.name + when] = to_tensor(g.gradient.view());
  for (const auto& [name, x] : c.problem.inputs)
    if (Tensor g = call.input_gradient(name); !g.v.empty()) out["gradient of " + name + when] = g;
  if (!training) return;
  call.commit();
  for (const WeightInfo& w : layer.weights())
    if (w.statistic) out["statistic " + w.name] = to_tensor(layer.weight(w.name));
}

Outcome outcome(const Setting& s) {
  Outcome out;
  set_seed(1);  // what a layer draws when it is made is the same each time
  const auto layer = make_layer(s.c, ATTN_F64);
  const auto fresh = create_attention_layer(s.type, s.c.problem.config);
  fresh->build(shapes_of(s.c), {.dtype = ATTN_F64, .seed = 1});
  for (const WeightInfo& w : fresh->weights())
    if (!w.not_stored && dtype_is_floating(fresh->weight(w.name).dtype))
      out["weight " + w.name] = to_tensor(fresh->weight(w.name));
  add_state(*layer, out);
  add_call(*layer, s.c, false, out);
  add_call(*layer, s.c, true, out);
  return out;
}

// What differs beyond rounding; empty: nothing.
std::string difference(const Outcome& a, const Outcome& b) {
  for (const auto& [name, x] : a) {
    const auto y = b.find(name);
    if (y == b.end() ||
        !(largest_difference(x, y->second) <= 1e-9 * std::max(magnitude(x), magnitude(y->second))))
      return name;
  }
  for (const auto& [name, y] : b)
    if (!a.contains(name)) return name;
  return "";
}

class Contexts {
 public:
  explicit Contexts(const std::string& type) {
    for (const Setting& s : settings(type)) all_.push_back({&s, {}});
    // What another parameter depends on is a flag or a number more often than one of a hundred options.
    plain_ = std::stable_partition(all_.begin() + 1, all_.end(), [](const Known& k) {
      return k.setting->change.plain || k.setting->change.of == ChangeOf::input;
    });
  }

  // The first setting in which one of the values changes something, and what; empty: none.
  std::string effect(const std::vector<Change>& changes, bool plain) {
    for (auto known = all_.begin(); known != (plain ? plain_ : all_.end()); ++known)
      for (const Change& change : changes) {
        const std::optional<Setting> changed = with(*known->setting, change);
        if (!changed) continue;
        if (known->outcome.empty()) known->outcome = outcome(*known->setting);
        const std::string what = difference(known->outcome, outcome(*changed));
        if (!what.empty()) return changed->told() + "\n  changes " + what;
      }
    return plain ? "" : effect_when_wider(changes);
  }

 private:
  // A number may count in wider layers of one kind alone: the second pair of a head that turns.
  std::string effect_when_wider(const std::vector<Change>& changes) {
    const std::string& type = all_.front().setting->type;
    for (auto known = all_.begin(); known != plain_; ++known)
      for (const Change& wider : changes_of(type, "dim")) {
        const std::optional<Setting> from = with(*known->setting, wider);
        if (!from) continue;
        for (const Change& change : changes) {
          const std::optional<Setting> changed = with(*from, change);
          if (!changed) continue;
          const std::string what = difference(outcome(*from), outcome(*changed));
          if (!what.empty()) return changed->told() + "\n  changes " + what;
        }
      }
    return "";
  }

  struct Known {
    const Setting* setting = nullptr;
    Outcome outcome{};
  };
  std::vector<Known> all_{};
  std::vector<Known>::iterator plain_{};
};

void examine(Contexts& contexts, const std::string& type, const std::string& name,
             const std::string& doc) {
  std::vector<Change> changes = changes_of(type, name);
  if (changes.empty()) return;  // a choice of one
  const bool none = doc.find("no effect") != std::string::npos;
  // Without an effect: one value, in all settings. Initializers and regularizers are many and alike.
  const bool alike =
      changes[0].of == ChangeOf::initializer || changes[0].of == ChangeOf::regularizer;
  if (none || alike) changes.resize(std::min(changes.size(), size_t{none ? 1u : 3u}));
  const std::string found = contexts.effect(changes, none);
  INFO(type << ": " << name << ", described as '" << doc << "'");
  INFO((found.empty() ? "no value changes anything in any setting" : found));
  CHECK(found.empty() == none);
}

}  // namespace

TEST_CASE("sweep: what can be set has an effect, or is described as without one") {
  for (const std::string& type : list_attention_types()) DYNAMIC_SECTION(type) {
      Contexts contexts(type);
      const attn_type& t = *find_attention_type(type).type;
      for (uint32_t i = 0; i < t.n_params; ++i)
        examine(contexts, type, t.params[i]->name, t.params[i]->doc);
      for (uint32_t i = 0; i < t.n_args; ++i)
        examine(contexts, type, t.args[i]->name, t.args[i]->doc);
      for (uint32_t i = 0; i < t.n_inputs; ++i)
        if (t.inputs[i]->flags & (ATTN_INPUT_OPTIONAL | ATTN_INPUT_MASK))
          examine(contexts, type, t.inputs[i]->name, t.inputs[i]->doc);
    }
}
