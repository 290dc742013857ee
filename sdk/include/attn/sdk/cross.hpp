// SPDX-License-Identifier: Apache-2.0
//
// Keys and values of cross-attention: one fused projection of a second sequence, kv_input, or of the queries' own. With
// a state the first call projects kv_input and keeps the result; later calls leave kv_input out. Values are never
// normalised. [call-thread]
#pragma once

#include <attn/sdk/checks.hpp>
#include <attn/sdk/layer.hpp>
#include <attn/sdk/ops.hpp>

namespace attn::sdk {

struct CrossKeysValues {
  struct Pair {
    Tensor keys, values;  // (batch, heads, seq, head)
  };

  int64_t num_heads = 0;
  Dense projection;  // (dim, 2 dim): keys, then values
  Norm k_norm;
  KeyValueCache kept;

  // After projection and k_norm have been declared. head: size of one.
  void build(Builder& b, int64_t heads, int64_t head) {
    num_heads = heads;
    kept.keys = b.value("keys", {-1, heads, -1, head});
    kept.values = b.value("values", {-1, heads, -1, head});
  }

  // kv_input beside the queries' sequence x.
  static void check(const Tensor& x, const Tensor& kv_input, int64_t dim) {
    if (!kv_input) return;
    check_sequence(kv_input, dim, "KV");
    if (kv_input.dim(0) != x.dim(0))
      fail("KV batch ({}) must equal the query batch ({}), got shapes {} and {}", kv_input.dim(0),
           x.dim(0), kv_input.shape(), x.shape());
  }

  template <class = void>
  Pair get(Call& c, const Tensor& x, const Tensor& kv_input) const {
    if (!c.stateful()) return project(c, kv_input ? kv_input : x);
    Pair pair{c.get(kept.keys), c.get(kept.values)};
    if (pair.keys && kv_input)
      fail(
          "kv_input was given, but the state keeps one already; leave kv_input out or reset the "
          "state");
    if (!pair.keys) {
      if (!kv_input) fail("kv_input is missing; the first call with a state needs it");
      pair = project(c, kv_input);
      c.set(kept.keys, pair.keys);
      c.set(kept.values, pair.values);
    }
    if (pair.keys.dim(0) != x.dim(0))
      fail("Query batch ({}) must equal the batch of the state ({}), got shape {}", x.dim(0),
           pair.keys.dim(0), x.shape());
    return pair;
  }

 private:
  template <class = void>
  Pair project(Call& c, const Tensor& y) const {
    const Tensor a = dense(c, projection, y);
    return {norm(c, k_norm, split_heads(a, num_heads, 0, 2)), split_heads(a, num_heads, 1, 2)};
  }
};

}  // namespace attn::sdk
