// SPDX-License-Identifier: Apache-2.0
//
// Inputs of any size: random layers of every type with their inputs scaled up to 1e15. In float32 everything is finite
// that float64 finds within the range of float32, and a NaN in an input is not lost. relu_k and exponential grow so
// fast that the formula itself leaves every range.
#include <attn/error.hpp>
#include <attn/factory.hpp>
#include <attn/log.hpp>
#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>

#include "tests/oracle/problem.hpp"
#include "tests/properties/own.hpp"

using namespace attn;
using namespace attn::properties;

namespace {

constexpr uint64_t kCases = 60;
constexpr double kScales[] = {1, 1e5, 1e9, 1e15};
// Some settings are refused only by a call, whose shapes they do not fit.
bool accepts(Attention& layer, const Case& c) {
  try {
    static_cast<void>(run(layer, c, c.problem.inputs, spec_of(c)));
    return true;
  } catch (const InvalidArgument&) {
    return false;
  }
}

bool same(const Outputs& a, const Outputs& b) {
  return std::all_of(a.begin(), a.end(),
                     [&](const auto& entry) { return entry.second.v == b.at(entry.first).v; });
}

}  // namespace

TEST_CASE("ranges: inputs up to 1e15 give finite outputs and gradients, for every type") {
  set_log_sink([](LogLevel, std::string_view) {});
  for (const std::string& type : list_attention_types()) {
    if (!oracle::knows(type)) continue;
    for (uint64_t n = 0; n < kCases; ++n) {
      const Case c = make_case({5, type, n});
      if (c.is_long || grows(c)) continue;
      const auto layer32 = make_layer(c, ATTN_F32), layer64 = make_layer(c, ATTN_F64);
      if (!accepts(*layer32, c)) continue;
      for (const double scale : kScales) {
        const auto inputs = scaled(c, scale);
        INFO(c.id.text() << " times " << scale << ": " << c.problem.config.dump() << " "
                         << c.problem.arguments.dump());
        // Of inputs of 1e15 a gradient may be 1e30, and the terms of a weight's 1e45.
        const bool weights = scale < 1e10;
        CHECK(not_finite(everything(*layer32, c, inputs, weights),
                         everything(*layer64, c, inputs, weights)) == "");
      }
    }
  }
}

TEST_CASE("ranges: a NaN in an input is in the output, for every type") {
  set_log_sink([](LogLevel, std::string_view) {});
  for (const std::string& type : list_attention_types()) {
    if (!oracle::knows(type)) continue;
    for (uint64_t n = 0; n < kCases; ++n) {
      const Case c = make_case({6, type, n});
      if (c.is_long || c.problem.training) continue;
      bool masked = false;
      for (const auto& [name, t] : c.problem.inputs) masked = masked || is_mask(c, name);
      if (masked) continue;
      for (const attn_dtype dtype : {ATTN_F32, ATTN_F64}) {
        const auto layer = make_layer(c, dtype);
        if (!accepts(*layer, c)) continue;
        for (const auto& [name, t] : c.problem.inputs) {
          auto inputs = c.problem.inputs;
          const Outputs still = run(*layer, c, inputs, spec_of(c));
          inputs[name].v.back() += 1;
          // A query group without keys, for one, looks at nothing.
          if (same(still, run(*layer, c, inputs, spec_of(c)))) continue;
          inputs[name].v.back() = std::nan("");
          bool lost = true;
          for (const auto& [output, y] : run(*layer, c, inputs, spec_of(c)))
            for (const double e : y.v) lost = lost && !std::isnan(e);
          INFO(c.id.text() << ", " << name << ": " << c.problem.config.dump() << " "
                           << c.problem.arguments.dump());
          CHECK_FALSE(lost);
        }
      }
    }
  }
}
