// SPDX-License-Identifier: Apache-2.0
//
// Whether the order of the positions matters, in both directions: what a README calls equivariant follows every
// exchange of positions, what it calls invariant does not notice one, and what it calls sensitive does change.
#include <attn/factory.hpp>
#include <catch2/catch.hpp>

#include "tests/sweeps/claims.hpp"

using namespace attn;
using namespace attn::check;
using sweeps::claims;

namespace {

// Another order of 0..n-1; parts, where there are any, keep their positions among themselves.
std::vector<int64_t> order(int64_t n, const std::vector<int64_t>& parts) {
  std::vector<int64_t> out;
  for (const int64_t part : parts.empty() ? std::vector{n} : parts) {
    const int64_t begin = static_cast<int64_t>(out.size());
    for (int64_t i = 0; i < part; ++i)
      out.push_back(begin + static_cast<int64_t>(cycled(5, "order", static_cast<uint64_t>(i),
                                                        static_cast<size_t>(part))));
  }
  return out;
}

Tensor moved(const Tensor& x, const std::vector<int64_t>& to) {
  Tensor out = x;
  for (int64_t b = 0; b < x.dim(0); ++b)
    for (size_t n = 0; n < to.size(); ++n) {
      const auto [from, end] = position(x, b, to[n]);
      std::copy(x.v.begin() + static_cast<std::ptrdiff_t>(from),
                x.v.begin() + static_cast<std::ptrdiff_t>(end),
                out.v.begin() +
                    static_cast<std::ptrdiff_t>(position(x, b, static_cast<int64_t>(n)).first));
    }
  return out;
}

// All positions have the same result, as behind a gate over one channel: there is no order to see.
bool is_uniform(const Tensor& y) {
  const double allowed = 1e-12 * magnitude(y);
  const int64_t count = y.size() / (y.dim(0) * y.dim(-1));
  for (int64_t b = 0; b < y.dim(0); ++b)
    for (int64_t n = 1; n < count; ++n)
      for (int64_t i = 0; i < y.dim(-1); ++i) {
        const auto at = static_cast<size_t>(i);
        const double first = y.v[position(y, b, 0).first + at];
        if (std::fabs(y.v[position(y, b, n).first + at] - first) > allowed) return false;
      }
  return true;
}

// Lengths of the parts that an argument names: a list, or the first so many and the rest.
std::vector<int64_t> parts_of(const Setting& s, const std::string& argument, int64_t count) {
  const Json& value = s.c.problem.arguments.at(argument);
  if (value.is_integer()) return {*value.to_int64(), count - *value.to_int64()};
  std::vector<int64_t> out;
  for (const Json& j : value.as_list()) out.push_back(*j.to_int64());
  return out;
}

// A norm or an activation over positions may have a weight for each of them.
bool has_weight_by_position(const Attention& layer, int64_t count) {
  for (const WeightInfo& w : layer.weights())
    for (const int64_t extent : w.shape)
      if (extent % count == 0 && w.trainable) return true;
  return false;
}

void examine(const Setting& s) {
  const auto layer = make_layer(s.c, ATTN_F64);
  const auto output = [&](const auto& inputs) {
    return run(*layer, s.c, inputs, spec_of(s.c)).at("output");
  };
  const Tensor y = output(s.c.problem.inputs);
  const bool uniform = is_uniform(y);
  INFO(s.told());
  if (s.text.empty() && y.dim(1) > 1) CHECK_FALSE(uniform);
  const std::vector<Positions> all = positions_of(s.c);
  for (size_t g = 0; g < all.size(); ++g) {
    const std::string what = g == 0 ? "Order" : "Order of " + all[g].name;
    const auto says = claims(s, what);
    INFO("the README has no paragraph '" << what << ": ...'");
    REQUIRE((says && !says->empty()));
    std::string sense = says->back();
    if (has_weight_by_position(*layer, all[g].count)) sense = "sensitive";
    constexpr const char* kInside = "equivariant inside ";
    const bool inside = sense.starts_with(kInside);
    const auto change = [&](const std::vector<int64_t>& parts, bool follows) {
      const std::vector<int64_t> to = order(all[g].count, parts);
      auto inputs = s.c.problem.inputs;
      for (const std::string& name : all[g].inputs) inputs[name] = moved(inputs.at(name), to);
      return largest_difference(output(inputs), follows ? moved(y, to) : y) /
             std::max(magnitude(y), 1e-300);
    };
    // Sums are taken in another order; what order makes of numbers of this size is far larger.
    constexpr double kSame = 1e-9;
    INFO(what << ": " << sense);
    if (inside) {
      const auto parts = parts_of(s, sense.substr(std::string(kInside).size()), all[g].count);
      CHECK(change(parts, true) <= kSame);
      CHECK((change({}, true) > kSame || uniform));
    } else if (sense == "sensitive") {
      CHECK((change({}, g == 0) > kSame || uniform));
    } else {
      CHECK((sense == "equivariant" || sense == "invariant"));
      CHECK(change({}, sense == "equivariant") <= kSame);
    }
  }
}

}  // namespace

TEST_CASE("sweep: the order of positions matters exactly where the README says so") {
  for (const std::string& type : list_attention_types()) DYNAMIC_SECTION(type) {
      for (const Setting& s : settings(type)) {
        const bool masked =
            s.change.of == ChangeOf::input && s.change.name.find("mask") != std::string::npos;
        if (is_about_numbers(s) && !masked) examine(s);
      }
      for (const Setting& s : pairs(type)) examine(s);
    }
}
