// SPDX-License-Identifier: Apache-2.0
//
// Initial weights: those that are drawn at random have streams of their own, and an option that adds a weight leaves
// the others as they are.
#include <attn/factory.hpp>
#include <catch2/catch.hpp>

#include <algorithm>

#include "host/check/generator/settings.hpp"

using namespace attn;
using namespace attn::check;

namespace {

using Weights = std::map<std::string, Tensor>;

// Of a layer just built, what training may change.
Weights initial(const Setting& s, uint64_t seed) {
  const auto layer = create_attention_layer(s.type, s.c.problem.config, "layer");
  layer->build(shapes_of(s.c), {.dtype = ATTN_F64, .seed = seed});
  Weights out;
  for (const WeightInfo& w : layer->weights())
    if (w.trainable) out[w.name] = to_tensor(layer->weight(w.name));
  return out;
}

// Random numbers: of some length, and neither constant nor the rows of an identity.
bool is_drawn(const Tensor& t) {
  std::vector<double> values = t.v;
  std::sort(values.begin(), values.end());
  return values.size() >= 4 && std::unique(values.begin(), values.end()) - values.begin() >
                                   static_cast<std::ptrdiff_t>(values.size() / 2);
}

// The same numbers up to a factor and a constant, as long as the shorter one is: what one stream gives to two shapes.
bool share(const Tensor& a, const Tensor& b) {
  const size_t n = std::min(a.v.size(), b.v.size());
  double ma = 0, mb = 0, aa = 0, bb = 0, ab = 0;
  for (size_t i = 0; i < n; ++i) ma += a.v[i], mb += b.v[i];
  for (size_t i = 0; i < n; ++i) {
    const double x = a.v[i] - ma / static_cast<double>(n), y = b.v[i] - mb / static_cast<double>(n);
    aa += x * x, bb += y * y, ab += x * y;
  }
  return std::fabs(ab) > (1 - 1e-9) * std::sqrt(aa * bb);
}

}  // namespace

TEST_CASE("sweep: no two random weights of a layer share their numbers") {
  for (const std::string& type : list_attention_types()) DYNAMIC_SECTION(type) {
      for (const Setting& s : settings(type))
        for (const uint64_t seed : {0, 3}) {
          const Weights weights = initial(s, seed);
          for (auto a = weights.begin(); a != weights.end(); ++a)
            for (auto b = std::next(a); b != weights.end(); ++b) {
              if (!is_drawn(a->second) || !is_drawn(b->second)) continue;
              INFO(s.told() << "\n  seed " << seed << ": " << a->first << " and " << b->first);
              CHECK_FALSE(share(a->second, b->second));
            }
        }
    }
}

TEST_CASE("sweep: two seeds draw two layers, one seed the same one") {
  for (const std::string& type : list_attention_types()) DYNAMIC_SECTION(type) {
      const Setting& s = settings(type).front();
      const Weights a = initial(s, 1), again = initial(s, 1), other = initial(s, 2);
      for (const auto& [name, value] : a) {
        INFO(s.told() << "\n  " << name);
        CHECK(again.at(name).v == value.v);
        if (is_drawn(value)) CHECK_FALSE(share(other.at(name), value));
      }
    }
}

TEST_CASE("sweep: a weight that an option adds leaves the others as they were drawn") {
  for (const std::string& type : list_attention_types()) DYNAMIC_SECTION(type) {
      const Weights base = initial(settings(type).front(), 3);
      for (const Setting& s : settings(type)) {
        if (s.change.of == ChangeOf::initializer) continue;
        const Weights weights = initial(s, 3);
        for (const auto& [name, value] : weights) {
          const auto before = base.find(name);
          if (before == base.end() || before->second.shape != value.shape || !is_drawn(value))
            continue;
          INFO(s.told() << "\n  " << name << " was drawn otherwise");
          CHECK(before->second.v == value.v);
        }
      }
    }
}
