// SPDX-License-Identifier: Apache-2.0
//
// Self-attention whose weights are products of features, so that keys can be added up once for all queries
// (Katharopoulos et al. 2020, eq. 4-6), with a floor of the denominator that grows with the input: without biases the
// layer is homogeneous of degree 1.
#include <attn/sdk/observe_keys.hpp>
#include <attn/sdk/plugin.hpp>

#include <algorithm>

using namespace attn::sdk;

namespace {

struct Params : blocks::KernelsAndBiases {
  int64_t dim = 0, num_heads = 8;
  std::optional<int64_t> head_dim;
  bool causal = false;
  double dropout_rate = 0.0;
  bool use_bias = false;
  std::string feature_map = "relu";
  double epsilon = 1e-6;
  std::optional<std::string> normalization;
  ComponentSpec normalization_kwargs;
};

int64_t head_of(const Params& p) { return p.head_dim.value_or(p.dim / p.num_heads); }

struct LinearAttention : Layer<Params> {
  static constexpr uint32_t flags = ATTN_TYPE_STATEFUL;
  static constexpr TypeInfo info{
      .id = "linear",
      .class_name = "LinearAttention",
      .description =
          "Self-attention by products of features, in linear time; scales with its input.",
      .use_case = "Denoisers that must not depend on the scale of the noise; very long sequences.",
      .input_shape = "(batch, seq_len, dim)",
      .complexity = "O(seq_len * head_dim * dim)",
      .paper = "Transformers are RNNs (2006.16236)"};

  static void describe(Schema<Params>& s) {
    s.field("dim", &Params::dim).required().above(0).doc("model width");
    s.field("num_heads", &Params::num_heads).above(0).doc("number of heads");
    s.field("head_dim", &Params::head_dim)
        .above(0)
        .doc("size of a head; null: dim / num_heads, which must divide");
    s.field("causal", &Params::causal).causal().doc("a position uses itself and earlier ones only");
    blocks::dropout(s, "dropout on the output");
    s.field("use_bias", &Params::use_bias).doc("biases in all four projections");
    s.field("feature_map", &Params::feature_map)
        .choices({"relu", "relu_squared", "abs", "elu"})
        .doc("features of queries and keys; elu: elu + 1, which does not scale with the input");
    s.field("epsilon", &Params::epsilon)
        .at_least(0)
        .doc("added to denominators, in units of their mean over the positions");
    s.field("normalization", &Params::normalization)
        .norm()
        .doc("norm of each head's result, before the last projection");
    s.field("normalization_kwargs", &Params::normalization_kwargs)
        .options("normalization")
        .doc("its options");
    blocks::kernels_and_biases(s, "of all kernels", "of all biases");
    s.rule("dim ({dim}) must be divisible by num_heads ({num_heads}) where head_dim is null",
           [](const Params& p) { return p.head_dim || p.dim % p.num_heads == 0; });
    s.rule("normalization '{normalization}' needs heads of more than one component",
           [](const Params& p) { return !p.normalization || head_of(p) > 1; });
    s.input("inputs", {"batch, seq, dim"}).doc("the sequence");
    s.input("attention_mask", {"batch, key"})
        .mask()
        .doc("positions that may be used (> 0); with a state, over all positions so far");
    s.output("output", "batch, seq, dim").doc("shaped as the input");
    blocks::batch_independent(s, &Params::normalization);
    s.claims({Claim::deterministic, Claim::mask_neutral, Claim::mask_respected});
    blocks::causal(s, &Params::causal);
    blocks::equivariant_unless(s, &Params::causal);
    s.claim(Claim::homogeneous).degree(1).when("without biases, norm and elu", [](const Params& p) {
      return !p.use_bias && p.feature_map != "elu" && !p.normalization;
    });
    for (const char* weight : {"query_proj/kernel", "query_proj/bias"})
      s.claim(Claim::inert, weight).when("head_dim = 1 and epsilon = 0", [](const Params& p) {
        return head_of(p) == 1 && p.epsilon == 0;
      });
  }

  int64_t head = 0;
  Dense query, key, value, output;
  Norm output_norm;
  State sums, floor;

  void build(Builder& b) {
    head = head_of(p);
    const int64_t h = p.num_heads, width = product("num_heads * head_dim", h, head);
    query = b.dense("query_proj", p.dim, width, p);
    key = b.dense("key_proj", p.dim, width, p);
    value = b.dense("value_proj", p.dim, width, p);
    output = b.dense("output_proj", width, p.dim, p);
    output_norm = b.norm("output_norm", p.normalization, p.normalization_kwargs,
                         {-1, h, b.positions(0, 3), head});
    if (!p.causal) return;
    sums = b.value("sums", {-1, h, head, head + 1});
    floor = b.value("floor", {-1, h, 1, 2});
  }

  void forward(Call& c) const {
    const Tensor x = c.input(0);
    check_sequence(x, p.dim);
    const Tensor keep = kept(c, x);
    const Tensor q = features(split_heads(dense(c, query, x), p.num_heads));
    Tensor k = features(split_heads(dense(c, key, x), p.num_heads));
    // Behind the values a 1, whose sum is the denominator.
    Tensor v =
        pad(split_heads(dense(c, value, x), p.num_heads), {{0, 0}, {0, 0}, {0, 0}, {0, 1}}, 1);
    if (keep) k = where(keep, k, 0), v = where(keep, v, 0);
    const Tensor both =
        p.causal ? scan(c, q, k, v) : matmul(q, matmul(k, v, {.transpose_a = true}));
    const Tensor mass = both.slice(3, head, head + 1), below = denominator(c, mass, keep);
    if (!c.stateful() && c.observes_map()) observe_weights(c, q, k, below);
    const Tensor o = norm(c, output_norm, div(both.slice(3, 0, head), below));
    if (p.causal && c.stateful()) c.advance(x.dim(1));
    c.output(0, dropout(c, dense(c, output, merge_heads(o)), p.dropout_rate));
  }

 private:
  static constexpr int64_t kChunk = 64;  // positions whose pairs are taken one by one

  // (B or 1, 1, N, 1) of the positions of this call; absent without a mask.
  static Tensor kept(const Call& c, const Tensor& x) {
    const Tensor mask = c.input(1);
    if (!mask) return {};
    const int64_t tokens = x.dim(1), all = c.position() + tokens;
    if (mask.rank() != 2 || (mask.dim(0) != x.dim(0) && mask.dim(0) != 1) || mask.dim(1) != all)
      fail("attention_mask of shape {} must be ({}, {})", mask.shape(), x.dim(0), all);
    return mask.slice(1, all - tokens, all).reshape({mask.dim(0), 1, tokens, 1});
  }

  [[nodiscard]] Tensor features(const Tensor& x) const {
    if (p.feature_map == "abs") return abs(x);
    // elu(x) + 1 = max(x, 0) + exp(min(x, 0))
    if (p.feature_map == "elu") return add(relu(x), exp(minimum(x, 0)));
    return p.feature_map == "relu_squared" ? square(relu(x)) : relu(x);
  }

  // (n, end - begin): true where key begin + j is not behind query i.
  static Tensor not_later(const Call& c, int64_t n, int64_t begin, int64_t end) {
    const float one = 1;
    const Tensor index = cumsum(broadcast_to(c.constant(ATTN_F32, {}, &one), {n}));
    return less_equal(index.slice(0, begin, end).reshape({1, end - begin}), index.reshape({n, 1}));
  }

  // Sums over the keys up to each query, itself included: over all chunks before its own, and pair by pair within it.
  Tensor scan(Call& c, const Tensor& q, const Tensor& k, const Tensor& v) const {
    const int64_t tokens = q.dim(2), chunk = std::min(tokens, kChunk),
                  chunks = (tokens + chunk - 1) / chunk, padded = chunks * chunk;
    const auto cut = [&](const Tensor& t) {
      const Tensor whole =
          padded == tokens ? t : pad(t, {{0, 0}, {0, 0}, {0, padded - tokens}, {0, 0}});
      return whole.reshape({t.dim(0), t.dim(1), chunks, chunk, t.dim(3)});
    };
    const Tensor qs = cut(q), ks = cut(k), vs = cut(v);
    // What a later key holds may be anything, so that its zero leaves it out.
    const Tensor pairs =
        where(not_later(c, chunk, 0, chunk), matmul(qs, ks, {.transpose_b = true}), 0);
    Tensor out = matmul(pairs, vs, {.skip_zeros = true});
    const Tensor before = c.get(sums);
    if (chunks > 1 || c.stateful()) {
      const Tensor own = matmul(ks, vs, {.transpose_a = true});  // (B, H, chunks, d, d + 1)
      Tensor all = pad(own, {{0, 0}, {0, 0}, {1, 0}, {0, 0}, {0, 0}});
      if (before) {
        const Tensor first = before.reshape({own.dim(0), own.dim(1), 1, own.dim(3), own.dim(4)});
        all = concat({&first, &own}, 2);
      }
      all = cumsum(all, 2);
      if (c.stateful())
        c.set(sums, all.slice(2, chunks, chunks + 1)
                        .reshape({own.dim(0), own.dim(1), own.dim(3), own.dim(4)}));
      out = add(out, matmul(qs, all.slice(2, 0, chunks)));
    }
    return out.reshape({q.dim(0), q.dim(1), padded, v.dim(3)}).slice(2, 0, tokens);
  }

  // mass (B, H, N, 1): what the features give, 1 where they give nothing; plus epsilon times its mean, over the positions
  // that a query may use.
  Tensor denominator(Call& c, const Tensor& mass, const Tensor& keep) const {
    if (p.epsilon == 0) return where(mass, floored(mass), 1);
    const float one = 1;
    Tensor counted = mass, count = broadcast_to(
                               convert(c.constant(ATTN_F32, {}, &one), mass.dtype()), mass.shape());
    if (keep) counted = where(keep, mass, 0), count = where(keep, count, 0);
    Tensor all = concat({&counted, &count}, 3);
    if (p.causal) {
      const int64_t tokens = mass.dim(2);
      const Tensor before = c.get(floor);
      all = cumsum(concat({&before, &all}, 2), 2);
      if (before) all = all.slice(2, 1, tokens + 1);
      if (c.stateful()) c.set(floor, all.slice(2, tokens - 1, tokens));
    } else {
      all = sum(all, {2}, true);
    }
    const Tensor mean = div(all.slice(3, 0, 1), maximum(all.slice(3, 1, 2), 1));
    return where(mass, floored(add(mass, affine(mean, p.epsilon))), 1);
  }
  // Features of elu vanish with the exponential, and so would what gradients are divided by.
  [[nodiscard]] Tensor floored(const Tensor& x) const {
    return p.feature_map == "elu" ? maximum(x, 1e-20) : x;
  }

  // The weights that the features imply, (B, H, N, N).
  void observe_weights(const Call& c, const Tensor& q, const Tensor& k, const Tensor& below) const {
    const int64_t n = k.dim(2);
    observe_by_keys(
        c, {q.dim(0), q.dim(1), n, n}, q.dtype(), kChunk, [&](int64_t begin, int64_t end) {
          const Tensor pairs = matmul(q, k.slice(2, begin, end), {.transpose_b = true});
          return div(p.causal ? where(not_later(c, n, begin, end), pairs, 0) : pairs, below);
        });
  }
};

}  // namespace

ATTN_PLUGIN("linear", "1.0.0", "Apache-2.0", LinearAttention)
