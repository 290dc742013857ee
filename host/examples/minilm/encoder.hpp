// SPDX-License-Identifier: Apache-2.0
//
// The sentence encoder all-MiniLM-L6-v2 around attention layers of the library:
//
//   x = norm(words[id] + positions[i] + types[0])
//   six times: x = norm(x + attention(x)), x = norm(x + dense(gelu(dense(x))))
//   embedding = the mean over the tokens, scaled to length 1
//
// One object on one thread at a time.
#pragma once

#include <attn/safetensors.hpp>

#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "transformer.hpp"

namespace minilm {

// Token ids of texts side by side, and which of them count.
struct Batch {
  attn::Array ids;   // (texts, tokens) int32, filled up with 0
  attn::Array mask;  // (texts, tokens) bool
};
[[nodiscard]] Batch make_batch(const std::vector<std::vector<int32_t>>& texts);

class Encoder {
 public:
  // Files with tensors by their published names: the model's one, or several with parts of it. Layers of which
  // anything is missing are left out; of words the tensor `rows` may say which ones are there.
  explicit Encoder(const std::vector<std::string>& files);

  [[nodiscard]] const std::map<int, parts::Block>& layers() const { return layers_; }
  [[nodiscard]] attn::Array embed(const attn::Array& ids) const;  // what layer 0 reads
  [[nodiscard]] static attn::Array pool(const attn::Array& x, const attn::Array& mask);
  // All of it: (texts, 384).
  [[nodiscard]] attn::Array operator()(const Batch& batch) const;

 private:
  attn::Array words_, positions_, types_;
  std::unordered_map<int32_t, int64_t> rows_;  // of words_; empty: the id is the row
  parts::Layer norm_;
  std::map<int, parts::Block> layers_;
};

}  // namespace minilm
