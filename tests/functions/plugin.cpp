// SPDX-License-Identifier: Apache-2.0
//
// A type that computes one of functions.def, chosen by name: the functions as a third party calls them.
#include <attn/sdk/plugin.hpp>

#include <map>
#include <string>

using namespace attn::sdk;

namespace {

using Function = Tensor (*)(const Tensor& x, const Tensor& y, const Tensor& index);

const std::map<std::string, Function> kFunctions{
#define FUNCTION(name, shape, tensor, element)                            \
  {#name,                                                                 \
   []([[maybe_unused]] const Tensor& x, [[maybe_unused]] const Tensor& y, \
      [[maybe_unused]] const Tensor& index) -> Tensor { return tensor; }},
#include "functions.def"
#undef FUNCTION
    // Refused.
    {"take_beyond",
     [](const Tensor& x, const Tensor&, const Tensor& index) -> Tensor {
       return take(x.slice(0, 0, 2), index);
     }},
};

struct Params {
  std::string function;
};

struct Functions : Layer<Params> {
  static constexpr TypeInfo info{.id = "fixture.functions",
                                 .class_name = "Functions",
                                 .description = "One function of the SDK.",
                                 .use_case = "Tests.",
                                 .input_shape = "(3, 4)",
                                 .complexity = "O(1)",
                                 .paper = "none"};
  static void describe(Schema<Params>& s) {
    s.field("function", &Params::function).required().doc("which one");
    s.input("inputs", {"rows, columns"}).doc("x");
    s.input("other", {"rows, columns"}).doc("y");
    s.output("output", "any").doc("of the function's shape");
  }
  void build(Builder&) {}
  void forward(Call& c) const {
    const std::array<int64_t, 2> shape{2, 2};
    const std::array<int32_t, 4> index{2, 0, 2, 1};
    c.output(0, kFunctions.at(p.function)(c.input(0), c.input(1),
                                          c.constant(ATTN_I32, shape, index.data())));
  }
};

}  // namespace

ATTN_PLUGIN("functions", "1.0.0", "Apache-2.0", Functions)
