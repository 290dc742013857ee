// SPDX-License-Identifier: Apache-2.0
//
// Exact softmax self-attention computed block by block with an online softmax (Liu, Zaharia and Abbeel
// 2023; Milakov and Gimelshein 2018). In a call that several ranks share each has some of the tokens: projections
// and norms see the own ones, attention meets the keys of the others.
#include <attn/sdk/plugin.hpp>

using namespace attn::sdk;

namespace {

struct Params : blocks::KernelsAndBiases, blocks::QkNorm, blocks::Score {
  int64_t dim = 0, num_heads = 8, block_size = 512;
  double dropout_rate = 0.0;
  bool use_bias = false;
};

struct Arguments {
  bool return_attention_weights = false;
};

struct RingAttention : Layer<Params, Arguments> {
  static constexpr TypeInfo info{
      .id = "ring",
      .class_name = "RingAttention",
      .description = "Exact self-attention block by block; the matrix of scores never exists.",
      .use_case = "Long contexts whose score matrix would not fit.",
      .input_shape = "(batch, seq_len, dim)",
      .complexity = "O(seq_len^2 * dim) time, O(seq_len * dim) memory",
      .paper = "Ring Attention with Blockwise Transformers (2310.01889)"};
  static constexpr uint32_t flags = ATTN_TYPE_SEQUENCE_PARALLEL;

  static void describe(Schema<Params, Arguments>& s) {
    s.field("dim", &Params::dim).required().above(0).doc("model width");
    s.field("num_heads", &Params::num_heads).above(0).doc("number of heads");
    s.field("block_size", &Params::block_size)
        .above(0)
        .doc("most keys that are taken at a time: memory and speed, no effect on the result");
    blocks::dropout(s);
    s.field("use_bias", &Params::use_bias).doc("biases in all four projections");
    blocks::kernels_and_biases(s, "of all kernels", "of all biases");
    blocks::qk_norm(s);
    blocks::score_rules(s);
    s.divisible(&Params::dim, &Params::num_heads);
    s.input("inputs", {"batch, seq, dim"}).doc("the sequence");
    s.input("attention_mask", {"batch, key", "batch, query, key", "batch, head, query, key"})
        .mask()
        .doc("keys that may be used (> 0); lower-triangular for causal attention");
    blocks::return_attention_weights(
        s, "taken for the sake of callers that pass it; no effect: weights never exist");
    s.output("output", "batch, seq, dim").doc("shaped as the input");
    blocks::batch_independent(s, &Params::qk_norm_type);
    s.claims(
        {Claim::deterministic, Claim::mask_respected, Claim::mask_neutral, Claim::equivariant});
    blocks::inert(s, {"key bias w_k/bias", "key norm k_norm"});
  }

  Dense query, key, value, output;
  Norm q_norm, k_norm;
  Probability softmax;

  void build(Builder& b) {
    const int64_t d = p.dim, h = p.num_heads, tokens = b.positions(0, 3);
    query = b.dense("w_q", d, d, p);
    key = b.dense("w_k", d, d, p);
    value = b.dense("w_v", d, d, p);
    output = b.dense("w_o", d, d, p);
    q_norm = b.qk_norm("q_norm", p, {-1, h, tokens, d / h});
    k_norm = b.qk_norm("k_norm", p, {-1, h, tokens, d / h});
    softmax = b.with_rules("softmax", b.probability("softmax", "softmax", {}), p, h);
  }

  void forward(Call& c, const Arguments&) const {
    const Tensor x = c.input(0), mask = c.input(1);
    const attn_shard* part = c.part();
    check_sequence(x, p.dim, "Input", part != nullptr);
    check_mask(mask, x.dim(0), x.dim(1), part ? part->total : x.dim(1));
    if (part) check_part(*part);
    const auto heads = [&](const Dense& w) { return split_heads(dense(c, w, x), p.num_heads); };
    const Tensor q = norm(c, q_norm, heads(query));
    const Tensor k = norm(c, k_norm, heads(key));
    const Tensor v = heads(value);
    const AttentionOptions options{.dropout = p.dropout_rate, .tile = p.block_size};
    if (part) c.label("attention");  // what it tells has the name that it has without ranks
    const Tensor o = part ? sharded_attention(c, q, k, v, *part, options, mask)
                          : attention(c, q, k, v, softmax, options, mask).output;
    if (c.observes("schedule")) observe_schedule(c, part, x.dim(1));
    c.output(0, dense(c, output, merge_heads(o)));
  }

 private:
  // (steps, 3) whole numbers: whose keys this rank meets in each step, and which tokens they are, [begin, end). An
  // ordered part meets them in order, others from its own back round the ring.
  static void observe_schedule(const Call& c, const attn_shard* part, int64_t seq) {
    const bool ordered = part && (part->flags & ATTN_SHARD_DETERMINISTIC) != 0;
    const int64_t ranks = part ? part->size : 1, own = part ? part->rank : 0;
    std::vector<int64_t> steps;
    for (int64_t i = 0; i < ranks; ++i) {
      const int64_t rank = ordered ? i : (own - i + ranks) % ranks;
      steps.insert(steps.end(),
                   {rank, part ? part->bounds[rank] : 0, part ? part->bounds[rank + 1] : seq});
    }
    const std::array<int64_t, 2> shape{ranks, 3};
    c.observe("schedule", c.constant(ATTN_I64, shape, steps.data()));
  }
  // seq: own tokens; total: those of all ranks.
  void check_mask(const Tensor& mask, int64_t batch, int64_t seq, int64_t total) const {
    if (!mask) return;
    if (mask.rank() < 2 || mask.rank() > 4)
      fail(
          "attention_mask must have rank 2 (batch, key), 3 (batch, query, key) or 4 (batch, head, "
          "query, key), got shape {}",
          mask.shape());
    const auto fits = [&](int axis, int64_t n) {
      return mask.dim(axis) == n || mask.dim(axis) == 1;
    };
    bool good = fits(0, batch) && mask.dim(-1) == (mask.rank() == 2 ? seq : total);
    if (mask.rank() > 2) good = good && fits(-2, seq);
    if (mask.rank() > 3) good = good && fits(1, p.num_heads);
    if (good) return;
    if (seq == total)
      fail(
          "attention_mask of shape {} does not suit batch {}, {} heads and {} tokens; every "
          "extent but the last may be 1",
          mask.shape(), batch, p.num_heads, seq);
    fail(
        "attention_mask of shape {} does not suit batch {}, {} heads and {} of {} tokens: "
        "(batch, own tokens), or the rows of the own tokens over the keys of all",
        mask.shape(), batch, p.num_heads, seq, total);
  }

  void check_part(const attn_shard& part) const {
    if (softmax.softcap > 0 || softmax.sinks || softmax.has_program())
      fail(
          "softcap, use_sinks, score and mask_rule are for calls of one process: a rank meets the "
          "keys of others part by part, by scores without rules; remove them, or the communicator");
    if (!(part.flags & ATTN_SHARD_DETERMINISTIC)) return;
    for (int32_t i = 1; i < part.size; ++i)
      if (part.bounds[i] != part.total && part.bounds[i] % p.block_size != 0)
        fail(
            "deterministic: rank {} begins at token {}; every rank must begin at a multiple "
            "of block_size, {}",
            i, part.bounds[i], p.block_size);
  }
};

}  // namespace

ATTN_PLUGIN("ring", "1.0.0", "Apache-2.0", RingAttention)
