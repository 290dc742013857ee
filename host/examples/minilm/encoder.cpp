// SPDX-License-Identifier: Apache-2.0
#include "encoder.hpp"

#include <attn/convert.hpp>

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace minilm {

namespace {

using attn::Array;

constexpr int kLayers = 6;
constexpr int64_t kDim = 384, kHidden = 1536;
const attn::Json kNorm = {{"epsilon", 1e-12}};

Array transposed(const Array& a) {
  const int64_t rows = a.shape()[0], columns = a.shape()[1];
  return Array::copy_of({a.raw(), a.dtype(), {columns, rows}, {1, columns}});
}

class Files {
 public:
  explicit Files(const std::vector<std::string>& paths) {
    for (const std::string& path : paths) files_.emplace_back(path);
    set_.name = paths.front();
    for (const attn::SafetensorsFile& file : files_)
      for (const attn::SafetensorsEntry& e : file.entries()) set_.shapes[e.name] = e.shape;
    set_.read = [this](const std::string& name) { return read(name); };
  }
  [[nodiscard]] bool has(const std::string& name) const { return set_.shapes.contains(name); }
  [[nodiscard]] Array read(const std::string& name) const {
    for (const attn::SafetensorsFile& file : files_)
      if (file.contains(name)) return file.read(name);
    throw std::runtime_error(set_.name + ": there is no tensor '" + name + "'");
  }
  [[nodiscard]] const attn::TensorSet& tensors() const { return set_; }

 private:
  std::vector<attn::SafetensorsFile> files_;
  attn::TensorSet set_;
};

// Our names for norms and dense layers, as the model calls them. A published matrix is (out, in).
parts::Source published(const Files& files, const std::string& first,
                        const std::string& last = "") {
  return [&files, first, last](const std::string& name) {
    if (name == "norm/gamma") return files.read(first + ".weight");
    if (name == "norm/beta") return files.read(first + ".bias");
    const std::string& from = name.starts_with("first/") ? first : last;
    return name.ends_with("/kernel") ? transposed(files.read(from + ".weight"))
                                     : files.read(from + ".bias");
  };
}

parts::Block read_layer(const Files& files, const std::string& name) {
  parts::Block block;
  block.norm_after = true;
  block.attention = attn::convert_attention(files.tensors(), {.form = "hf-bert",
                                                              .prefix = name + ".attention",
                                                              .variables = {{"num_heads", 12}}})
                        .layer;
  block.norm_1 =
      parts::make_norm(kDim, kNorm, published(files, name + ".attention.output.LayerNorm"), "");
  block.feed_forward = parts::make_feed_forward(
      kDim, kHidden, kDim, published(files, name + ".intermediate.dense", name + ".output.dense"),
      "");
  block.norm_2 = parts::make_norm(kDim, kNorm, published(files, name + ".output.LayerNorm"), "");
  return block;
}

}  // namespace

Batch make_batch(const std::vector<std::vector<int32_t>>& texts) {
  size_t longest = 0;
  for (const auto& text : texts) longest = std::max(longest, text.size());
  const attn::Shape shape{static_cast<int64_t>(texts.size()), static_cast<int64_t>(longest)};
  Batch batch{Array(ATTN_I32, shape), Array(ATTN_BOOL, shape)};
  for (size_t n = 0; n < texts.size(); ++n) {
    std::copy(texts[n].begin(), texts[n].end(), batch.ids.data<int32_t>() + n * longest);
    std::fill_n(batch.mask.data<bool>() + n * longest, texts[n].size(), true);
  }
  return batch;
}

Encoder::Encoder(const std::vector<std::string>& paths) {
  const Files files(paths);
  words_ = files.read("embeddings.word_embeddings.weight");
  positions_ = files.read("embeddings.position_embeddings.weight");
  types_ = files.read("embeddings.token_type_embeddings.weight");
  if (files.has("rows"))
    for (const int32_t id : files.read("rows").to_vector<int32_t>())
      rows_.emplace(id, static_cast<int64_t>(rows_.size()));
  norm_ = parts::make_norm(kDim, kNorm, published(files, "embeddings.LayerNorm"), "");
  for (int n = 0; n < kLayers; ++n) {
    const std::string name = "encoder.layer." + std::to_string(n);
    if (files.has(name + ".output.dense.weight")) layers_.emplace(n, read_layer(files, name));
  }
}

Array Encoder::embed(const Array& ids) const {
  const int64_t texts = ids.shape()[0], tokens = ids.shape()[1];
  Array x = Array::uninitialized(ATTN_F32, {texts, tokens, kDim});
  for (int64_t i = 0; i < texts * tokens; ++i) {
    const int32_t id = ids.data<int32_t>()[i];
    const float* word = words_.data<float>() + (rows_.empty() ? id : rows_.at(id)) * kDim;
    const float* position = positions_.data<float>() + i % tokens * kDim;
    for (int64_t j = 0; j < kDim; ++j)
      x.data<float>()[i * kDim + j] = word[j] + position[j] + types_.data<float>()[j];
  }
  return norm_->forward(x);
}

Array Encoder::pool(const Array& x, const Array& mask) {
  const int64_t texts = x.shape()[0], tokens = x.shape()[1];
  Array y(ATTN_F32, {texts, kDim});
  for (int64_t n = 0; n < texts; ++n) {
    float* out = y.data<float>() + n * kDim;
    for (int64_t i = n * tokens; i < (n + 1) * tokens; ++i)
      for (int64_t j = 0; mask.data<bool>()[i] && j < kDim; ++j)
        out[j] += x.data<float>()[i * kDim + j];
    // The mean differs from the sum by its length alone.
    double squares = 0;
    for (int64_t j = 0; j < kDim; ++j)
      squares += static_cast<double>(out[j]) * static_cast<double>(out[j]);
    const auto scale = static_cast<float>(1 / std::sqrt(squares));
    for (int64_t j = 0; j < kDim; ++j) out[j] *= scale;
  }
  return y;
}

Array Encoder::operator()(const Batch& batch) const {
  if (layers_.size() != kLayers)
    throw std::runtime_error("the files have not all layers of the model");
  Array x = embed(batch.ids);
  for (const auto& [n, layer] : layers_) x = layer(std::move(x), &batch.mask);
  return pool(x, batch.mask);
}

}  // namespace minilm
