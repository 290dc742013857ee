// SPDX-License-Identifier: Apache-2.0
//
// The gradient of scaled_dot_product_attention: in double against differences of the definition, in the other kinds
// against double.
#include "core/cpu/level.hpp"
#include "tests/functional/arrays.hpp"

using namespace attn;
using namespace attn::naive;

namespace {

struct Cotangents {
  Tensor dy{}, dlse{};
  Held y{}, lse{};
  bool use_y = true, use_lse = false;
};

Cotangents cotangents(const Call& c, unsigned seed) {
  Random r(seed + 77);
  Cotangents x{Tensor(c.b, c.h, c.l, c.e), Tensor(c.b, c.h, c.l, 1)};
  r.fill(x.dy), r.fill(x.dlse);
  x.use_lse = seed % 2 == 0, x.use_y = seed % 4 != 0;
  x.y = hold(x.dy, c.dtype, false, c.three);
  x.lse = hold(x.dlse, c.dtype == ATTN_F64 ? ATTN_F64 : ATTN_F32, false);
  x.lse.view = ConstView(x.lse.memory.raw(), x.lse.memory.dtype(), {c.b, c.h, c.l});
  return x;
}

ScaledDotProductGradients gradients(const Call& c, const Cotangents& x) {
  const Arguments a(c, c.l % 2 == 1);
  ScaledDotProductCotangents cotangents;
  if (x.use_y) cotangents.dy = x.y.view;
  if (x.use_lse) cotangents.dlse = x.lse.view;
  return scaled_dot_product_attention_backward(a.q.view, a.k.view, a.v.view, a.options, cotangents);
}

double loss(const Call& c, const Cotangents& x) {
  const naive::Result r = solve(c);
  double sum = 0;
  for (size_t i = 0; x.use_y && i < r.y.x.size(); ++i) sum += r.y.x[i] * x.dy.x[i];
  for (size_t i = 0; x.use_lse && i < r.lse.x.size(); ++i)
    if (r.lse.x[i] != kNever) sum += r.lse.x[i] * x.dlse.x[i];
  return sum;
}

// The gradient of one input, and where its numbers stand in the call.
struct Input {
  const char* name;
  Tensor Call::*tensor;
  Tensor gradient;
};
std::vector<Input> inputs(const Call& c, const ScaledDotProductGradients& g) {
  std::vector<Input> all{{"query", &Call::q, read(g.query, c.h, c.three)},
                         {"key", &Call::k, read(g.key, c.g, c.three)},
                         {"value", &Call::v, read(g.value, c.g, c.three)}};
  REQUIRE(g.past_key.has_value() == c.has_past);
  REQUIRE(g.past_value.has_value() == c.has_past);
  REQUIRE(g.sinks.has_value() == c.has_sinks);
  REQUIRE(g.attn_mask.has_value() == (c.mask_kind == Mask::additive));
  const auto flat = [](const Array& a, const Tensor& like) {
    Tensor t = like;
    const Array x = a.astype(ATTN_F64);
    t.x.assign(x.data<double>(), x.data<double>() + x.size());
    return t;
  };
  if (c.has_past) {
    all.push_back({"past_key", &Call::past_k, read(*g.past_key, c.g, false)});
    all.push_back({"past_value", &Call::past_v, read(*g.past_value, c.g, false)});
  }
  if (c.has_sinks) all.push_back({"sinks", &Call::sinks, flat(*g.sinks, c.sinks)});
  if (c.mask_kind == Mask::additive)
    all.push_back({"mask", &Call::mask, flat(*g.attn_mask, c.mask)});
  return all;
}

}  // namespace

TEST_CASE("functional backward: double agrees with differences of the definition") {
  size_t examined = 0;
  for (unsigned seed = 0; seed < 500; ++seed) {
    Call c = random_call(seed, false);
    c.dtype = ATTN_F64;
    const Cotangents x = cotangents(c, seed);
    INFO("seed " << seed << ": " << c.text());
    Random r(seed);
    for (Input& in : inputs(c, gradients(c, x))) {
      INFO(in.name);
      REQUIRE(in.gradient.x.size() == (c.*in.tensor).x.size());
      for (int n = 0; n < 4 && !in.gradient.x.empty(); ++n) {
        const auto i =
            static_cast<size_t>(r.from(0, static_cast<int64_t>(in.gradient.x.size()) - 1));
        double& value = (c.*in.tensor).x[i];
        const double before = value, h = 1e-5;
        if (!std::isfinite(before)) continue;
        value = before + h;
        const double up = loss(c, x);
        value = before - h;
        const double down = loss(c, x);
        value = before;
        const double expected = (up - down) / (2 * h);
        // Truncation h^2 times a third derivative, rounding eps times the loss / h.
        CHECK(std::abs(in.gradient.x[i] - expected) <= 1e-8 * (1 + std::abs(expected)) * 10);
        ++examined;
      }
    }
  }
  CHECK(examined > 5000);
}

TEST_CASE("functional backward: every kind and level agrees with double") {
  const cpu::Level before = cpu::level();
  for (const bool large : {false, true})
    for (unsigned seed = 0; seed < (large ? 40u : 500u); ++seed) {
      Call c = random_call(seed, large);
      const attn_dtype dtype = c.dtype == ATTN_F64 ? ATTN_F32 : c.dtype;
      c.dtype = ATTN_F64;
      const std::vector<Input> expected = inputs(c, gradients(c, cotangents(c, seed)));
      c.dtype = dtype;
      INFO("seed " << seed << ": " << c.text());
      for (const cpu::Level level : cpu::available()) {
        cpu::set_level(level);
        const std::vector<Input> found = inputs(c, gradients(c, cotangents(c, seed)));
        for (size_t i = 0; i < found.size(); ++i) {
          INFO(cpu::name(level) << " " << found[i].name);
          // Sums over all queries of a head's group, or over all that a mask's element repeats for.
          double largest = 1;
          for (const double g : expected[i].gradient.x) largest = std::max(largest, std::abs(g));
          const double terms =
              std::sqrt(static_cast<double>(c.b * c.h * std::max<int64_t>(c.l, 1)));
          CHECK(difference(found[i].gradient, expected[i].gradient) <=
                tolerance(c) * (2 + terms / 4) * largest);
        }
      }
    }
  cpu::set_level(before);
}

TEST_CASE("functional backward: what is not asked for is not written, the rest is the same") {
  Call c = random_call(12, false);
  c.dtype = ATTN_F32;
  const Cotangents x = cotangents(c, 4);
  const Arguments a(c, c.l % 2 == 1);
  ScaledDotProductCotangents given;
  if (x.use_y) given.dy = x.y.view;
  if (x.use_lse) given.dlse = x.lse.view;
  const auto all =
      scaled_dot_product_attention_backward(a.q.view, a.k.view, a.v.view, a.options, given);
  Array key(c.dtype, all.key.shape());
  scaled_dot_product_attention_backward(a.q.view, a.k.view, a.v.view, a.options, given,
                                        {.key = key.view()});
  CHECK(key.to_vector<float>() == all.key.to_vector<float>());
}
