// SPDX-License-Identifier: Apache-2.0
//
// A stack of transformer blocks around attention layers of any type:
//
//   x = x + attention(norm(x)), x = x + feed_forward(norm(x))     norms before (Xiong et al. 2020)
//   x = norm(x + attention(x)), x = norm(x + feed_forward(x))     norms after (Vaswani et al. 2017)
//
// Everything but the sums is a layer of the library; norms and dense layers come from the plugin of this folder.
#pragma once

#include <attn/attention.hpp>
#include <attn/safetensors.hpp>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace parts {

using Layer = std::unique_ptr<attn::Attention>;
// A tensor by its name in a file of weights.
using Source = std::function<attn::Array(const std::string& name)>;

// Layers of the plugin, built; weights are those of `source` whose names begin with `prefix`.
Layer make_norm(int64_t dim, const attn::Json& options, const Source& source,
                const std::string& prefix);
// hidden 0: one dense layer.
Layer make_feed_forward(int64_t dim, int64_t hidden, int64_t outputs, const Source& source,
                        const std::string& prefix);
// Every weight of a built layer, by prefix and its own name.
void read_weights(attn::Attention& layer, const Source& source, const std::string& prefix);

struct Block {
  Layer norm_1, attention, norm_2, feed_forward;
  bool norm_after = false;

  // x (batch, seq, dim); `mask` may be nullptr. options are those of the attention's call.
  [[nodiscard]] attn::Array operator()(attn::Array x, const attn::Array* mask = nullptr,
                                       const attn::CallOptions& options = {}) const;
};

// What parts.py trains and writes: `model` says {"attention": {...}, "blocks": n, "hidden": n, "outputs": n}.
struct Transformer {
  std::vector<Block> blocks;
  Layer norm, head;  // outputs = head(norm(x))

  Transformer(const attn::Json& model, const Source& source);
};

}  // namespace parts
