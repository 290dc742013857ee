// SPDX-License-Identifier: Apache-2.0
//
// The attention of the Energy Transformer: not values but the negative gradient of an energy of all tokens, so that
// adding a small part of it lowers that energy (Hoover et al. 2023, eq. 3-5).
#include <attn/sdk/plugin.hpp>

#include <cmath>
#include <limits>

using namespace attn::sdk;

namespace {

struct Params {
  int64_t dim = 0, num_heads = 8;
  std::optional<int64_t> head_dim;
  std::optional<double> beta;
  bool attn_self = false;
  ComponentSpec kernel_initializer, kernel_regularizer;
};

struct Arguments {
  bool return_energy = false;
};

struct EnergyAttention : Layer<Params, Arguments> {
  static constexpr TypeInfo info{
      .id = "energy",
      .class_name = "EnergyAttention",
      .description = "The negative gradient of an energy of all tokens; no values.",
      .use_case = "Blocks that descend an energy: associative memories, completion of patterns.",
      .input_shape = "(batch, seq_len, dim)",
      .complexity = "O(seq_len^2 * num_heads * head_dim), two maps",
      .paper = "Energy Transformer (2302.07253)"};

  static void describe(Schema<Params, Arguments>& s) {
    s.field("dim", &Params::dim).required().above(0).doc("model width");
    s.field("num_heads", &Params::num_heads).above(0).doc("number of heads");
    s.field("head_dim", &Params::head_dim)
        .above(0)
        .doc("size of a head; null: dim / num_heads, which must divide");
    s.field("beta", &Params::beta)
        .above(0)
        .doc("inverse temperature, the factor of the scores; null: 1 / sqrt(head size)");
    s.field("attn_self", &Params::attn_self).doc("a token is a key of itself, too");
    s.field("kernel_initializer", &Params::kernel_initializer)
        .initializer()
        .nullable()
        .doc("of both kernels; null: normal numbers of deviation 0.02, cut off at twice that");
    s.field("kernel_regularizer", &Params::kernel_regularizer).regularizer().doc("of both kernels");
    s.rule("dim ({dim}) must be divisible by num_heads ({num_heads}) where head_dim is null",
           [](const Params& p) { return p.head_dim || p.dim % p.num_heads == 0; });
    s.input("inputs", {"batch, seq, dim"}).doc("the tokens, as a rule normalised");
    blocks::attention_mask(
        s, "keys that may be used (> 0); of rank 1 and 2 tokens, as keys and as queries");
    s.argument("return_energy", &Arguments::return_energy).doc("also give the energy");
    s.output("output", "batch, seq, dim").doc("shaped as the input: what lowers the energy");
    s.output("energy", "batch").when("return_energy").doc("whose negative gradient output is");
    s.claims(
        {Claim::batch_independent, Claim::deterministic, Claim::mask_neutral, Claim::equivariant});
    s.claim(Claim::mask_respected)
        .when("the mask is about tokens, of rank 1 or 2",
              [](const Params&, const Arguments&, const ClaimCall& c) { return c.rank(1) <= 2; });
  }

  int64_t head = 0;
  double beta = 1;
  Weight key, query;  // (head, heads, dim)
  Probability softmax;

  void build(Builder& b) {
    head = p.head_dim.value_or(p.dim / p.num_heads);
    beta = p.beta.value_or(1 / std::sqrt(static_cast<double>(head)));
    product("num_heads * head_dim", p.num_heads, head);
    ComponentSpec initializer = p.kernel_initializer;
    if (initializer.kind == ComponentSpec::Kind::null) {
      initializer.kind = ComponentSpec::Kind::object;
      initializer.text = R"({"class_name": "TruncatedNormal", "config": {"stddev": 0.02}})";
    }
    key = b.weight("w_key", {head, p.num_heads, p.dim}, initializer, p.kernel_regularizer);
    query = b.weight("w_query", {head, p.num_heads, p.dim}, initializer, p.kernel_regularizer);
    softmax = b.probability("attn_prob", "softmax", {});
  }

  void forward(Call& c, const Arguments&) const {
    const Tensor x = c.input(0);
    check_sequence(x, p.dim);
    const Tensor pairs = kept(c, x), tokens = present(c), q = project(c[query], x),
                 k = project(c[key], x);
    const AttentionOptions options{
        .scale = beta,
        .zero_fully_masked_rows = true,
        .mask_rule = kRules[tokens ? tokens.rank() : 0][p.attn_self ? 1 : 0]};
    const AttentionExtras extras{
        .want_lse = true, .captured = tokens ? "m" : nullptr, .tables = {tokens}};
    // A token as a query moves towards the keys that it finds.
    c.label("queries");
    const Attended found = attention(c, q, k, k, softmax, options, pairs, {}, false, {}, extras);
    // A query without keys has no part in the energy.
    const Tensor some = greater(found.lse, std::numeric_limits<float>::lowest()),
                 lse = where(some, found.lse, 0);
    // As a key it moves towards the queries that find it, by exp(score - lse of the query): a softmax over the queries,
    // times the sum that this is divided by.
    c.label("keys");
    const Tensor bias = neg(lse).reshape({lse.dim(0), lse.dim(1), 1, lse.dim(2)});
    const Attended finding = attention(
        c, k, q, q, softmax, options, pairs ? transpose(pairs) : Tensor{}, bias, false, {}, extras);
    // At most 1 from each query; rounding of large scores could make more of it.
    const Tensor share = exp(minimum(finding.lse, std::log(static_cast<double>(x.dim(1)))));
    const Tensor pulled =
        mul(finding.output, share.reshape({share.dim(0), share.dim(1), share.dim(2), 1}));
    c.output(0, add(back(c[query], found.output), back(c[key], pulled)));
    if (c.observes("energy")) c.observe("energy", affine(lse, -1 / beta));
    if (c.wants(1)) c.output(1, affine(sum(lse, {1, 2}), -1 / beta));
  }

 private:
  // x (B, N, dim) -> (B, heads, N, head), and back with the transposed weight.
  [[nodiscard]] Tensor project(const Tensor& w, const Tensor& x) const {
    const Tensor y = matmul(x, flat(w), {.transpose_b = true});
    return y.reshape({x.dim(0), x.dim(1), head, p.num_heads}).permute({0, 3, 1, 2});
  }
  [[nodiscard]] Tensor back(const Tensor& w, const Tensor& y) const {
    return matmul(y.permute({0, 2, 3, 1}).reshape({y.dim(0), y.dim(2), head * p.num_heads}),
                  flat(w));
  }
  [[nodiscard]] Tensor flat(const Tensor& w) const {
    return w.reshape({head * p.num_heads, p.dim});
  }

  // Which pairs exist, symmetric in query and key: by rank of the mask of tokens, and by attn_self.
  static constexpr const char* kRules[3][2] = {
      {"q != k", nullptr},
      {"q != k && m[q] > 0 && m[k] > 0", "m[q] > 0 && m[k] > 0"},
      {"q != k && m[b, q] > 0 && m[b, k] > 0", "m[b, q] > 0 && m[b, k] > 0"}};

  // Which tokens there are, (N) or (B, N); absent: all, or the mask is about pairs.
  static Tensor present(const Call& c) {
    const Tensor mask = c.input(1);
    if (!mask || mask.rank() > 2) return {};
    const bool shared = mask.rank() == 2 && mask.dim(0) == 1;
    return greater(as_ones(c, shared ? mask.reshape({mask.dim(1)}) : mask), 0);
  }
  // Which pairs (query, key) a mask of them keeps, (1 or B, 1 or H, N, N); absent: all.
  [[nodiscard]] Tensor kept(const Call& c, const Tensor& x) const {
    const Tensor mask = c.input(1);
    if (!mask) return {};
    const int64_t n = x.dim(1);
    check_mask(mask, x.dim(0), n);
    if (mask.rank() <= 2) return {};
    const Tensor pairs =
        mask.reshape({mask.dim(0), mask.rank() == 4 ? mask.dim(1) : 1, mask.dim(-2), n});
    if (pairs.dim(2) == n) return pairs;
    return broadcast_to(as_ones(c, pairs), {pairs.dim(0), pairs.dim(1), n, n});
  }
  static Tensor as_ones(const Call& c, const Tensor& mask) {
    const float one = 1;
    return where(mask, c.constant(ATTN_F32, {}, &one), 0);
  }
  void check_mask(const Tensor& mask, int64_t batch, int64_t n) const {
    const int rank = mask.rank();
    const auto fits = [&](int axis, int64_t extent) {
      return mask.dim(axis) == extent || mask.dim(axis) == 1;
    };
    if (rank < 1 || rank > 4 || mask.dim(-1) != n || (rank > 1 && !fits(0, batch)) ||
        (rank > 2 && !fits(-2, n)) || (rank == 4 && !fits(1, p.num_heads)))
      fail(
          "attention_mask of shape {} does not fit; expected (key), (batch, key), (batch, query, "
          "key) or (batch, head, query, key) of batch {}, {} heads and {} tokens; extents of 1 "
          "broadcast, except along the keys",
          mask.shape(), batch, p.num_heads, n);
  }
};

}  // namespace

ATTN_PLUGIN("energy", "1.0.0", "Apache-2.0", EnergyAttention)
