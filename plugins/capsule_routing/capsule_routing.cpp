// SPDX-License-Identifier: Apache-2.0
//
// Multi-head self-attention whose scores are joined by two results of routing by agreement (Sabour, Frosst, Hinton
// 2017, procedure 1): between the heads of a query, and between the tokens up to each token (Duan et al. 2019).
#include <attn/sdk/plugin.hpp>

#include <cmath>

#include "head_capsules.hpp"
#include "low_rank.hpp"

using namespace attn::sdk;

namespace {

struct Params : blocks::KernelsAndBiases, blocks::ProbabilityChoice, blocks::QkNorm {
  int64_t num_heads = 0;
  std::optional<int64_t> key_dim;
  int64_t routing_iterations = 3;
  std::optional<int64_t> value_dim;
  double dropout_rate = 0.0;
  bool use_bias = true;
  ComponentSpec activity_regularizer;
  bool use_vertical_routing = true, use_horizontal_routing = true, use_positional_routing = true;
  double epsilon = 1e-8;
};

constexpr int64_t kChunkElements = int64_t{1}
                                   << 20;     // of what routing between heads adds to the scores
constexpr int64_t kMostIterations = 1 << 20;  // each is computed, and kept for the gradient
constexpr int64_t kMaxChunks = 64;            // 8 joined pieces, each of 8

struct CapsuleRoutingSelfAttention : Layer<Params> {
  static constexpr TypeInfo info{
      .id = "capsule_routing",
      .class_name = "CapsuleRoutingSelfAttention",
      .description = "Self-attention with scores routed by agreement between heads and tokens.",
      .use_case = "Experiments with a richer mix of head and token evidence.",
      .input_shape = "(batch, seq_len, dim)",
      .complexity = "O(seq_len^2 * dim * routing_iterations)",
      .paper = "Dynamic Routing Between Capsules (1710.09829)"};

  static void describe(Schema<Params>& s) {
    s.field("num_heads", &Params::num_heads).required().above(0).doc("number of heads");
    s.field("key_dim", &Params::key_dim)
        .above(0)
        .doc("size of a head's queries and keys; null: input width / num_heads");
    s.field("routing_iterations", &Params::routing_iterations)
        .above(0)
        .doc("rounds of each routing");
    s.field("value_dim", &Params::value_dim)
        .above(0)
        .doc("size of a head's values; null: that of its keys");
    blocks::dropout(s);
    s.field("use_bias", &Params::use_bias)
        .doc("biases in the four projections and in the aggregation");
    blocks::kernels_and_biases(s, "of the kernels and of the aggregation matrix", "of all biases");
    s.field("activity_regularizer", &Params::activity_regularizer)
        .regularizer()
        .doc("of the output");
    s.field("use_vertical_routing", &Params::use_vertical_routing).doc("routing between heads");
    s.field("use_horizontal_routing", &Params::use_horizontal_routing)
        .doc("routing between tokens");
    s.field("use_positional_routing", &Params::use_positional_routing)
        .doc("horizontal: token l routes from tokens 0..l; otherwise between heads again");
    s.field("epsilon", &Params::epsilon).above(0).doc("inside the root of squash");
    blocks::probability(s, "scores to weights; routing and aggregation use it too", {"!axis"},
                        "its options; the axis is fixed");
    blocks::qk_norm(s);
    s.input("inputs", {"batch, seq, dim"}).doc("the sequence");
    blocks::attention_mask(
        s, "keys that may be used (> 0), after routing; all tokens take part in the routing")
        .partial();
    s.output("output", "batch, seq, dim").doc("shaped as the input");
    const auto unrouted = [](const Params& p) {
      return !p.use_vertical_routing && !p.use_horizontal_routing;
    };
    blocks::batch_independent(s, &Params::qk_norm_type);
    s.claims({Claim::deterministic, Claim::mask_neutral});
    blocks::without_batch_norm(s.claim(Claim::mask_respected).when("no routing", unrouted),
                               &Params::qk_norm_type);
    blocks::equivariant_when(s, "no horizontal or no positional routing", [](const Params& p) {
      return !p.use_horizontal_routing || !p.use_positional_routing;
    });
    s.claim(Claim::inert, "key bias key/bias").when("no routing", unrouted);
    blocks::inert(s, {"centred bias key/bias", "centred bias query/bias"});
    for (const char* weight : {"vertical_aggregation_weights", "vertical_aggregation_bias"})
      s.claim(Claim::inert, weight).when("num_heads = 1", [](const Params& p) {
        return p.num_heads == 1;
      });
  }

  int64_t width = 0, key = 0, value = 0;
  Dense q, k, v, out;
  Weight aggregation, aggregation_bias;
  Norm q_norm, k_norm;
  Probability attention_prob, routing_prob, aggregation_prob;
  Regularizer activity;

  void build(Builder& b) {
    const attn_shape& in = b.input(0);
    if (in.rank != 3 || in.dim[2] <= 0)
      fail("the layer needs an input of rank 3, (batch, seq, dim), with a known width");
    width = in.dim[2];
    check_at_most("routing_iterations", p.routing_iterations, kMostIterations);
    const int64_t h = p.num_heads;
    if (!p.key_dim && width % h != 0)
      fail("embed_dim ({}) must be divisible by num_heads ({}) when key_dim is None", width, h);
    key = p.key_dim.value_or(width / h);
    value = p.value_dim.value_or(key);
    const int64_t keys = product("num_heads * key_dim", h, key),
                  values = product("num_heads * value_dim", h, value);
    q = b.dense("query", width, keys, p);
    k = b.dense("key", width, keys, p);
    v = b.dense("value", width, values, p);
    out = b.dense("output", values, width, p);
    aggregation = b.weight("vertical_aggregation_weights", {h, h}, p.kernel_initializer,
                           p.kernel_regularizer, p.use_vertical_routing);
    aggregation_bias = b.weight("vertical_aggregation_bias", {h}, p.bias_initializer,
                                p.bias_regularizer, p.use_vertical_routing && p.use_bias);
    q_norm = b.qk_norm("q_norm", p, {-1, h, in.dim[1], key});
    k_norm = b.qk_norm("k_norm", p, {-1, h, in.dim[1], key});
    attention_prob = b.probability("attn_prob_attention", p);
    routing_prob = b.probability("attn_prob_routing", p);
    aggregation_prob = b.probability("attn_prob_aggregation", p);
    activity = b.regularizer(p.activity_regularizer);
  }

  void forward(Call& c) const {
    const Tensor x = c.input(0), mask = c.input(1);
    check_sequence(x, width);
    const Tensor queries = norm(c, q_norm, heads(c, x, q));
    const Tensor keys = norm(c, k_norm, heads(c, x, k));
    const Tensor values = heads(c, x, v);
    const Tensor routed = positional() ? route_tokens(c, queries, keys) : queries;
    const int64_t rows = x.dim(1);
    Tensor o;
    if (!p.use_vertical_routing && !between_heads()) {
      o = attend(c, routed, keys, values, {}, mask, 0, rows);
    } else {
      check_rows(mask, queries);
      const Tensor scaled = affine(queries, alpha());
      const Tensor sums = p.use_vertical_routing ? sum(c[aggregation], {0}) : Tensor{};
      if (c.observes("head_routing"))
        c.observe("head_routing", route_heads(c, scaled, keys, sums, 2)[1]);
      const int64_t elements = queries.dim(0) * queries.dim(1) * rows * rows;
      const int64_t chunks =
          std::min({kMaxChunks, rows, (elements + kChunkElements - 1) / kChunkElements});
      const int64_t step = (rows + chunks - 1) / chunks;
      o = joined(rows, 8 * step, [&](int64_t begin, int64_t end) {
        return joined(
            end, step,
            [&](int64_t from, int64_t to) {
              const Tensor bias = route_heads(c, scaled.slice(2, from, to), keys, sums, 1)[0];
              return attend(c, routed.slice(2, from, to), keys, values, bias, mask, from, to);
            },
            begin);
      });
    }
    Tensor y = dense(c, out, merge_heads(o));
    penalize(c, activity, "activity", y);
    c.output(0, std::move(y));
  }

 private:
  [[nodiscard]] bool positional() const {
    return p.use_horizontal_routing && p.use_positional_routing;
  }
  // The horizontal routing that is one between heads again.
  [[nodiscard]] bool between_heads() const {
    return p.use_horizontal_routing && !p.use_positional_routing;
  }
  [[nodiscard]] double alpha() const { return 1.0 / std::sqrt(static_cast<double>(key)); }

  Tensor heads(const Call& c, const Tensor& x, const Dense& w) const {
    return split_heads(dense(c, w, x), p.num_heads);
  }

  // Queries q' with alpha q' K^T = A + X: X[l,:] is the capsule of A[0..l,:], alpha g a_l K^T. The agreements of all
  // rounds add up to b[l,i] = u_l . q_i, u = sum of g a M, so that a round is causal attention of u over the queries.
  Tensor route_tokens(Call& c, const Tensor& queries, const Tensor& keys) const {
    const bool constant = is_adaptive(routing_prob.kind());
    // Equal scores: threshmax still divides by its sum plus epsilon.
    const bool gated = routing_prob.kind() == ProbabilityKind::threshmax;
    const double factor = gated ? 0.5 / (0.5 + routing_prob.epsilon()) : 1.0;
    const Tensor m =
        matmul(keys, keys, {.transpose_a = true, .alpha = capsule::kPart * alpha() * alpha()});
    // One round's squash; last: of the capsule itself.
    const auto squashed = [&](const Tensor& a, const Tensor& base, bool last) {
      const Tensor am = matmul(a, m);
      return call<capsule::squash>({a, am, base}, {p.epsilon, last});
    };
    // The first round, where all tokens count alike.
    Tensor a = affine(cumsum(queries, 2), factor);
    if (!constant) a = div(a, counts(c, queries));
    Tensor u;
    for (int64_t t = 1; t < p.routing_iterations && !constant; ++t) {
      u = squashed(a, u, false);
      c.label("routing");
      a = attention(c, u, queries, queries, routing_prob, {.scale = 1, .causal = true}).output;
    }
    return squashed(a, queries, true);
  }

  // (length, 1): how many tokens each position of x sees, 1, 2, ...
  static Tensor counts(const Call& c, const Tensor& x) {
    const std::array<int64_t, 2> shape{1, 1};
    const float one = 1;
    return cumsum(
        broadcast_to(convert(c.constant(ATTN_F32, shape, &one), x.dtype()), {x.dim(2), 1}), 0);
  }

  // What routing between heads adds to the scores of these queries, times alpha, and the coefficients of its rounds.
  // sums: of the aggregation's columns, or empty; bit i of wanted: result i is computed.
  std::array<Tensor, 2> route_heads(const Call& c, const Tensor& queries, const Tensor& keys,
                                    const Tensor& sums, uint32_t wanted) const {
    return call<capsule::head_capsules>(
        {queries, keys, sums, c[aggregation_bias], c.weight(routing_prob, 0),
         c.weight(aggregation_prob, 0)},
        {routing_prob, p.routing_iterations, p.epsilon, between_heads()}, wanted);
  }

  Tensor attend(Call& c, const Tensor& queries, const Tensor& keys, const Tensor& values,
                const Tensor& bias, const Tensor& mask, int64_t from, int64_t to) const {
    Tensor keep = mask;
    const int axis = mask.rank() - 2;
    if (mask.rank() >= 3 && mask.dim(axis) > 1 && to - from < mask.dim(axis))
      keep = mask.slice(axis, from, to);
    c.label("attention");
    return attention(c, queries, keys, values, attention_prob, {.dropout = p.dropout_rate}, keep,
                     bias)
        .output;
  }

  // A mask by query must have one row, or all of them, before it is cut.
  static void check_rows(const Tensor& mask, const Tensor& q) {
    if (mask.rank() < 3 || mask.rank() > 4) return;
    const int64_t rows = mask.dim(mask.rank() - 2);
    if (rows != 1 && rows != q.dim(2))
      fail(
          "mask of shape {} does not broadcast to (batch, head, query, key) = ({}, {}, {}, "
          "{})",
          mask.shape(), q.dim(0), q.dim(1), q.dim(2), q.dim(2));
  }

  // f(begin, end) for up to 8 steps of the rows from..end, joined along the positions.
  template <class F>
  static Tensor joined(int64_t end, int64_t step, F&& f, int64_t from = 0) {
    std::array<Tensor, 8> parts;
    size_t n = 0;
    for (int64_t at = from; at < end; at += step) parts[n++] = f(at, std::min(end, at + step));
    if (n == 1) return parts[0];
    return concat(
        {&parts[0], &parts[1], &parts[2], &parts[3], &parts[4], &parts[5], &parts[6], &parts[7]},
        2);
  }
};

}  // namespace

ATTN_PLUGIN("capsule_routing", "1.0.0", "Apache-2.0", CapsuleRoutingSelfAttention,
            Operator<capsule::squash>, Operator<capsule::head_capsules>)
