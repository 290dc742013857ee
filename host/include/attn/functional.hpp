// SPDX-License-Identifier: Apache-2.0
//
// Attention and rotary embedding as plain functions of tensors, forward and backward: no layer, no weights, no state.
// Names and rules are those of torch.nn.functional.scaled_dot_product_attention and of the operators Attention and
// RotaryEmbedding of ONNX (opset 24).
//
//   const auto y = attn::scaled_dot_product_attention(query, key, value, {.is_causal = true}).y;
//
// Shapes    query (B, H, L, D), key (B, G, S, D), value (B, G, S, E), y (B, H, L, E); query head h reads key head
//           h / (H / G). With a past of P keys T = P + S, else T = S. With q_num_heads and kv_num_heads query, key,
//           value and y are (B, L, H * D), (B, S, G * D), (B, S, G * E), (B, L, H * E); all else keeps its four axes.
// Rule      raw = scale query . key; capped = softcap tanh(raw / softcap); biased = capped + attn_mask, -infinity where
//           a key is not visible; probabilities = softmax over the keys and the head's sink, whose share is dropped;
//           y = dropout(probabilities) value; lse = ln(sum of exp(biased) and exp(sink)).
// Visible   Query i of example b stands at p = offset + i: offset is P with a past, nonpad_kv_seqlen[b] - L with lengths,
//           else 0. Key j is visible iff j < nonpad_kv_seqlen[b], j <= p where is_causal, j >= p - left_window_size and
//           j <= p + right_window_size for each of them that is not -1, and attn_mask is true or not -infinity there.
//           A query that sees no key gets zeros and lse -infinity. What a key that it does not see holds, NaN and
//           infinity included, does not reach it.
// Mask      bool (true: attend) or the query's dtype, added. It is right-aligned to (B, H, L, T), so that three axes are
//           (H, L, T), unlike the masks of layers; extents of 1 broadcast. A last extent of 2..T-1 is filled up as
//           masked.
// Dtypes    float32, float64, float16, bfloat16; one for query, key, value and all that belongs to them. The 16-bit kinds
//           are computed in float32, and their lse is float32. softmax_precision ATTN_F64 computes in float64.
// Memory    Linear in L and T, but for scores, and for a mask whose keys do not lie side by side (its last extent is 1,
//           say), which is copied as (.., T). Any strides, those of the inputs also 0 and negative. Inputs and results
//           must not overlap.
// Threads   Any number of threads may call at once. Working memory is the thread's own and stays for its next call.
// Errors    InvalidArgument (attn/error.hpp) before anything is written.
#pragma once

#include <optional>

#include "error.hpp"
#include "tensor.hpp"

namespace attn {

struct ScaledDotProductOptions {
  std::optional<ConstView> attn_mask{};
  double dropout_p = 0;  // in [0, 1]; applied whenever it is above 0
  bool is_causal = false;
  std::optional<double> scale{};                      // absent: 1 / sqrt(D)
  bool enable_gqa = false;                            // G may differ from H
  double softcap = 0;                                 // 0: none
  std::optional<ConstView> past_key{}, past_value{};  // (B, G, P, D), (B, G, P, E)
  std::optional<ConstView> nonpad_kv_seqlen{};        // (B) int32 or int64, 0..S
  int64_t left_window_size = -1, right_window_size = -1;
  std::optional<int64_t> q_num_heads{}, kv_num_heads{};
  std::optional<attn_dtype>
      softmax_precision{};           // ATTN_F32 or ATTN_F64; float32 at least in any case
  std::optional<ConstView> sinks{};  // (H)
  bool return_present = false;       // present_key and present_value
  bool return_lse = false;
  // 0 raw, 1 capped, 2 biased, 3 probabilities (after dropout), as scores; absent: none.
  std::optional<int64_t> qk_matmul_output_mode{};
  uint64_t seed = 0;  // of dropout: the same gives the same result
};

struct ScaledDotProductResult {
  Array y;
  std::optional<Array> present_key{}, present_value{};  // (B, G, T, D), (B, G, T, E)
  std::optional<Array> lse{};                           // (B, H, L)
  std::optional<Array> scores{};                        // (B, H, L, T)
};

[[nodiscard]] ScaledDotProductResult scaled_dot_product_attention(
    const ConstView& query, const ConstView& key, const ConstView& value,
    const ScaledDotProductOptions& options = {});

// The same into memory of the caller: for y, and for just what the options ask for.
struct ScaledDotProductMemory {
  View y;
  std::optional<View> present_key{}, present_value{}, lse{}, scores{};
};
void scaled_dot_product_attention(const ConstView& query, const ConstView& key,
                                  const ConstView& value, const ScaledDotProductOptions& options,
                                  const ScaledDotProductMemory& into);

// Kinds and shapes of the results; memory is not looked at and may be absent.
struct TensorType {
  attn_dtype dtype = ATTN_F32;
  Shape shape{};
};
struct ScaledDotProductTypes {
  TensorType y;
  std::optional<TensorType> present_key{}, present_value{}, lse{}, scores{};
};
[[nodiscard]] ScaledDotProductTypes scaled_dot_product_attention_types(
    const ConstView& query, const ConstView& key, const ConstView& value,
    const ScaledDotProductOptions& options = {});

// Gradients of the results of a forward call, of y and of lse, one at least. Of that call nothing is kept: what the
// gradient needs is computed again.
struct ScaledDotProductCotangents {
  std::optional<ConstView> dy{}, dlse{};
};
// Gradients of the inputs, in their shapes and kinds. attn_mask: of an additive one.
struct ScaledDotProductGradients {
  Array query, key, value;
  std::optional<Array> attn_mask{}, past_key{}, past_value{}, sinks{};
};
// options: those of the forward call, seed included; what they return does not matter.
[[nodiscard]] ScaledDotProductGradients scaled_dot_product_attention_backward(
    const ConstView& query, const ConstView& key, const ConstView& value,
    const ScaledDotProductOptions& options, const ScaledDotProductCotangents& cotangents);

// The same into memory of the caller; what has none is not computed.
struct ScaledDotProductGradientMemory {
  std::optional<View> query{}, key{}, value{}, attn_mask{}, past_key{}, past_value{}, sinks{};
};
void scaled_dot_product_attention_backward(const ConstView& query, const ConstView& key,
                                           const ConstView& value,
                                           const ScaledDotProductOptions& options,
                                           const ScaledDotProductCotangents& cotangents,
                                           const ScaledDotProductGradientMemory& into);

// Rotary embedding (Su et al. 2021) by cosines and sines that the caller gives. Of each head the first
// rotary_embedding_dim = R elements turn in pairs (x, x'): cos x - sin x', sin x + cos x'.
struct RotaryEmbeddingOptions {
  bool interleaved = false;            // pairs (2i, 2i + 1); else (i, i + R / 2)
  int64_t rotary_embedding_dim = 0;    // R, even; 0: the whole head
  std::optional<int64_t> num_heads{};  // of an input with three axes
};

// input (B, H, L, D), or (B, L, H * D) with num_heads. position_ids (B, L) int32 or int64: places in caches
// (positions, R / 2). Without them the caches are (B, L, R / 2).
[[nodiscard]] Array rotary_embedding(const ConstView& input, const ConstView& cos_cache,
                                     const ConstView& sin_cache,
                                     const std::optional<ConstView>& position_ids = {},
                                     const RotaryEmbeddingOptions& options = {});
void rotary_embedding_into(const View& output, const ConstView& input, const ConstView& cos_cache,
                           const ConstView& sin_cache,
                           const std::optional<ConstView>& position_ids = {},
                           const RotaryEmbeddingOptions& options = {});
// The gradient of input, from that of the output.
[[nodiscard]] Array rotary_embedding_backward(const ConstView& dy, const ConstView& cos_cache,
                                              const ConstView& sin_cache,
                                              const std::optional<ConstView>& position_ids = {},
                                              const RotaryEmbeddingOptions& options = {});

}  // namespace attn
