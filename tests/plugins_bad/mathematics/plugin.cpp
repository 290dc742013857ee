// SPDX-License-Identifier: Apache-2.0
//
// Self-attention with one defect of its mathematics, or none: fixture_has says which (defects.h).
#include <attn/sdk/plugin.hpp>

#include <atomic>
#include <cmath>
#include <vector>

#include "defects.h"

using namespace attn::sdk;

namespace {

bool has(fixture_defect d) { return fixture_has == d; }

std::atomic<int64_t> counted{0}, built{0}, position{0};

// y = x, but for the defect.
struct touch {
  static constexpr const char* name = "fixture.touch";
  static constexpr const char* doc = "gives what it gets, more or less";
  static constexpr uint32_t version = 1, inputs = 1, outputs = 1;
  static constexpr std::array<attn_param, 0> attributes{};
  static void shape(OpCall c) { c.out_like(0, *c.in(0)); }

  template <class T>
  static void forward(OpCall c) {
    const attn_op_call& raw = c.raw();
    double factor = 1, added = 0;
    if (has(defect_by_threads)) factor += 1e-3 * (raw.engine->concurrency(raw.ctx) - 1);
    if (has(defect_by_recording) && c.recording()) factor += 1e-3;
    if (has(defect_coarse) && sizeof(T) == 4) factor += 1e-3;
    if (has(defect_drifts) || has(defect_says_deterministic))
      added = 1e-6 * static_cast<double>(counted++);
    T* out = static_cast<T*>(c.out(0)->data);
    int64_t n = 0;
    each<T>(*c.in(0), [&](T& x) {
      double y = static_cast<double>(x) * factor + added;
      if (has(defect_overflows)) y = static_cast<double>(std::log(std::exp(x)));
      out[n++] = static_cast<T>(y);
      if (has(defect_writes_input)) x += 1;
    });
  }
  template <class T>
  static void vjp(OpCall c) {
    if (!c.din(0)) return;
    const bool coarse = has(defect_coarse_slope) && sizeof(T) == 4;
    const double factor = has(defect_wrong_slope) ? 2 : coarse ? 1.005 : 1;
    if (has(defect_sticks)) each<T>(*c.din(0), [](T& x) { x += static_cast<T>(1e-3); });
    if (!c.dout(0)) return;
    std::vector<T> dy;
    each<T>(*c.dout(0), [&](T& x) { dy.push_back(has(defect_bends) ? std::fabs(x) : x); });
    size_t n = 0;
    each<T>(*c.din(0), [&](T& x) { x += static_cast<T>(factor * dy[n++]); });
  }

 private:
  template <class T, class F>
  static void each(const attn_view& v, F f) {
    for (int64_t i = 0; i < v.shape[0]; ++i)
      for (int64_t j = 0; j < v.shape[1]; ++j)
        for (int64_t k = 0; k < v.shape[2]; ++k)
          f(static_cast<T*>(v.data)[i * v.stride[0] + j * v.stride[1] + k * v.stride[2]]);
  }
};

struct Params {
  int64_t dim = 0, num_heads = 2;
};
struct Arguments {
  std::optional<bool> use_causal_mask;
};

struct Broken : Layer<Params, Arguments> {
  static constexpr uint32_t flags = ATTN_TYPE_STATEFUL;
  static constexpr TypeInfo info{.id = "fixture.broken",
                                 .class_name = "Broken",
                                 .description = "Attention of a sequence with itself.",
                                 .use_case = "Tests.",
                                 .input_shape = "(batch, seq, dim)",
                                 .complexity = "O(seq^2)",
                                 .paper = "none"};

  static void describe(Schema<Params, Arguments>& s) {
    s.field("dim", &Params::dim).required().above(0).doc("model width");
    s.field("num_heads", &Params::num_heads).above(0).doc("number of heads");
    s.divisible(&Params::dim, &Params::num_heads);
    s.input("inputs", {"batch, seq, dim"}).doc("the sequence");
    s.input("attention_mask", {"batch, key"}).mask().doc("keys that may be used (> 0)");
    s.argument("use_causal_mask", &Arguments::use_causal_mask)
        .causal()
        .doc("a position sees itself and earlier ones only; null: true with a state");
    s.output("output", "batch, seq, dim");

    s.claim(Claim::causal).when(&Arguments::use_causal_mask);
    s.claim(Claim::equivariant).unless(&Arguments::use_causal_mask);
    s.claim(Claim::position_sensitive).when(&Arguments::use_causal_mask);
    s.claim(Claim::batch_independent);
    s.claim(Claim::mask_respected);
    s.claim(Claim::mask_neutral);
    s.claim(Claim::decode_equals_prefill);
    s.claim(Claim::deterministic);
    s.claim(Claim::inert, "k/bias");
    if (has(defect_says_causal)) s.claim(Claim::causal);
    if (has(defect_says_invariant)) s.claim(Claim::invariant);
    if (has(defect_says_inert)) s.claim(Claim::inert, "v/bias");
    if (has(defect_says_linear)) s.claim(Claim::linear);
    if (has(defect_says_homogeneous)) s.claim(Claim::homogeneous).degree(1);
    if (has(defect_says_near))
      s.claim(Claim::reaches, "inputs", "the next positions",
              [](const Params&, const Arguments&, const ClaimCall&, int64_t out, int64_t in) {
                return std::abs(out - in) <= 1;
              });
  }

  Dense q, k, v;
  Probability softmax;
  KeyValueCache cache;
  double constant = 0;

  void build(Builder& b) {
    q = dense_of(b, "q");
    k = dense_of(b, "k");
    v = dense_of(b, "v");
    softmax = b.probability("softmax", "softmax", {});
    cache = b.key_value_cache(p.num_heads, p.dim / p.num_heads);
    if (has(defect_by_build)) constant = 0.01 * static_cast<double>(++built);
  }

  void forward(Call& c, const Arguments& a) const {
    Tensor x = c.input(0), mask = c.input(1);
    check_sequence(x, p.dim);
    const int64_t length = x.dim(1);
    const bool causal = a.use_causal_mask.value_or(c.stateful());
    if (has(defect_mixes_batch) || has(defect_says_independent)) x = sub(x, mean(x, {0}, true));
    if (has(defect_knows_length) && causal && !c.stateful())
      x = mul(x, 1 / static_cast<double>(length));
    if (has(defect_counts) || has(defect_says_equivariant)) x = add(x, places(c, x));
    x = call<touch>({x});
    const Tensor queries = heads(c, q, x);
    Tensor keys = heads(c, k, x), values = heads(c, v, x);
    const Tensor new_keys = keys, new_values = values;
    c.cache(cache, keys, values);
    if (has(defect_forgets) || has(defect_says_decodes)) keys = new_keys, values = new_values;
    if (has(defect_no_mask) || has(defect_says_respected)) mask = {};
    const AttentionOptions options = has(defect_looks_ahead) && causal
                                         ? AttentionOptions{.window_right = 1}
                                         : AttentionOptions{.causal = causal};
    Tensor y;
    if (has(defect_times_zero) && mask && !causal)
      y = times_zero(queries, keys, values, mask);
    else
      y = attention(c, queries, keys, values, softmax, options, mask).output;
    if (has(defect_says_neutral) && mask) y = mul(y, 1.5);
    y = merge_heads(y);
    if (has(defect_by_build)) y = add(y, constant);
    c.output(0, y);
  }

 private:
  Dense dense_of(Builder& b, const char* name) const {
    return b.dense(name, p.dim, p.dim, blocks::Kernels{}, true);
  }
  Tensor heads(Call& c, const Dense& w, const Tensor& x) const {
    return split_heads(dense(c, w, x), p.num_heads, 0, 1);
  }
  // The places of the tokens, counted here or taken from the state.
  static Tensor places(Call& c, const Tensor& x) {
    int64_t first = c.position();
    if (has(defect_counts) && c.stateful() && !c.shapes_only()) {
      if (first == 0) position = 0;
      first = position.fetch_add(x.dim(1));
    }
    std::vector<double> wide;
    for (int64_t i = 0; i < x.dim(1); ++i) wide.push_back(0.1 * static_cast<double>(first + i));
    const std::vector<float> narrow(wide.begin(), wide.end());
    const int64_t shape[] = {1, x.dim(1), 1};
    const void* dense =
        x.dtype() == ATTN_F64 ? static_cast<const void*>(wide.data()) : narrow.data();
    return c.constant(x.dtype(), shape, dense);
  }
  // softmax(scores - 1e9 where masked) values
  static Tensor times_zero(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& mask) {
    const Tensor keep = convert(greater(convert(mask, q.dtype()), 0), q.dtype());
    const Tensor scores = matmul(q, k, {.transpose_b = true});
    const Tensor apart = affine(keep, 1e9, -1e9).reshape({keep.dim(0), 1, 1, keep.dim(1)});
    return matmul(attn::sdk::softmax(add(scores, apart)), v);
  }
};

}  // namespace

ATTN_PLUGIN("broken", "1.0.0", "Apache-2.0", Broken, Operator<touch>)
