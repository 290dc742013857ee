// SPDX-License-Identifier: Apache-2.0
//
// Every element of every trained weight has a gradient, but for those that a README calls inert, and these have
// none. host/docs/claims.md defines the words:
//
//   key bias W            the same for all keys: nothing where a probability runs over the keys
//   query bias W          the same for all queries: nothing where it runs over the queries
//   key norm SITE         beta, bias and delta of a norm behind which keys meet queries; query norm SITE likewise
//   centred bias W        nothing where a norm takes off the mean over positions
//   W                     by itself
//   others                further weights, not all
//   W [1/3 .. 2/3)        that part of the last axis;  W in part: some elements
#include <attn/factory.hpp>
#include <catch2/catch.hpp>

#include "tests/sweeps/claims.hpp"

using namespace attn;
using namespace attn::check;
using sweeps::claims;

namespace {

using Weights = std::map<std::string, Tensor>;

// Raises `known` to the magnitudes of the gradients of one draw of weights and inputs, relative to the largest. Draws
// have several sizes: what is switched off or saturated in one is on in another.
void add_draw(const Setting& s, uint64_t draw, Weights& known) {
  constexpr double kSizes[] = {1, 0.1, 3, 1, 10, 0.02};
  const double size = kSizes[draw % std::size(kSizes)];
  Case c = s.c;
  c.weights = draw + 1;
  for (auto& [name, input] : c.problem.inputs) {
    Random random(draw, name, 7);
    if (name.find("mask") == std::string::npos)
      for (double& x : input.v) x = random.single(2 * size);
  }
  const auto layer = make_layer(c, ATTN_F64);
  for (const WeightInfo& w : layer->weights()) {
    if (!w.trainable) continue;
    Tensor value = to_tensor(layer->weight(w.name));
    for (double& x : value.v) x *= size;
    layer->set_weight(w.name, to_array(value, ATTN_F64).view());
  }
  CallSpec spec = spec_of(c);
  spec.record = true;
  Call call(*layer, c, c.problem.inputs, spec);
  Tensor cotangent = call.run().at("output");
  Random random(draw, "cotangent", 0);
  for (double& x : cotangent.v) x = random.single();
  Gradients gradients(*layer);
  call.backward({{"output", cotangent}}, gradients);
  Weights now;
  double largest = 0;
  for (const auto& g : gradients.entries()) {
    if (!g.trained) continue;
    now[g.name] = to_tensor(g.gradient.view());
    largest = std::max(largest, magnitude(now[g.name]));
  }
  for (const auto& [name, g] : now) {
    Tensor& all = known.try_emplace(name, Tensor(g.shape)).first->second;
    for (size_t i = 0; i < g.v.size() && largest > 0; ++i)
      all.v[i] = std::max(all.v[i], std::fabs(g.v[i]) / largest);
  }
}

// ---- what is declared -----------------------------------------------------------------------------

// The type sets the axis of its probabilities itself: an option that its schema marks so.
bool fixes_axis(const attn_type& type) {
  for (uint32_t i = 0; i < type.n_params; ++i)
    for (uint32_t c = 0; c < type.params[i]->n_choices; ++c)
      if (std::string(type.params[i]->choices[c]) == "!axis") return true;
  return false;
}

bool runs_over(const Setting& s, int64_t axis) {
  if (axis == -1) return over_keys(s.c);
  const Json config = parameter(s.c, "probability_config");
  const Json* given = config.is_object() ? config.find("axis") : nullptr;
  if (!given || fixes_axis(*find_attention_type(s.type).type)) return false;
  return *given == Json(axis) || *given == Json(axis + 4);
}

// The norm of queries and keys, and the axis in its options; -1: none is given, or several.
struct QueryKeyNorm {
  std::string name{};
  Json axis = -1;
  bool by_position = false;  // its weights belong to positions
};
QueryKeyNorm norm_of(const Setting& s) {
  QueryKeyNorm out;
  const Json name = parameter(s.c, "qk_norm_type");
  const Json options = parameter(s.c, "qk_norm_kwargs");
  if (name.is_string()) out.name = name.as_string();
  const Json* axis = options.is_object() ? options.find("axis") : nullptr;
  if (!axis) return out;
  if (axis->is_integer()) out.axis = *axis;
  out.by_position = *axis == Json(-2);
  for (size_t i = 0; axis->is_list() && i < axis->size(); ++i)
    out.by_position = out.by_position || axis->at(i) == Json(-2);
  return out;
}

// It takes off what is the same at all positions.
bool is_centred(const Setting& s) {
  const QueryKeyNorm norm = norm_of(s);
  return norm.axis == Json(-2) && (norm.name == "layer_norm" || norm.name.starts_with("zero_"));
}

// It stands between what is added and the scores. Outside of training that of a batch has constants of its own, and
// lets through what is the same at all positions, unless its constants belong to them.
bool is_normed(const Setting& s) {
  const QueryKeyNorm norm = norm_of(s);
  return !norm.name.empty() && (norm.name.find("batch_norm") == std::string::npos ||
                                norm.by_position || s.c.problem.training);
}

struct Declared {
  std::string weight{};
  double from = 0, to = 1;  // of the last axis
  bool in_part = false;
};

class Reader {
 public:
  Reader(const Setting& s, const Weights& weights) : s_(s), weights_(weights) {}

  std::vector<Declared> read(const std::string& says) {
    Declared d;
    std::string rest = says;
    if (const size_t at = rest.find(" in part"); at != std::string::npos)
      d.in_part = true, rest.erase(at);
    if (const size_t at = rest.find(" ["); at != std::string::npos) {
      const std::string range = rest.substr(at + 2);
      d.from = fraction(range.substr(0, range.find(' ')));
      d.to = fraction(range.substr(range.rfind(' ') + 1));
      rest.erase(at);
    }
    for (const bool key : {true, false}) {
      const std::string noun = key ? "key " : "query ";
      const bool nothing = runs_over(s_, key ? -1 : -2);
      if (rest.starts_with(noun + "bias ")) {
        d.weight = rest.substr(noun.size() + 5);
        return (is_normed(s_) ? is_centred(s_) : nothing) ? found(d) : std::vector<Declared>{};
      }
      if (rest.starts_with(noun + "norm ")) {
        std::vector<Declared> out;
        for (const char* added : {"/beta", "/bias", "/delta"}) {
          d.weight = rest.substr(noun.size() + 5) + added;
          if (nothing && !found(d).empty() && !is_by_position(d.weight)) out.push_back(d);
        }
        return out;
      }
    }
    d.weight = rest;
    if (const std::string noun = "centred bias "; rest.starts_with(noun)) {
      d.weight = rest.substr(noun.size());
      return is_centred(s_) ? found(d) : std::vector<Declared>{};
    }
    return found(d);
  }

 private:
  // Weights that are there: biases, for example, may be switched off.
  [[nodiscard]] std::vector<Declared> found(const Declared& d) const {
    return weights_.contains(d.weight) ? std::vector{d} : std::vector<Declared>{};
  }
  // One element for each position is not the same for all.
  [[nodiscard]] bool is_by_position(const std::string& weight) const {
    if (norm_of(s_).by_position) return true;
    for (const Positions& p : positions_of(s_.c))
      for (const int64_t extent : weights_.at(weight).shape)
        if (extent % p.count == 0) return true;
    return false;
  }
  static double fraction(const std::string& text) {
    const size_t slash = text.find('/');
    return std::stod(text) / (slash == std::string::npos ? 1 : std::stod(text.substr(slash + 1)));
  }

  const Setting& s_;
  const Weights& weights_;
};

struct Verdict {
  std::string text{};   // what does not fit the README
  bool settled = true;  // another draw changes nothing
};

Verdict judge(const Setting& s, const Weights& all, const std::vector<std::string>& says) {
  Verdict v;
  bool others = false;
  std::map<std::string, std::vector<Declared>> declared;
  for (const std::string& clause : says) {
    others = others || clause == "others";
    for (const Declared& d : Reader(s, all).read(clause)) declared[d.weight].push_back(d);
  }
  size_t surplus = 0;
  for (const auto& [name, g] : all) {
    // The norm of a length, inside another norm, has one element and sets it to zero before this factor.
    const bool single = name.ends_with("_layer_norm/gamma") && g.size() == 1;
    bool in_part = false;
    size_t zeros = 0, undeclared = 0, alive = 0;
    const size_t last = g.rank() == 0 ? 1 : static_cast<size_t>(g.dim(-1));
    for (size_t i = 0; i < g.v.size(); ++i) {
      const double at = static_cast<double>(i % last) / static_cast<double>(last) + 1e-9;
      bool inert = single;
      for (const Declared& d : declared[name])
        if (d.in_part)
          in_part = true;
        else
          inert = inert || (at >= d.from && at < d.to);
      const bool zero = !(g.v[i] > 1e-12);
      zeros += zero;
      undeclared += zero && !inert;
      alive += inert && !zero;
    }
    if (others) surplus += undeclared;
    const bool wrong = in_part ? zeros == 0 : alive > 0 || (undeclared > 0 && !others);
    if (wrong)
      v.text += "\n  " + name + ": " + std::to_string(zeros) + " of " + std::to_string(g.v.size()) +
                " elements have no gradient; " + std::to_string(in_part ? 0 : undeclared) +
                " of these are not said to be inert, " + std::to_string(alive) + " others are";
    v.settled = v.settled && !(undeclared > 0 && !others && !in_part);
  }
  if (others && surplus == 0) v.text += "\n  no other weight is inert";
  return v;
}

void examine(Setting s, bool training) {
  s.c.problem.training = training;
  const auto says = claims(s, "Inert");
  INFO(s.told() << (training ? "\n  in training" : ""));
  REQUIRE(says);
  Weights all;
  Verdict v{.settled = false};
  for (uint64_t draw = 0; draw < 36 && !v.settled; ++draw) {
    add_draw(s, draw, all);
    v = judge(s, all, *says);
  }
  INFO(v.text);
  CHECK(v.text.empty());
}

}  // namespace

TEST_CASE("sweep: every weight has a gradient where the README does not call it inert") {
  for (const std::string& type : list_attention_types()) DYNAMIC_SECTION(type) {
      for (const auto* all : {&settings(type), &pairs(type)})
        for (const Setting& s : *all)
          for (const bool training : {false, true})
            if (is_about_numbers(s) && !(training && drops(s.c))) examine(s, training);
    }
}
