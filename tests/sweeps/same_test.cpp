// SPDX-License-Identifier: Apache-2.0
//
// No two types compute the same function of their inputs and weights, in any of their settings, unless both READMEs
// say so; and where they do, it is so.
#include <attn/factory.hpp>
#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "tests/sweeps/claims.hpp"

using namespace attn;
using namespace attn::check;
using sweeps::claims;

namespace {

// Weights of one part of a layer: "w_q" of w_q/kernel and w_q/bias.
struct Part {
  std::string shapes{};
  std::vector<std::string> names{};
};

std::vector<Part> parts_of(const Attention& layer) {
  std::vector<Part> out;
  std::vector<std::string> sites;
  for (const WeightInfo& w : layer.weights()) {
    if (!w.trainable) continue;
    const std::string site = w.name.substr(0, w.name.rfind('/'));
    size_t i = static_cast<size_t>(std::find(sites.begin(), sites.end(), site) - sites.begin());
    if (i == sites.size()) sites.push_back(site), out.emplace_back();
    out[i].shapes += w.shape.to_string();
    out[i].names.push_back(w.name);
  }
  std::stable_sort(out.begin(), out.end(),
                   [](const Part& a, const Part& b) { return a.shapes < b.shapes; });
  return out;
}

// What two settings must have in common to be compared: shapes of inputs, parts and arguments that change results.
std::string kind_of(const Setting& s, const Attention& layer) {
  std::string out;
  for (const Positions& p : positions_of(s.c))
    for (const std::string& name : p.inputs)
      out += Shape(s.c.problem.inputs.at(name).shape).to_string();
  for (const Part& p : parts_of(layer)) out += "|" + p.shapes;
  return out;
}

// Results with weights that are the same for the same place in the order of equal parts.
Tensor result(const Setting& s, const std::vector<size_t>& order) {
  const auto layer = make_layer(s.c, ATTN_F64);
  const std::vector<Part> parts = parts_of(*layer);
  for (size_t i = 0; i < parts.size(); ++i)
    for (size_t j = 0; j < parts[i].names.size(); ++j) {
      Tensor value = to_tensor(layer->weight(parts[i].names[j]));
      Random random(order[i], parts[i].shapes, j);
      for (double& x : value.v) x = random.uniform(-0.5, 0.5);
      layer->set_weight(parts[i].names[j], to_array(value, ATTN_F64).view());
    }
  std::map<std::string, Tensor> inputs;
  size_t n = 0;
  for (const Positions& p : positions_of(s.c))
    for (const std::string& name : p.inputs) {
      Tensor x = s.c.problem.inputs.at(name);
      Random random(99, "input", n++);
      for (double& e : x.v) e = random.uniform(-1, 1);
      inputs[name] = std::move(x);
    }
  return run(*layer, s.c, inputs, spec_of(s.c)).at("output");
}

// Every order of parts that exchanges equal ones.
std::vector<std::vector<size_t>> orders_of(const std::vector<Part>& parts) {
  std::vector<size_t> order(parts.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::vector<std::vector<size_t>> out;
  do {
    bool fits = true;
    for (size_t i = 0; i < order.size(); ++i)
      fits = fits && parts[order[i]].shapes == parts[i].shapes;
    if (fits) out.push_back(order);
  } while (std::next_permutation(order.begin(), order.end()));
  return out;
}

// A mask belongs to a call; without one types are compared.
bool is_masked(const Setting& s) {
  return s.change.of == ChangeOf::input && s.change.name.find("mask") != std::string::npos;
}

struct Candidate {
  const Setting* setting = nullptr;
  Tensor output{};
};

// Where results that are the same, to rounding, are found.
std::string key_of(const Tensor& y) {
  std::string out;
  for (size_t i = 0; i < std::min<size_t>(y.v.size(), 4); ++i)
    out += std::to_string(std::lround(y.v[i] * 1e5)) + " ";
  return out;
}

// Rows that are all the same are the result of no attention at all.
bool is_trivial(const Tensor& y) {
  return std::all_of(y.v.begin(), y.v.end(), [&](double x) { return x == y.v[0]; });
}

bool says(const Setting& s, const std::string& other) {
  const auto found = claims(s, "Same function");
  return found && std::find(found->begin(), found->end(), other) != found->end();
}

}  // namespace

TEST_CASE("sweep: no two types compute the same unless both READMEs say so") {
  std::map<std::string, std::vector<const Setting*>> kinds;
  std::map<std::string, std::set<std::string>> types;
  for (const std::string& type : list_attention_types())
    for (const auto* all : {&settings(type), &pairs(type)})
      for (const Setting& s : *all) {
        if (!is_about_numbers(s) || is_masked(s)) continue;
        const auto layer = make_layer(s.c, ATTN_F64);
        const std::string kind = kind_of(s, *layer);
        kinds[kind].push_back(&s);
        types[kind].insert(type);
      }
  std::set<std::pair<std::string, std::string>> same;
  for (const auto& [kind, all] : kinds) {
    if (types[kind].size() < 2) continue;
    std::map<std::string, std::vector<Candidate>> results;
    for (const Setting* s : all) {
      const std::vector<Part> parts = parts_of(*make_layer(s->c, ATTN_F64));
      std::vector<size_t> order(parts.size());
      std::iota(order.begin(), order.end(), size_t{0});
      const Tensor y = result(*s, order);
      if (!is_trivial(y)) results[key_of(y)].push_back({s, y});
    }
    for (const Setting* s : all) {
      const std::vector<Part> parts = parts_of(*make_layer(s->c, ATTN_F64));
      for (const std::vector<size_t>& order : orders_of(parts)) {
        const Tensor y = result(*s, order);
        const auto near = results.find(key_of(y));
        if (near == results.end()) continue;
        for (const Candidate& other : near->second) {
          if (other.setting->type == s->type) continue;
          if (largest_difference(y, other.output) > 1e-9 * magnitude(y)) continue;
          same.insert({s->type, other.setting->type});
          INFO(s->told() << "\n  computes the same as " << other.setting->told());
          CHECK(says(*s, other.setting->type));
          CHECK(says(*other.setting, s->type));
        }
      }
    }
  }
  for (const std::string& type : list_attention_types())
    for (const Setting& s : settings(type))
      if (const auto claimed = claims(s, "Same function"))
        for (const std::string& other : *claimed) {
          if (other == type) continue;  // a README of both
          INFO(s.told() << "\n  is said to compute the same as " << other << ", and does not");
          CHECK(same.contains({type, other}));
        }
}
