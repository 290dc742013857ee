// SPDX-License-Identifier: Apache-2.0
//
// Multiplies its input by FIXTURE_FACTOR: two builds of it take turns in one file.
#include <attn/sdk/plugin.hpp>

using namespace attn::sdk;

namespace {

struct Params {};

struct Swap : Layer<Params> {
  static constexpr TypeInfo info{.id = "fixture.swap",
                                 .class_name = "Swap",
                                 .description = "Its input, times a number.",
                                 .use_case = "Tests.",
                                 .input_shape = "(batch, seq, dim)",
                                 .complexity = "O(1)",
                                 .paper = "none"};
  static void describe(Schema<Params>& s) {
    s.input("inputs", {"batch, seq, dim"}).doc("a sequence");
    s.output("output", "batch, seq, dim").doc("times the number");
  }
  void build(Builder&) {}
  void forward(Call& c) const { c.output(0, mul(c.input(0), FIXTURE_FACTOR)); }
};

}  // namespace

ATTN_PLUGIN("swap", FIXTURE_VERSION, "Apache-2.0", Swap)
