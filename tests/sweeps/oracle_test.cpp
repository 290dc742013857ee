// SPDX-License-Identifier: Apache-2.0
//
// Every setting in float64 against the oracle, which is written from the specification alone.
#include <attn/factory.hpp>
#include <catch2/catch.hpp>

#include "host/check/generator/settings.hpp"
#include "tests/oracle/parts.hpp"

using namespace attn;
using namespace attn::check;

namespace {

// Both sum some dozens of numbers, in different orders: 4500 eps of the largest result.
constexpr double kTolerance = 1e-12;

void examine(const Setting& s, bool training) {
  Case c = s.c;
  c.problem.training = training;
  const auto layer = make_layer(c, ATTN_F64);
  c.problem.weights = weights_of(*layer);
  const oracle::Answer expected = oracle::solve(c.problem);
  Call call(*layer, c, c.problem.inputs, spec_of(c));
  const Outputs found = call.run();
  call.commit();
  INFO(s.told() << (training ? "\n  in training" : ""));
  CHECK(found.size() == expected.outputs.size());
  const auto compare = [&](const std::string& name, const Tensor& now, const Tensor& right) {
    INFO(name << ", largest " << magnitude(right));
    CHECK(largest_difference(now, right) <= kTolerance * magnitude(right));
  };
  for (const auto& [name, right] : expected.outputs) {
    INFO(name);
    REQUIRE(found.contains(name));
    compare(name, found.at(name), right);
  }
  for (const auto& [name, right] : expected.statistics)
    compare(name, oracle::reshape(to_tensor(layer->weight(name)), right.shape), right);
}

}  // namespace

TEST_CASE("sweep: every setting gives in float64 what the oracle gives, to 1e-12") {
  for (const std::string& type : list_attention_types()) DYNAMIC_SECTION(type) {
      for (const auto* all : {&settings(type), &pairs(type)})
        for (const Setting& s : *all)
          for (const bool training : {false, true})
            // The oracle draws no random numbers.
            if (is_about_numbers(s) && !(training && drops(s.c))) examine(s, training);
    }
}
