// SPDX-License-Identifier: Apache-2.0
//
// Joint attention of two streams, such as an image and its text: each has projections of its own, and all of their
// tokens share one softmax (Esser et al. 2024, section 4 and figure 2b). Given positions, queries and keys turn by them.
#include <attn/sdk/plugin.hpp>

using namespace attn::sdk;

namespace {

struct Params : blocks::KernelsAndBiases, blocks::ProbabilityChoice, blocks::Rope, blocks::Score {
  int64_t dim = 0, num_heads = 8;
  double dropout_rate = 0.0, rope_theta = 10000.0;
  bool use_bias = true, context_pre_only = false;
  std::optional<std::string> qk_norm_type = "rms_norm";
  ComponentSpec qk_norm_kwargs;
};

struct Arguments {
  bool return_context = false;
};

enum Port { kInputs, kContext, kMask, kPositions, kContextPositions };

struct JointAttention : Layer<Params, Arguments> {
  static constexpr TypeInfo info{
      .id = "joint",
      .class_name = "JointAttention",
      .description = "Two streams with projections of their own in one attention.",
      .use_case = "Diffusion transformers that read image and text together (SD3, Flux).",
      .input_shape = "[inputs (batch, seq, dim), context (batch, key, context_width)]",
      .complexity = "O((seq + key)^2 * dim)",
      .paper = "Scaling Rectified Flow Transformers (2403.03206)"};

  static void describe(Schema<Params, Arguments>& s) {
    s.field("dim", &Params::dim).required().above(0).doc("model width");
    s.field("num_heads", &Params::num_heads).above(0).doc("number of heads");
    blocks::dropout(s);
    s.field("use_bias", &Params::use_bias).doc("biases in all projections");
    s.field("context_pre_only", &Params::context_pre_only)
        .doc("the context is read and has no result, nor weights for one: the last block");
    blocks::probability(s);
    blocks::qk_norm(s, "norm of each head's queries and keys, one for each stream");
    blocks::kernels_and_biases(s, "of all kernels", "of all biases");
    s.field("rope_theta", &Params::rope_theta)
        .above(0)
        .extension()
        .doc("base of the rotation frequencies, where positions are given");
    blocks::rope(s, true);
    blocks::score_rules(s, "b h q k H K");  // how many queries there are depends on return_context
    s.divisible(&Params::dim, &Params::num_heads);
    s.input("inputs", {"batch, seq, dim"}).doc("the first stream, the image");
    s.input("context", {"batch, key, context_width"}).doc("the second stream, the text");
    s.input("attention_mask", {"batch, key"})
        .mask()
        .doc("tokens of the context that may be used (> 0)");
    s.rule(
        "rope_scaling must be of a type whose frequencies follow no length, not dynamic or "
        "longrope",
        [](const Params& p) { return !blocks::rope_by_length(p.rope_scaling); });
    blocks::rope_pairs(s, [](const Params& p) { return p.dim / p.num_heads; });
    s.input("positions", {"batch, seq", "batch, axis, seq"})
        .integers()
        .doc("of the first stream, by axis of mrope_section; absent: 0, if the context has some");
    s.input("context_positions", {"batch, key", "batch, axis, key"})
        .integers()
        .doc("of the context; absent: 0. Nothing turns at 0, nor without any positions");
    s.argument("return_context", &Arguments::return_context)
        .doc("also give the result of the context");
    s.output("output", "batch, seq, dim").doc("shaped as the first stream");
    s.output("context_output", "batch, key, context_width")
        .when("return_context")
        .doc("shaped as the context");
    blocks::attention(s, &Params::qk_norm_type);
    s.claim(Claim::equivariant);
    s.claim(Claim::invariant, "context");
    blocks::inert(s, {"centred bias to_q/bias", "centred bias to_k/bias",
                      "centred bias add_q_proj/bias", "centred bias add_k_proj/bias"});
    for (const char* weight : {"add_q_proj/", "norm_added_q/", "to_add_out/"})
      s.claim(Claim::inert, weight).unless(&Arguments::return_context);
    for (const char* weight : {"query bias to_q/bias", "query norm norm_q"})
      s.claim(Claim::inert, weight)
          .unless(&Arguments::return_context)
          .when("no positions", [](const Params&, const Arguments&, const ClaimCall& c) {
            return !c.has(kPositions);
          });
  }

  struct Stream {
    Dense q, k, v, out;
    Norm q_norm, k_norm;
  };
  Stream first, context;
  Probability attn_prob;
  Rotary rotary;

  void build(Builder& b) {
    const attn_shape& x = b.input(kContext);
    if (x.rank != 3 || x.dim[2] <= 0)
      fail("context must be 3D (batch, seq, width) with a known last dimension to build the layer");
    const int64_t d = p.dim, width = x.dim[2];
    const auto norm = [&](const char* site, int port) {
      return b.qk_norm(
          site, p, {-1, p.num_heads, b.positions(static_cast<size_t>(port), 3), d / p.num_heads});
    };
    first = {b.dense("to_q", d, d, p),   b.dense("to_k", d, d, p), b.dense("to_v", d, d, p),
             b.dense("to_out", d, d, p), norm("norm_q", kInputs),  norm("norm_k", kInputs)};
    context.k = b.dense("add_k_proj", width, d, p);
    context.v = b.dense("add_v_proj", width, d, p);
    context.k_norm = norm("norm_added_k", kContext);
    if (!p.context_pre_only) {
      context.q = b.dense("add_q_proj", width, d, p);
      context.out = b.dense("to_add_out", d, width, p);
      context.q_norm = norm("norm_added_q", kContext);
    }
    attn_prob = b.probability("attn_prob", p, p.num_heads);
    rotary.build(b, p, d / p.num_heads, p.rope_theta);
  }

  void forward(Call& c, const Arguments&) const {
    const Tensor x = c.input(kInputs), y = c.input(kContext);
    check_sequence(x, p.dim);
    check_context(c, x, y);
    const int64_t own = x.dim(1), other = y.dim(1);
    const auto heads = [&](const Dense& w, const Tensor& from) {
      return split_heads(dense(c, w, from), p.num_heads);
    };
    const Tensor at1 = positions(c, kPositions, x), at2 = positions(c, kContextPositions, y);
    const auto turned = [&](const Norm& n, const Tensor& t, const Tensor& at) {
      return at ? rotary.rotate(norm(c, n, t), 0, at) : norm(c, n, t);
    };
    const Tensor k1 = turned(first.k_norm, heads(first.k, x), at1), v1 = heads(first.v, x),
                 k2 = turned(context.k_norm, heads(context.k, y), at2), v2 = heads(context.v, y),
                 k = concat({&k1, &k2}, 2), v = concat({&v1, &v2}, 2);
    Tensor q = turned(first.q_norm, heads(first.q, x), at1);
    // Nobody who does not ask for the context's result pays for it.
    if (c.wants(1)) {
      const Tensor q2 = turned(context.q_norm, heads(context.q, y), at2);
      q = concat({&q, &q2}, 2);
    }
    const Attended o = attention(c, q, k, v, attn_prob, {.dropout = p.dropout_rate}, kept(c, own));
    c.output(0, dense(c, first.out, merge_heads(o.output.slice(2, 0, own))));
    if (c.wants(1))
      c.output(1, dense(c, context.out, merge_heads(o.output.slice(2, own, own + other))));
  }

 private:
  void check_context(const Call& c, const Tensor& x, const Tensor& y) const {
    const int64_t width = c[context.k.kernel].dim(0);
    if (y.rank() != 3) fail("context must be 3D (batch, seq, width), got shape {}", y.shape());
    if (y.dim(2) != width)
      fail("context has last dimension {}, but the layer was built for {}, got shape {}", y.dim(2),
           width, y.shape());
    check_not_empty(y, "context");
    if (y.dim(0) != x.dim(0))
      fail("inputs and context must have one batch size, got shapes {} and {}", x.shape(),
           y.shape());
    if (c.wants(1) && p.context_pre_only)
      fail(
          "return_context is true, but with context_pre_only the context has no result; leave "
          "return_context out or set context_pre_only to false");
    const Tensor mask = c.input(kMask);
    if (mask && (mask.rank() != 2 || mask.dim(1) != y.dim(1) ||
                 (mask.dim(0) != x.dim(0) && mask.dim(0) != 1)))
      fail("attention_mask of shape {} must be ({}, {}): one entry for each token of the context",
           mask.shape(), x.dim(0), y.dim(1));
  }

  // Those of a stream as rotary takes them; absent: neither stream has some.
  Tensor positions(const Call& c, Port port, const Tensor& stream) const {
    const Tensor at = c.input(port);
    if (!c.input(kPositions) && !c.input(kContextPositions)) return {};
    if (!at) {
      const int64_t zero = 0;
      return c.constant(ATTN_I64, {}, &zero)
          .view(std::array{stream.dim(1)}, std::array<int64_t, 1>{0});
    }
    const bool axes = at.rank() == 3;
    if ((axes && at.dim(1) != rotary.scaling.axes()) || at.dim(-1) != stream.dim(1) ||
        (at.dim(0) != stream.dim(0) && at.dim(0) != 1))
      fail(
          "{} of shape {} do not fit; expected ({}, {}), or ({}, axes, {}) with as many axes as "
          "mrope_section of rope_scaling has, here {}",
          port == kPositions ? "positions" : "context_positions", at.shape(), stream.dim(0),
          stream.dim(1), stream.dim(0), stream.dim(1), rotary.scaling.axes());
    return by_axis(at);
  }

  // Of all keys: those of the first stream are always kept.
  static Tensor kept(const Call& c, int64_t own) {
    const Tensor mask = c.input(kMask);
    if (!mask) return {};
    const float one = 1;
    const Tensor ones = broadcast_to(c.constant(ATTN_F32, {}, &one), mask.shape());
    return pad(where(mask, ones, 0), {{0, 0}, {own, 0}}, 1);
  }
};

}  // namespace

ATTN_PLUGIN("joint", "1.0.0", "Apache-2.0", JointAttention)
