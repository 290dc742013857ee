// SPDX-License-Identifier: Apache-2.0
//
// A type whose calls can be cut by the batch, with an input that has none; and one that claims so and cannot.
#include <attn/sdk/plugin.hpp>

#include <algorithm>
#include <array>

using namespace attn::sdk;

namespace {

struct stumble {
  static constexpr const char* name = "fixture.stumble";
  static constexpr const char* doc = "has no gradient where it is asked for one";
  static constexpr uint32_t version = 1, inputs = 1, outputs = 1;
  static constexpr std::array<attn_param, 0> attributes{};
  static void shape(OpCall c) { c.out_like(0, *c.in(0)); }
  template <class T>
  static void forward(OpCall c) {
    std::copy_n(data<const T>(*c.in(0)), size_of(*c.in(0)), data<T>(*c.out(0)));
  }
  template <class T>
  static void vjp(OpCall) {
    fail("it stumbles");
  }
};

struct Params {
  double rate = 0;
  bool reads_batch = false, passes_on = false, stumbles = false;
};

struct Shared : Layer<Params> {
  static constexpr TypeInfo info{.id = "fixture.shared",
                                 .class_name = "Shared",
                                 .description = "Rows times a table that they share.",
                                 .use_case = "Tests.",
                                 .input_shape = "(batch, n, width)",
                                 .complexity = "O(n)",
                                 .paper = "none"};
  static void describe(Schema<Params>& s) {
    s.field("rate", &Params::rate).doc("of dropout");
    s.field("reads_batch", &Params::reads_batch).doc("the output's shape follows the batch");
    s.field("stumbles", &Params::stumbles).doc("the backward pass fails");
    s.field("passes_on", &Params::passes_on).doc("the input is the output");
    s.input("inputs", {"batch, n, width"}).doc("rows");
    s.input("table", {"n, width"}).doc("what all rows are multiplied with");
    s.input("unused", {"batch, n"}).optional().doc("nothing looks at it");
    s.output("output", "batch, n, width");
    s.claim(Claim::batch_independent);
  }
  void build(Builder&) {}
  void forward(Call& c) const {
    if (p.passes_on) return c.output(0, c.input(0));
    Tensor y = mul(mul(c.input(0), c.input(1)), c.input(1));
    y = dropout(c, y, p.rate);
    if (p.reads_batch) y = y.slice(1, 0, y.dim(0) >= 40 ? y.dim(1) : y.dim(1) - 1);
    c.output(0, p.stumbles ? call<stumble>({y}) : y);
  }
};

}  // namespace

ATTN_PLUGIN("shared", "1.0.0", "Apache-2.0", Shared, Operator<stumble>)
