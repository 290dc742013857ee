// SPDX-License-Identifier: Apache-2.0
//
// Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): keys and values of all heads come from one small vector a
// position, which is all that a cache keeps, beside one rotated key part that the heads share.
#include <attn/sdk/plugin.hpp>

using namespace attn::sdk;

namespace {

struct Params : blocks::KernelsAndBiases, blocks::Rope, blocks::WindowedScores {
  int64_t dim = 0, num_heads = 0, kv_latent_dim = 0, max_seq_len = 4096;
  int64_t qk_nope_head_dim = 128, qk_rope_head_dim = 64, v_head_dim = 128;
  std::optional<int64_t> q_latent_dim;
  std::optional<double> scale;
  double rope_theta = 10000.0, dropout_rate = 0.0;
  std::optional<std::string> latent_norm_type = "rms_norm";
  ComponentSpec latent_norm_kwargs;
  bool use_bias = false;
};

struct Arguments {
  bool use_causal_mask = true, return_attention_weights = false;
  std::optional<int64_t> position_offset;  // null: the length of the state, 0 without one
};

struct MultiHeadLatentAttention : Layer<Params, Arguments> {
  static constexpr uint32_t flags = ATTN_TYPE_STATEFUL;
  static constexpr TypeInfo info{
      .id = "multi_head_latent",
      .class_name = "MultiHeadLatentAttention",
      .description =
          "Self-attention whose keys and values are made of one small vector a position.",
      .use_case = "Language models with long contexts; layers of DeepSeek-V3 and Kimi checkpoints.",
      .input_shape = "(batch, seq_len, dim)",
      .complexity = "O(seq_len^2 * num_heads * head), cache of kv_latent_dim + qk_rope_head_dim",
      .paper = "DeepSeek-V2 (2405.04434)"};

  static void describe(Schema<Params, Arguments>& s) {
    s.field("dim", &Params::dim).required().above(0).doc("model width");
    s.field("num_heads", &Params::num_heads).required().above(0).doc("number of heads");
    s.field("kv_latent_dim", &Params::kv_latent_dim)
        .required()
        .above(0)
        .doc("size of what keys and values are made of");
    s.field("q_latent_dim", &Params::q_latent_dim)
        .above(0)
        .doc("size of what queries are made of; null: of the input");
    s.field("qk_nope_head_dim", &Params::qk_nope_head_dim)
        .above(0)
        .doc("components of queries and keys that do not rotate");
    s.field("qk_rope_head_dim", &Params::qk_rope_head_dim)
        .above(0)
        .doc("components that rotate, an even number; of keys the heads share them");
    s.field("v_head_dim", &Params::v_head_dim).above(0).doc("components of values");
    s.field("max_seq_len", &Params::max_seq_len)
        .above(0)
        .doc("positions that exist, and the capacity of a cache");
    s.field("scale", &Params::scale)
        .above(0)
        .doc("factor of the scores; null: 1 / sqrt(qk_nope_head_dim + qk_rope_head_dim)");
    s.field("rope_theta", &Params::rope_theta).above(0).doc("base of the rotation frequencies");
    blocks::rope(s);
    s.field("latent_norm_type", &Params::latent_norm_type).norm().doc("norm of both latents");
    s.field("latent_norm_kwargs", &Params::latent_norm_kwargs)
        .options("latent_norm_type")
        .doc("its options");
    s.field("use_bias", &Params::use_bias)
        .doc("biases of the projections from and to the model width");
    blocks::dropout(s);
    blocks::kernels_and_biases(s, "of all kernels", "of all biases");
    blocks::score_rules(s);
    s.rule("qk_rope_head_dim ({qk_rope_head_dim}) must be even",
           [](const Params& p) { return p.qk_rope_head_dim % 2 == 0; });
    blocks::rope_pairs(s, [](const Params& p) { return p.qk_rope_head_dim; });
    s.input("inputs", {"batch, seq, dim"}).doc("the sequence");
    blocks::attention_mask(s,
                           "keys that may be used (> 0); with a state, over all positions so far");
    s.input("positions", {"batch, seq"})
        .integers()
        .doc("positions of the tokens, by row; absent: counted");
    blocks::decoder_call(
        s,
        "position of the first token; null: the length of the state, 0 without one. Only "
        "distances "
        "count: no effect, but positions must exist");
    s.output("output", "batch, seq, dim").doc("shaped as the input");
    blocks::attention_weights(s);
    blocks::without_rope_by_length(
        blocks::without_batch_norm(s.claim(Claim::batch_independent), &Params::latent_norm_type));
    s.claims({Claim::deterministic, Claim::mask_neutral, Claim::mask_respected});
    blocks::sensitive(s);
    blocks::causal_rope(s, &Arguments::use_causal_mask);
  }

  Dense w_dq, w_uq, w_dkv, w_ukv, w_o;
  Norm q_norm, kv_norm;
  Rotary rotary;
  Probability softmax;
  State latents;  // (batch, 1, tokens, latent, then rotated part)

  void build(Builder& b) {
    const int64_t tokens = b.positions(0, 3), c = p.kv_latent_dim, r = p.qk_rope_head_dim,
                  query = sum("qk_nope_head_dim + qk_rope_head_dim", p.qk_nope_head_dim, r),
                  pair = sum("qk_nope_head_dim + v_head_dim", p.qk_nope_head_dim, p.v_head_dim),
                  entry = sum("kv_latent_dim + qk_rope_head_dim", c, r),
                  q_width = product("num_heads * head", p.num_heads, query),
                  kv_width = product("num_heads * head", p.num_heads, pair);
    if (p.q_latent_dim) {
      w_dq = b.dense("w_dq", p.dim, *p.q_latent_dim, p);
      q_norm =
          b.norm("q_norm", p.latent_norm_type, p.latent_norm_kwargs, {-1, tokens, *p.q_latent_dim});
    }
    w_uq = b.dense("w_uq", p.q_latent_dim.value_or(p.dim), q_width, p, false);
    w_dkv = b.dense("w_dkv", p.dim, entry, p);
    kv_norm = b.norm("kv_norm", p.latent_norm_type, p.latent_norm_kwargs, {-1, tokens, c});
    w_ukv = b.dense("w_ukv", c, kv_width, p, false);
    w_o = b.dense("w_o", product("num_heads * v_head_dim", p.num_heads, p.v_head_dim), p.dim, p);
    rotary.build(b, p, r, 1.0, p.max_seq_len, p.rope_theta);
    softmax = b.with_rules("attn_prob", b.probability("attn_prob", "softmax", {}), p, p.num_heads);
    latents = b.history("latents", {-1, 1, -1, entry}, 2, p.max_seq_len);
  }

  void forward(Call& call, const Arguments& a) const {
    const Tensor x = call.input(0);
    check_sequence(x, p.dim);
    const int64_t position = rotary.first(call, a.position_offset, x.dim(1)),
                  n = p.qk_nope_head_dim, c = p.kv_latent_dim, r = p.qk_rope_head_dim;
    const Tensor from = p.q_latent_dim ? norm(call, q_norm, dense(call, w_dq, x)) : x;
    const Tensor q = split_heads(dense(call, w_uq, from), p.num_heads);
    const Tensor q_turned = rotary.rotate(q.slice(3, n, n + r), position, call.input(2));
    const Tensor down = dense(call, w_dkv, x);
    const Tensor latent =
        norm(call, kv_norm, down.slice(2, 0, c)).reshape({x.dim(0), 1, x.dim(1), c});
    const Tensor k_turned =
        rotary.rotate(split_heads(down.slice(2, c, c + r), 1), position, call.input(2));
    const Tensor all = call.cache(latents, concat({&latent, &k_turned}, 3));
    const AttentionOptions options{
        .scale = p.scale.value_or(1 / std::sqrt(static_cast<double>(n + r))),
        .causal = a.use_causal_mask,
        .dropout = p.dropout_rate};
    const Attended o = absorbs(x.dim(1), all.dim(2))
                           ? absorbed(call, q.slice(3, 0, n), q_turned, all, options)
                           : expanded(call, q.slice(3, 0, n), q_turned, all, options);
    call.output(0, dense(call, w_o, merge_heads(o.output)));
    if (call.wants(1)) call.output(1, o.weights);
  }

 private:
  // Whether few queries meet many keys: products for each head, of making keys and values and of using them, against those
  // of taking the latents for both.
  [[nodiscard]] bool absorbs(int64_t queries, int64_t keys) const {
    const auto s = static_cast<double>(queries), t = static_cast<double>(keys),
               c = static_cast<double>(p.kv_latent_dim),
               r = static_cast<double>(p.qk_rope_head_dim),
               up = static_cast<double>(p.qk_nope_head_dim + p.v_head_dim);
    return s * c * up + s * t * (2 * c + r) < t * c * up + s * t * (up + r);
  }
  // The kernel of w_ukv by head: (heads, latent, components of keys, then of values).
  [[nodiscard]] Tensor up(const Call& call) const {
    const int64_t width = p.qk_nope_head_dim + p.v_head_dim;
    return call[w_ukv.kernel].reshape({p.kv_latent_dim, p.num_heads, width}).permute({1, 0, 2});
  }
  // Scores and results by the latents themselves: W_uk goes to the queries, W_uv to the result.
  Attended absorbed(Call& call, const Tensor& q, const Tensor& q_turned, const Tensor& all,
                    const AttentionOptions& options) const {
    const int64_t n = p.qk_nope_head_dim;
    const Tensor w = up(call);
    const Tensor q_latent = matmul(q, w.slice(2, 0, n), {.transpose_b = true});
    const Attended o =
        attention(call, concat({&q_latent, &q_turned}, 3), all, all.slice(3, 0, p.kv_latent_dim),
                  softmax, options, call.input(1), {}, call.wants(1));
    return {matmul(o.output, w.slice(2, n, n + p.v_head_dim)), o.weights};
  }
  // Keys and values of every head.
  Attended expanded(Call& call, const Tensor& q, const Tensor& q_turned, const Tensor& all,
                    const AttentionOptions& options) const {
    const int64_t n = p.qk_nope_head_dim, c = p.kv_latent_dim, batch = all.dim(0), t = all.dim(2);
    const Tensor latent = all.slice(3, 0, c).reshape({batch, t, c});
    const Tensor kv = split_heads(dense(call, w_ukv, latent), p.num_heads);
    const Tensor shared =
        broadcast_to(all.slice(3, c, all.dim(3)), {batch, p.num_heads, t, p.qk_rope_head_dim});
    const Tensor k_nope = kv.slice(3, 0, n);
    return attention(call, concat({&q, &q_turned}, 3), concat({&k_nope, &shared}, 3),
                     kv.slice(3, n, n + p.v_head_dim), softmax, options, call.input(1), {},
                     call.wants(1));
  }
};

}  // namespace

ATTN_PLUGIN("multi_head_latent", "1.0.0", "Apache-2.0", MultiHeadLatentAttention)
