// SPDX-License-Identifier: Apache-2.0
//
// The causal self-attention of released language models: groups of query heads that share a key/value head, norms of
// queries and keys, rotary positions of any form, a sliding window, sinks, a soft cap and a gate (Llama, Mistral, Qwen 3
// and Qwen3-Next, Gemma 2 and 3, Phi-3, gpt-oss, Cohere, GLM-4, Hunyuan, OLMo 2).
#include <attn/sdk/plugin.hpp>

using namespace attn::sdk;

namespace {

struct Params : blocks::GroupedHeads,
                blocks::KernelsAndBiases,
                blocks::QkNorm,
                blocks::Rope,
                blocks::ScoreTexts {
  Params() { rope_style = "half_split"; }
  int64_t max_seq_len = 4096;
  std::optional<int64_t> head_dim, window;
  std::optional<double> scale, softcap;
  double rope_percentage = 1.0, rope_theta = 10000.0, dropout_rate = 0.0;
  std::string qk_norm_over = "head", qk_norm_place = "before_rope";
  bool use_qk_head_scale = false, use_sinks = false, use_output_gate = false;
  bool use_query_bias = false, use_key_bias = false, use_value_bias = false;
  bool use_output_bias = false;

  [[nodiscard]] int64_t head() const { return head_dim.value_or(dim / num_heads); }
  // Components of a head rotate in pairs.
  [[nodiscard]] bool rotates() const { return static_cast<double>(head()) * rope_percentage >= 2; }
  [[nodiscard]] bool rotates_in_part() const {
    return rotates() && (rope_percentage < 1 || head() % 2 == 1);
  }
};

// A number added to all scores of a row changes nothing.
bool shifts(const Params& p) { return !p.use_sinks && !p.softcap; }

struct Arguments {
  bool use_causal_mask = true, return_attention_weights = false;
  std::optional<int64_t> position_offset;  // null: the length of the state, 0 without one
};

// Queries or keys: a projection, its norm, and the turn by position.
struct Projection {
  Dense dense;
  Norm norm;
  Weight head_scale;
  int64_t heads = 0;
};

struct DecoderAttention : Layer<Params, Arguments> {
  static constexpr uint32_t flags = ATTN_TYPE_STATEFUL;
  static constexpr TypeInfo info{
      .id = "decoder",
      .class_name = "DecoderAttention",
      .description = "The causal self-attention of released language models, by their rules.",
      .use_case = "Layers of published checkpoints, and language models built like them.",
      .input_shape = "(batch, seq_len, dim)",
      .complexity =
          "O(seq_len * min(seq_len, window) * num_heads * head_dim), cache of num_kv_heads",
      .paper = "GQA (2305.13245), RoFormer (2104.09864), YaRN (2309.00071), sinks (2309.17453)"};

  static void describe(Schema<Params, Arguments>& s) {
    blocks::grouped_heads(s);
    s.field("head_dim", &Params::head_dim).above(0).doc("size of a head; null: dim / num_heads");
    s.field("max_seq_len", &Params::max_seq_len)
        .above(0)
        .doc("positions that exist, and the capacity of a cache");
    s.field("window", &Params::window)
        .above(0)
        .doc("a position sees itself and the window - 1 before it; null: all");
    s.field("scale", &Params::scale).above(0).doc("factor of the scores; null: 1 / sqrt(head_dim)");
    s.field("softcap", &Params::softcap)
        .above(0)
        .doc("scores become softcap * tanh(score / softcap); null: none");
    s.field("use_sinks", &Params::use_sinks)
        .doc("one more score a head, a weight, whose share of the softmax meets no value");
    blocks::qk_norm(s, "norm of queries and keys");
    s.field("qk_norm_over", &Params::qk_norm_over)
        .choices({"head", "width"})
        .doc("what is normalised together: each head, or all heads of a position");
    s.field("qk_norm_place", &Params::qk_norm_place)
        .choices({"before_rope", "after_rope"})
        .doc("norms come before or after the rotation");
    s.field("use_qk_head_scale", &Params::use_qk_head_scale)
        .doc("a scale of its own for each head behind the norm");
    s.field("rope_percentage", &Params::rope_percentage)
        .between(0, 1)
        .doc("share of each head that rotates with the position; 0: none");
    s.field("rope_theta", &Params::rope_theta).above(0).doc("base of the rotation frequencies");
    blocks::rope(s);
    s.field("use_output_gate", &Params::use_output_gate)
        .doc("results are multiplied by the sigmoid of a projection of the input");
    s.field("use_query_bias", &Params::use_query_bias).doc("bias of w_q, and of the gate");
    s.field("use_key_bias", &Params::use_key_bias).doc("bias of w_k");
    s.field("use_value_bias", &Params::use_value_bias).doc("bias of w_v");
    s.field("use_output_bias", &Params::use_output_bias).doc("bias of w_o");
    blocks::dropout(s);
    blocks::kernels_and_biases(s, "of all kernels", "of all biases");
    blocks::score_texts(s, "b h q k H");
    s.rule("dim ({dim}) must be divisible by num_heads ({num_heads})",
           [](const Params& p) { return p.head_dim || p.dim % p.num_heads == 0; });
    s.divisible(&Params::num_heads, &Params::num_kv_heads);
    s.only_with(
        "with rope_percentage above 0", [](const Params& p) { return p.rope_percentage > 0; },
        &Params::rope_theta, &Params::rope_style, &Params::rope_scaling);
    s.only_with(
        "with qk_norm_type or use_qk_head_scale",
        [](const Params& p) { return p.qk_norm_type || p.use_qk_head_scale; },
        &Params::qk_norm_place);
    s.only_with(
        "with qk_norm_type", [](const Params& p) { return p.qk_norm_type.has_value(); },
        &Params::qk_norm_over);
    blocks::rope_pairs(s, [](const Params& p) { return rotating(p.head(), p.rope_percentage); });
    s.input("inputs", {"batch, seq, dim"}).doc("the sequence");
    blocks::attention_mask(s,
                           "keys that may be used (> 0); with a state, over all positions so far");
    s.input("positions", {"batch, seq", "batch, axis, seq"})
        .integers()
        .doc("positions of the tokens, by row or by axis (mrope_section); absent: counted");
    blocks::decoder_call(
        s,
        "position of the first token; null: the length of the state, 0 without one. Only "
        "distances count, but for norms behind the rotation; positions must exist");
    s.output("output", "batch, seq, dim").doc("shaped as the input");
    blocks::attention_weights(s);
    blocks::without_rope_by_length(
        blocks::without_batch_norm(s.claim(Claim::batch_independent), &Params::qk_norm_type));
    s.claims({Claim::deterministic, Claim::mask_neutral, Claim::mask_respected});
    blocks::without_rope_by_length(blocks::without_norm_of_positions(
        s.claim(Claim::reaches, "inputs", "within window",
                [](const Params& p, auto&, auto&, int64_t out, int64_t in) {
                  return !p.window || (out - in < *p.window && in - out < *p.window);
                })));
    blocks::causal_rope(s, &Arguments::use_causal_mask);
    blocks::equivariant_when(s, "window = 1, or nothing rotates, no window and not use_causal_mask",
                             [](const Params& p, const Arguments& a) {
                               return p.window == 1 ||
                                      (!p.rotates() && !p.window && !a.use_causal_mask);
                             });
    // A softmax over one key is 1, whatever the score.
    for (const char* weight : {"w_q/", "w_k/", "q_norm/", "k_norm/"})
      s.claim(Claim::inert, weight).when("window = 1 and no sinks", [](const Params& p) {
        return p.window == 1 && !p.use_sinks;
      });
    // The first query sees one key.
    for (const char* weight : {"q_norm/weight in part", "q_norm/bias in part"})
      s.claim(Claim::inert, weight)
          .when("a norm by position, use_causal_mask and no sinks",
                [](const Params& p, const Arguments& a) {
                  return p.qk_norm_kwargs.option("axis").find('2') != std::string_view::npos &&
                         a.use_causal_mask && !p.use_sinks;
                });
    // What is added to all keys alike shifts a row of scores, which a softmax does not notice.
    s.claim(Claim::inert, "key bias w_k/bias")
        .when("nothing rotates, no sinks and no soft cap",
              [](const Params& p) { return !p.rotates() && shifts(p); });
    s.claim(Claim::inert, "key bias w_k/bias in part")
        .when("a part rotates, no sinks and no soft cap",
              [](const Params& p) { return p.rotates_in_part() && shifts(p); });
    s.claim(Claim::inert, "key norm k_norm")
        .when("nothing rotates behind it, no sinks and no soft cap", [](const Params& p) {
          return (!p.rotates() || p.qk_norm_place == "after_rope") && shifts(p);
        });
    s.claim(Claim::inert, "key norm k_norm in part")
        .when("a part rotates, no sinks and no soft cap",
              [](const Params& p) { return p.rotates_in_part() && shifts(p); });
  }

  Projection query, key;
  Dense w_v, w_o, w_g;
  Weight sinks;
  Rotary rotary;
  Probability softmax;
  WindowCache cache;

  void resolve_defaults() { p.head_dim = p.head(); }

  void build(Builder& b) {
    const int64_t head = p.head(), width = product("num_heads * head_dim", p.num_heads, head),
                  kv_width = product("num_kv_heads * head_dim", p.num_kv_heads, head);
    query = projection(b, "q", p.num_heads, p.use_query_bias);
    key = projection(b, "k", p.num_kv_heads, p.use_key_bias);
    w_v = b.dense("w_v", p.dim, kv_width, p, p.use_value_bias);
    if (p.use_output_gate) w_g = b.dense("w_g", p.dim, width, p, p.use_query_bias);
    w_o = b.dense("w_o", width, p.dim, p, p.use_output_bias);
    sinks = b.weight("sinks", {p.num_heads}, "zeros", {}, p.use_sinks);
    rotary.build(b, p, head, p.rope_percentage, p.max_seq_len, p.rope_theta);
    softmax = b.with_texts("attn_prob", b.probability("attn_prob", "softmax", {}), p, p.num_heads);
    // Texts count keys from the first one on: with one all are kept.
    const bool forgets = p.window && *p.window < p.max_seq_len && !softmax.has_program();
    cache.build(b, p.num_kv_heads, head, p.max_seq_len, forgets ? *p.window : 0);
  }

  void forward(Call& c, const Arguments& a) const {
    const Tensor x = c.input(0);
    check_sequence(x, p.dim);
    const int64_t position = rotary.first(c, a.position_offset, x.dim(1));
    const Tensor q = turned(c, query, x, position);
    Tensor k = turned(c, key, x, position), v = split_heads(dense(c, w_v, x), p.num_kv_heads);
    const Tensor keep = cache.append(c, k, v, c.input(1));
    const int64_t reach = p.window.value_or(0) - 1;
    const AttentionOptions options{.scale = p.scale,
                                   .causal = a.use_causal_mask,
                                   .dropout = p.dropout_rate,
                                   .window_left = reach,
                                   .window_right = a.use_causal_mask ? -1 : reach,
                                   .softcap = p.softcap.value_or(0)};
    const Attended o =
        attention(c, q, k, v, softmax, options, keep, {}, c.wants(1), {}, {.sinks = c[sinks]});
    Tensor y = merge_heads(o.output);
    if (p.use_output_gate) y = mul(y, sigmoid(dense(c, w_g, x)));
    c.output(0, dense(c, w_o, y));
    if (c.wants(1)) c.output(1, o.weights);
  }

 private:
  Projection projection(Builder& b, const std::string& name, int64_t heads, bool bias) const {
    const int64_t tokens = b.positions(0, 3), head = p.head();
    const std::string site = name + "_norm";
    return {.dense = b.dense("w_" + name, p.dim, heads * head, p, bias),
            .norm = p.qk_norm_over == "head"
                        ? b.qk_norm(site.c_str(), p, {-1, heads, tokens, head})
                        : b.qk_norm(site.c_str(), p, {-1, tokens, heads * head}),
            .head_scale = b.weight((site + "/head_scale").c_str(), {heads, 1, head}, "ones", {},
                                   p.use_qk_head_scale),
            .heads = heads};
  }
  Tensor turned(Call& c, const Projection& of, const Tensor& x, int64_t position) const {
    Tensor t = split_heads(dense(c, of.dense, x), of.heads);
    const bool before = p.qk_norm_place == "before_rope";
    if (before) t = normed(c, of, t);
    t = rotary.rotate(t, position, by_axis(c.input(2)));
    return before ? t : normed(c, of, t);
  }
  Tensor normed(Call& c, const Projection& of, Tensor t) const {
    t = p.qk_norm_over == "head" ? norm(c, of.norm, t)
                                 : split_heads(norm(c, of.norm, merge_heads(t)), of.heads);
    return p.use_qk_head_scale ? mul(t, c[of.head_scale]) : t;
  }
};

}  // namespace

ATTN_PLUGIN("decoder", "1.0.0", "Apache-2.0", DecoderAttention)
