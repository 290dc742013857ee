// SPDX-License-Identifier: Apache-2.0
//
// Keys and values of earlier calls for a type whose queries see all of them, or the last `window` ones alone, which are
// then all that a state keeps: as many bytes for a sequence of any length. [call-thread]
//
//   cache.build(b, heads, head, p.max_seq_len, p.window);  // in build(); window 0: all
//   const Tensor keep = cache.append(c, k, v, c.input(1)); // k and v become those that the queries may see
#pragma once

#include <attn/sdk/layer.hpp>
#include <attn/sdk/ops.hpp>

namespace attn::sdk {

struct WindowCache {
  KeyValueCache all;
  State keys,
      values;  // with a window: (batch, heads, window, head), zeros before the first position
  int64_t window = 0;

  void build(Builder& b, int64_t heads, int64_t head, int64_t max_len, int64_t window_) {
    window = window_;
    if (window == 0) {
      all = b.key_value_cache(heads, head, max_len);
    } else {
      keys = b.value("keys", {-1, heads, window, head});
      values = b.value("values", {-1, heads, window, head});
    }
  }

  // keep: over all positions so far, or absent; gives its part for the new k.
  template <class = void>
  Tensor append(Call& c, Tensor& k, Tensor& v, const Tensor& keep) const {
    if (window == 0) {
      c.cache(all, k, v);
      return keep;
    }
    if (!c.stateful()) return keep;
    const int64_t positions = c.position() + k.dim(2);
    c.advance(k.dim(2));
    join(c, keys, k);
    join(c, values, v);
    if (!keep || keep.dim(-1) == 1) return keep;
    if (keep.dim(-1) != positions)
      fail("the mask has shape {}; expected {} keys, all positions so far", keep.shape(),
           positions);
    return keep.slice(-1, positions - k.dim(2), positions);
  }

 private:
  // x behind what is kept, of which the last `window` entries are kept.
  template <class = void>
  void join(Call& c, State s, Tensor& x) const {
    if (const Tensor kept = c.get(s)) {
      const int64_t seen = c.position() < window ? c.position() : window;
      const Tensor last = kept.slice(2, window - seen, window);
      x = concat({&last, &x}, 2);
    }
    const int64_t n = x.dim(2);
    c.set(s, n < window ? pad(x, {{0, 0}, {0, 0}, {window - n, 0}, {0, 0}})
                        : x.slice(2, n - window, n));
  }
};

}  // namespace attn::sdk
