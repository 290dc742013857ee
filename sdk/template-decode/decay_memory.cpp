// SPDX-License-Identifier: Apache-2.0
//
// Retention (Sun et al. 2023, arXiv 2307.08621, section 2): causal attention without a softmax, in which a position
// counts for rate^(how long ago it was). All that was seen fits into one matrix for each head, so that a sequence goes on
// for ever in constant memory: with a state, calls of any length give what one call for everything gives.
//
//   y_i = scale q_i (sum over j <= i of rate^(i - j) k_j^T v_j),   rate_h = 1 - 2^-(5 + h)
#include <attn/sdk/plugin.hpp>

#include <array>
#include <cmath>

using namespace attn::sdk;

namespace {

constexpr int kMostHeads = 16;

struct Params : blocks::Kernels {
  int64_t dim = 0, num_heads = 4;
};

struct DecayMemoryLayer : Layer<Params> {
  static constexpr uint32_t flags = ATTN_TYPE_STATEFUL;
  static constexpr TypeInfo info{.id = "example.decay_memory",
                                 .class_name = "DecayMemory",
                                 .description = "Causal linear attention with a decaying memory.",
                                 .use_case = "Streams without an end, decoded in constant memory.",
                                 .input_shape = "(batch, seq_len, dim)",
                                 .complexity = "O(seq_len^2 * dim) a call, O(dim^2) a token",
                                 .paper = "Retentive Network (2307.08621)"};

  static void describe(Schema<Params>& s) {
    s.field("dim", &Params::dim).required().above(0).doc("model width");
    s.field("num_heads", &Params::num_heads)
        .between(1, kMostHeads)
        .doc("number of heads; divides dim");
    blocks::kernels(s, "of both kernels");
    s.divisible(&Params::dim, &Params::num_heads);
    s.input("inputs", {"batch, seq, dim"}).doc("a sequence, or the next piece of one");
    s.output("output", "batch, seq, dim").doc("shaped as the input");
    s.claim(Claim::homogeneous).degree(3);  // q, k and v are linear in the input
    s.claims({Claim::batch_independent, Claim::causal, Claim::position_sensitive,
              Claim::decode_equals_prefill, Claim::deterministic});
  }

  Weight qkv, proj;
  State memory;

  void build(Builder& b) {
    const int64_t head = p.dim / p.num_heads;
    qkv = b.weight("qkv/kernel", {p.dim, product("3 * dim", 3, p.dim)}, p.kernel_initializer,
                   p.kernel_regularizer);
    proj = b.weight("proj/kernel", {p.dim, p.dim}, p.kernel_initializer, p.kernel_regularizer);
    // One value of fixed size for each sequence. What grows with the sequence is b.history() or b.key_value_cache().
    memory = b.value("memory", {-1, p.num_heads, head, head});
  }

  // rate_h ^ exponents, (heads, exponents...)
  Tensor decays(const Call& c, const Tensor& exponents) const {
    std::array<double, kMostHeads> logs{};
    for (int h = 0; h < p.num_heads; ++h)
      logs[static_cast<size_t>(h)] = std::log1p(-std::exp2(-5.0 - h));
    const std::array<int64_t, 3> shape{p.num_heads, 1, 1};
    const Tensor rates = convert(c.constant(ATTN_F64, shape, logs.data()), exponents.dtype());
    return exp(mul(rates, exponents));
  }

  void forward(Call& c) const {
    const Tensor x = c.input(0);
    check_sequence(x, p.dim);
    const int64_t n = x.dim(1);
    const double number = 1;
    const std::array<int64_t, 2> shape{1, 1};
    const Tensor one = convert(c.constant(ATTN_F64, shape, &number), x.dtype());
    const Tensor i = cumsum(broadcast_to(one, {n, 1}), 0);  // 1, 2, ..., n: (n, 1)
    const Tensor ago = sub(i, i.reshape({1, n}));           // i - j: (n, n)

    const Tensor all = linear(x, c[qkv]);
    const auto part = [&](int which) { return split_heads(all, p.num_heads, which, 3); };
    const Tensor q = part(0), k = part(1), v = part(2);
    const double scale = 1 / std::sqrt(static_cast<double>(p.dim / p.num_heads));

    // Within the call: as attention, with decays in the place of a softmax. Zeros are left out, so that not even a NaN
    // of a later position gets into an earlier one.
    const Tensor scores = matmul(q, k, {.transpose_b = true, .alpha = scale});
    const Tensor faded = mul(scores, decays(c, maximum(ago, 0)));
    Tensor y = matmul(where(greater_equal(ago, 0), faded, 0), v, {.skip_zeros = true});

    if (c.stateful()) {
      const Tensor later = affine(i, -1, static_cast<double>(n));  // positions after j
      Tensor now = matmul(mul(k, decays(c, later)), v, {.transpose_a = true});
      if (const Tensor before = c.get(memory)) {  // empty in the first call
        y = add(y, mul(matmul(q, before, {.alpha = scale}), decays(c, i)));
        now = add(now, mul(before, decays(c, i.slice(0, n - 1, n))));
      }
      c.set(memory, now);
      c.advance(n);  // a state without a history does not know how many positions a call had
    }
    c.output(0, linear(merge_heads(y), c[proj]));
  }
};

}  // namespace

ATTN_PLUGIN("decay_memory", "1.0.0", "Apache-2.0", DecayMemoryLayer)
