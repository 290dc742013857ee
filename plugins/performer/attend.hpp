// SPDX-License-Identifier: Apache-2.0
//
// The operator: attention by random features, in time and memory linear in the number of tokens
// (Choromanski et al. 2020). Any strides; results do not depend on the number of threads.
#pragma once

#include "causal.hpp"
#include "whole.hpp"

namespace attn::performer {

// q, k, v (B, H, S, d), projection (H, rows, d), state (B, H, features, d + 2) -> output (B, H, S, d)
// in memory as (B, S, H, d), and the state after the last token. States exist for causal only.
struct attend {
  static constexpr const char* name = "performer.attend";
  static constexpr const char* doc =
      "attention by positive (or clamped trigonometric) random features of q and k";
  static constexpr uint32_t version = 1, inputs = 5, outputs = 2, saved = 2, required = 0b1111;
  static constexpr uint32_t constants = 1u << kProjection | 1u << kState;
  static constexpr attn_param attributes[] = {sdk::bool_attribute("causal", false),
                                              sdk::bool_attribute("trig", false),
                                              sdk::int_attribute("features", 1)};

  static void shape(sdk::OpCall c) {
    const attn_view &q = *c.in(kQuery), &k = *c.in(kKey), &v = *c.in(kValue),
                    &w = *c.in(kProjection);
    bool fits = q.rank == 4 && k.rank == 4 && v.rank == 4 && w.rank == 3;
    for (int i = 0; fits && i < 4; ++i) fits = q.shape[i] == k.shape[i] && q.shape[i] == v.shape[i];
    fits = fits && w.shape[0] == q.shape[1] && w.shape[2] == q.shape[3] && w.shape[1] > 0;
    if (!fits)
      sdk::fail("q {}, k {}, v {} and projection {} do not belong together", sdk::shape_text(q),
                sdk::shape_text(k), sdk::shape_text(v), sdk::shape_text(w));
    if (c.integer(kFeatures) < 1) sdk::fail("features must be positive");
    const Sizes s(c);
    if (const attn_view* state = c.in(kState)) {
      if (!s.causal) sdk::fail("only causal attention goes on from a state");
      if (state->rank != 4 || state->shape[0] != s.batch || state->shape[1] != s.heads ||
          state->shape[2] != s.features || state->shape[3] != s.width + 2)
        sdk::fail("state of shape {} does not belong to q of shape {}", sdk::shape_text(*state),
                  sdk::shape_text(q));
      if (!sdk::is_dense(*state)) sdk::fail("the state must be dense");
    }
    c.out_shape(0, q.dtype, {s.batch, s.heads, s.tokens, s.width}, {0, 2, 1, 3});
    c.out_shape(1, q.dtype, {s.batch, s.heads, s.features, s.width + 2});
    // For the gradient: the sums over all keys, or where the chunks of the scan begin.
    c.saved_shape(0, q.dtype, {s.causal ? 0 : s.batch * s.heads, s.features, s.width + 2});
    c.saved_shape(1, ATTN_I64, {s.causal ? s.batch * s.heads : 0, s.tokens + 1});
  }

  template <class T>
  static void forward(sdk::OpCall c) {
    if (sdk::size_of(*c.in(kQuery)) == 0) return;
    const Run<T> run(c, false);
    if (run.s.causal)
      causal_forward(run, c.saved(1) ? sdk::data<int64_t>(*c.saved(1)) : nullptr);
    else
      whole_forward(run, c.saved(0) ? sdk::data<T>(*c.saved(0)) : nullptr);
  }

  template <class T>
  static void vjp(sdk::OpCall c) {
    if (!c.dout(0) || sdk::size_of(*c.in(kQuery)) == 0) return;
    const Run<T> run(c, true);
    if (run.s.causal)
      causal_backward(run, sdk::data<const int64_t>(*c.saved(1)));
    else
      whole_backward(run, sdk::data<const T>(*c.saved(0)));
  }

  static attn_cost cost(sdk::OpCall c) {
    const Sizes s(c);
    const auto tokens = static_cast<double>(s.batch * s.heads * s.tokens),
               d = static_cast<double>(s.width), m = static_cast<double>(s.features);
    const double inside = s.causal ? static_cast<double>(kTile) * (m + d) : 0;
    const double element = c.element_size();
    return {sizeof(attn_cost), 0, tokens * (8 * d * m + inside), element * 4 * tokens * d};
  }
};

}  // namespace attn::performer
