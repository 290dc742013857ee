// SPDX-License-Identifier: Apache-2.0
//
// Weights that never have a gradient. The subject of such a claim, as host/docs/claims.md defines the words:
//
//   key bias W            the same for all keys: nothing where a probability runs over the keys
//   query bias W          the same for all queries: nothing where it runs over the queries
//   key norm SITE         beta, bias and delta of a norm behind which keys meet queries; query norm SITE likewise
//   centred bias W        nothing where a norm takes off the mean over positions
//   W                     by itself;  SITE/: all weights below it
//   others                further weights, not all
//   W [1/3 .. 2/3)        that part of the last axis;  W in part: some elements
#include <attn/factory.hpp>

#include <set>

#include "host/check/claims/trial.hpp"
#include "host/check/mathematics/checks.hpp"

namespace attn::check {
namespace {

using Weights = std::map<std::string, Tensor>;

// Raises `known` to the magnitudes of the gradients of one draw of weights and inputs, relative to the largest. Draws
// have several sizes: what is switched off or saturated in one is on in another.
void add_draw(const Case& the_case, uint64_t draw, Weights& known) {
  constexpr double kSizes[] = {1, 0.1, 3, 1, 10, 0.02};
  const double size = kSizes[draw % std::size(kSizes)];
  Case c = the_case;
  c.weights = draw + 1;
  for (auto& [name, input] : c.problem.inputs) {
    Random random(draw, name, 7);
    if (!is_mask(c, name))
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
  // Of every output: what a weight does to any of them counts.
  Outputs cotangents = call.run();
  for (auto& [name, cotangent] : cotangents) {
    Random random(draw, name == output_of(*layer) ? "cotangent" : "cotangent of " + name, 0);
    for (double& x : cotangent.v) x = random.single();
  }
  Gradients gradients(*layer);
  call.backward(cotangents, gradients);
  Weights now;
  double largest = 0;
  for (const auto& g : gradients.entries()) {
    if (!g.trained) continue;
    now[g.name] = to_tensor(g.gradient.view());
    largest = std::max(largest, magnitude(now[g.name]));
  }
  for (const auto& [name, g] : now) {
    Tensor& all = known.try_emplace(name, Tensor(g.shape)).first->second;
    // What rounding leaves of a call that is saturated says nothing.
    for (size_t i = 0; i < g.v.size() && largest > 1e-8; ++i)
      all.v[i] = std::max(all.v[i], std::fabs(g.v[i]) / largest);
  }
}

// ---- what is declared -----------------------------------------------------------------------------

bool runs_over(const Case& c, size_t axis) {
  return probability_axes(c) == std::vector<size_t>{axis};
}

// A number added to all scores of a row changes nothing.
bool shifts(const Case& c) {
  const Json sinks = parameter(c, "use_sinks");
  return parameter(c, "softcap").is_null() && !(sinks.is_bool() && sinks.as_bool());
}

// The norm of queries and keys, and the axis in its options; -1: none is given, or several.
struct QueryKeyNorm {
  std::string name{};
  Json axis = -1;
  bool by_position = false;  // its weights belong to positions
};
QueryKeyNorm norm_of(const Case& c) {
  QueryKeyNorm out;
  const Json name = parameter(c, "qk_norm_type");
  const Json options = parameter(c, "qk_norm_kwargs");
  if (name.is_string()) out.name = name.as_string();
  const Json* axis = options.is_object() ? options.find("axis") : nullptr;
  if (!axis) return out;
  // Of (batch, head, position, width), or without heads.
  const int64_t rank = has_parameter(*find_attention_type(c.id.type).type, "num_heads") ? 4 : 3;
  const auto from_end = [rank](const Json& j) {
    const int64_t a = *j.to_int64();
    return a > 0 ? a - rank : a;
  };
  if (axis->is_integer()) out.axis = from_end(*axis);
  out.by_position = out.axis == Json(-2);
  for (size_t i = 0; axis->is_list() && i < axis->size(); ++i)
    out.by_position = out.by_position || from_end(axis->at(i)) == -2;
  return out;
}

// It takes off what is the same at all positions.
bool is_centred(const Case& c) {
  const QueryKeyNorm norm = norm_of(c);
  return norm.axis == Json(-2) && (norm.name == "layer_norm" || norm.name.starts_with("zero_"));
}

// It stands between what is added and the scores. Outside of training that of a batch has constants of its own, and
// lets through what is the same at all positions, unless its constants belong to them.
bool is_normed(const Case& c) {
  const QueryKeyNorm norm = norm_of(c);
  return !norm.name.empty() && (norm.name.find("batch_norm") == std::string::npos ||
                                norm.by_position || c.problem.training);
}

struct Declared {
  std::string weight{};
  double from = 0, to = 1;  // of the last axis
  bool in_part = false;
  size_t claim = 0;  // its place among those of the trial
};

class Reader {
 public:
  Reader(const Case& c, const Weights& weights) : c_(c), weights_(weights) {}

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
      const bool nothing = runs_over(c_, key ? 3 : 2) && shifts(c_);
      if (rest.starts_with(noun + "bias ")) {
        d.weight = rest.substr(noun.size() + 5);
        return (is_normed(c_) ? is_centred(c_) : nothing) ? found(d) : std::vector<Declared>{};
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
      return is_centred(c_) ? found(d) : std::vector<Declared>{};
    }
    return found(d);
  }

 private:
  // Weights that are there: biases, for example, may be switched off.
  [[nodiscard]] std::vector<Declared> found(const Declared& d) const {
    std::vector<Declared> out;
    for (const auto& [name, unused] : weights_)
      if (name == d.weight || (d.weight.ends_with('/') && name.starts_with(d.weight))) {
        out.push_back(d);
        out.back().weight = name;
      }
    return out;
  }
  // One element for each position is not the same for all.
  [[nodiscard]] bool is_by_position(const std::string& weight) const {
    if (norm_of(c_).by_position) return true;
    for (const Positions& p : positions_of(c_))
      for (const int64_t extent : weights_.at(weight).shape)
        if (extent % p.count == 0) return true;
    return false;
  }
  static double fraction(const std::string& text) {
    const size_t slash = text.find('/');
    return std::stod(text) / (slash == std::string::npos ? 1 : std::stod(text.substr(slash + 1)));
  }

  const Case& c_;
  const Weights& weights_;
};

InertFinding judge(const ClaimTrial& t, const Weights& all) {
  InertFinding out;
  std::optional<size_t> others;
  std::map<std::string, std::vector<Declared>> declared;
  for (size_t i = 0; i < t.claims.size(); ++i) {
    if (t.claims[i].name != "inert") continue;
    if (t.claims[i].subject == "others") others = i, out.seen.push_back(i);
    for (Declared d : Reader(t.c, all).read(t.claims[i].subject)) {
      d.claim = i;
      declared[d.weight].push_back(d);
      out.seen.push_back(i);
    }
  }
  const auto refute = [&](size_t claim, const std::string& text) {
    out.refuted.emplace_back(claim, text);
  };
  size_t surplus = 0;
  for (const auto& [name, g] : all) {
    // The norm of a length, inside another norm, has one element and sets it to zero before this factor.
    const bool single = name.ends_with("_layer_norm/gamma") && g.size() == 1;
    const Declared* in_part = nullptr;
    size_t zeros = 0, undeclared = 0;
    const size_t last = g.rank() == 0 ? 1 : static_cast<size_t>(g.dim(-1));
    std::set<size_t> wrong;
    for (size_t i = 0; i < g.v.size(); ++i) {
      const double at = static_cast<double>(i % last) / static_cast<double>(last) + 1e-9;
      // Rounding leaves more behind where numbers of very different sizes meet.
      const bool zero = !(g.v[i] > 1e-12), alive = g.v[i] > 1e-10;
      bool inert = single;
      for (const Declared& d : declared[name])
        if (d.in_part)
          in_part = &d;
        else if (at >= d.from && at < d.to) {
          inert = true;
          if (alive && wrong.insert(d.claim).second)
            refute(d.claim, name + "[" + std::to_string(i) + "] has a gradient of " +
                                Json(g.v[i]).dump() + " of the largest");
        }
      zeros += zero;
      undeclared += zero && !inert;
    }
    if (in_part && zeros == 0)
      refute(in_part->claim, "every element of " + name + " has a gradient");
    surplus += undeclared;
    if (undeclared > 0 && !others && !in_part && !has_program(t.c))
      out.undeclared.push_back(name + ": " + std::to_string(undeclared) + " of " +
                               std::to_string(g.v.size()) +
                               " elements have no gradient, and no claim says so");
  }
  if (others && surplus == 0) refute(*others, "no other weight is inert");
  return out;
}

}  // namespace

InertFinding try_inert(const ClaimTrial& t, int64_t least_draws, int64_t most_draws) {
  Weights all;
  InertFinding f;
  for (int64_t draw = 0; draw < most_draws; ++draw) {
    if (draw >= least_draws && f.refuted.empty() && f.undeclared.empty()) break;
    add_draw(t.c, static_cast<uint64_t>(draw), all);
    f = judge(t, all);
    f.draws = draw + 1;
  }
  return f;
}

}  // namespace attn::check
