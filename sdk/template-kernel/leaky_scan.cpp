// SPDX-License-Identifier: Apache-2.0
//
// A gated recurrence in the place of attention (minGRU: Feng et al. 2024, arXiv 2410.01201, section 3.1), whose scan
// is an operator of its own (leaky_scan_op.hpp) with loops for each instruction set (leaky_scan_loops.cpp):
//
//   z = sigmoid(x W_z),   h_t = (1 - z_t) h_(t-1) + z_t (x W_h)_t,   y = h W_o
//
// With a state, h goes on from call to call.
#include <attn/sdk/dispatch.hpp>
#include <attn/sdk/plugin.hpp>

#include "leaky_scan_op.hpp"

ATTN_SDK_DISPATCH(leaky_scan_loops, Loops, loops)

using namespace attn::sdk;

namespace {

struct Params : blocks::Kernels {
  int64_t dim = 0;
};

struct LeakyScanLayer : Layer<Params> {
  static constexpr uint32_t flags = ATTN_TYPE_STATEFUL;
  static constexpr TypeInfo info{.id = "example.leaky_scan",
                                 .class_name = "LeakyScan",
                                 .description = "A gated recurrence: each channel remembers.",
                                 .use_case = "Long sequences, in time linear in their length.",
                                 .input_shape = "(batch, seq_len, dim)",
                                 .complexity = "O(seq_len * dim^2)",
                                 .paper = "Were RNNs All We Needed? (2410.01201)"};

  static void describe(Schema<Params>& s) {
    s.field("dim", &Params::dim).required().above(0).doc("model width");
    blocks::kernels(s, "of both kernels");
    s.input("inputs", {"batch, seq, dim"}).doc("a sequence, or the next piece of one");
    s.output("output", "batch, seq, dim").doc("shaped as the input");
    s.claims({Claim::batch_independent, Claim::causal, Claim::position_sensitive,
              Claim::decode_equals_prefill, Claim::deterministic});
  }

  Weight gates, proj;
  State hidden;

  void build(Builder& b) {
    gates = b.weight("gates/kernel", {p.dim, product("2 * dim", 2, p.dim)}, p.kernel_initializer,
                     p.kernel_regularizer);
    proj = b.weight("proj/kernel", {p.dim, p.dim}, p.kernel_initializer, p.kernel_regularizer);
    hidden = b.value("hidden", {-1, p.dim});
  }

  void forward(Call& c) const {
    check_sequence(c.input(0), p.dim);
    const auto [update, candidate] = split<2>(linear(c.input(0), c[gates]), -1);
    const Tensor z = sigmoid(update);
    const Tensor before = c.stateful() ? c.get(hidden) : Tensor{};
    const Tensor h = call<scan>({affine(z, -1, 1), mul(z, candidate), before});
    if (c.stateful()) {
      const int64_t n = h.dim(1);
      c.set(hidden, h.slice(1, n - 1, n).reshape({h.dim(0), p.dim}));
      c.advance(n);
    }
    c.output(0, linear(h, c[proj]));
  }
};

}  // namespace

ATTN_PLUGIN("leaky_scan", "1.0.0", "Apache-2.0", LeakyScanLayer, Operator<scan>)
