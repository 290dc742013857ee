// SPDX-License-Identifier: Apache-2.0
//
// Attention of a third party without checks of its own: what the host refuses for it. One mask is declared
// as such, the other is a tensor like any other.
#include <attn/sdk/plugin.hpp>

using namespace attn::sdk;

namespace {

struct Params {
  std::optional<std::string> norm;
};
struct Arguments {
  bool forwards = false;
};

struct Keeps : Layer<Params, Arguments> {
  static constexpr TypeInfo info{.id = "fixture.keeps",
                                 .class_name = "Keeps",
                                 .description = "Attention of a sequence with itself.",
                                 .use_case = "Tests.",
                                 .input_shape = "(batch, seq, 8)",
                                 .complexity = "O(seq^2)",
                                 .paper = "none"};
  static void describe(Schema<Params, Arguments>& s) {
    s.field("norm", &Params::norm).norm().doc("of the sequence");
    s.input("inputs", {"batch, seq, 8"}).doc("a sequence");
    s.input("attention_mask", {"batch, key"}).mask().doc("keys that may be used (> 0)");
    s.input("keep", {"batch, key"}).optional().doc("the same, as a tensor like any other");
    s.argument("forwards", &Arguments::forwards).causal().doc("no position sees later ones");
    s.output("output", "batch, seq, 8");
  }
  Norm norm_;
  Probability softmax_;

  void build(Builder& b) {
    norm_ = b.norm("norm", p.norm, {}, {-1, -1, 8});
    softmax_ = b.probability("softmax", "softmax", {});
  }
  void forward(Call& c, const Arguments& a) const {
    const Tensor x = split_heads(norm(c, norm_, c.input(0)), 2);
    const Tensor keep = c.input(1) ? c.input(1) : c.input(2);
    c.output(0, merge_heads(attention(c, x, x, x, softmax_, {.causal = a.forwards}, keep).output));
  }
};

}  // namespace

ATTN_PLUGIN("keeps", "1.0.0", "Apache-2.0", Keeps)
