// SPDX-License-Identifier: Apache-2.0
//
// Causal attention on a sliding window; each head has a sink, a score without a value (arXiv 2309.17453). Decodes.
#include <attn/sdk/plugin.hpp>

using namespace attn::sdk;

struct Params {
  int64_t dim = 0, num_heads = 8, window = 256;
};
struct SlidingSinkLayer : Layer<Params> {
  static constexpr uint32_t flags = ATTN_TYPE_STATEFUL;
  static constexpr TypeInfo info{.id = "example.sliding_sink",
                                 .class_name = "SlidingSink",
                                 .description = "Causal attention on a window, with sinks.",
                                 .use_case = "Decoders of long sequences.",
                                 .input_shape = "(batch, seq_len, dim)",
                                 .complexity = "O(seq_len * (window + dim) * dim)",
                                 .paper = "Attention Sinks (2309.17453)"};
  static void describe(Schema<Params>& s) {
    s.field("dim", &Params::dim).required().above(0).doc("model width");
    s.field("num_heads", &Params::num_heads).above(0).doc("number of heads; divides dim");
    s.field("window", &Params::window).above(1).doc("keys of a query, its own position included");
    s.divisible(&Params::dim, &Params::num_heads);
    s.input("inputs", {"batch, seq, dim"}).doc("a sequence");
    blocks::attention_mask(s, "keys that may be used (> 0); with a state, of all positions so far");
    s.output("output", "batch, seq, dim").doc("shaped as the input");
    s.claims({Claim::batch_independent, Claim::causal, Claim::mask_respected, Claim::mask_neutral,
              Claim::position_sensitive, Claim::decode_equals_prefill, Claim::deterministic});
  }
  Weight qkv, sinks, proj;
  KeyValueCache cache;
  void build(Builder& b) {
    qkv = b.weight("qkv/kernel", {p.dim, product("3 * dim", 3, p.dim)}, "glorot_uniform");
    sinks = b.weight("sinks", {p.num_heads}, "zeros");
    proj = b.weight("proj/kernel", {p.dim, p.dim}, "glorot_uniform");
    cache = b.key_value_cache(p.num_heads, p.dim / p.num_heads);
  }
  void forward(Call& c) const {
    check_sequence(c.input(0), p.dim);
    const Tensor all = linear(c.input(0), c[qkv]);
    const auto part = [&](int n) { return split_heads(all, p.num_heads, n, 3); };
    const Tensor k = c.cache(cache.keys, part(1)), v = c.cache(cache.values, part(2));
    const auto y = attention(c, part(0), k, v, {},
                             {.causal = true, .window = p.window, .zero_fully_masked_rows = true},
                             c.input(1), {}, false, {}, {.sinks = c[sinks]});
    c.output(0, linear(merge_heads(y.output), c[proj]));
  }
};
ATTN_PLUGIN("sliding_sink", "1.0.0", "Apache-2.0", SlidingSinkLayer)
