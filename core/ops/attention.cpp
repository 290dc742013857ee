// SPDX-License-Identifier: Apache-2.0
//
// The operator over the fused kernel: which tensors broadcast how, what is kept for the gradient. The result lies
// in memory as (B, Q, H, Dv), so that merging the heads is a view.
#include "core/kernels/attention.hpp"
#include "core/ops/attention_views.hpp"
#include "core/ops/check.hpp"
#include "core/ops/ops.hpp"

namespace attn::ops {
namespace {

enum Attribute {
  kAxes = 1,
  kScale = kProbabilityAttributes,
  kCausal,
  kOffset,
  kWindow,
  kBlock,
  kEmptyRows,
  kDropout,
  kTile,
  kMapHead,
  kMapHeads,
  kMapQuery,
  kMapQueries
};
enum Port { kQuery, kKey, kValue, kKeep, kBias, kSlope, kLengths };

struct Extents {
  int64_t b, h, g, q, k, d, dv;
};

Extents extents(const OpCall& c) {
  const attn_view &q = *c.in(kQuery), &k = *c.in(kKey), &v = *c.in(kValue);
  return {q.shape[0], q.shape[1], k.shape[1], q.shape[2], k.shape[2], q.shape[3], v.shape[3]};
}

void check_keep(const attn_view& v, const ScoresShape& scores) {
  check_mask(v, scores);
  if (v.shape[v.rank - 1] == 1 && scores[3] > 1)
    fail("mask of shape {} has extent 1 along the keys; expected {}: it cannot mask any of {}",
         shape_text(v), scores[3], scores_text(scores));
}

void check_bias(const attn_view& v, const ScoresShape& scores) {
  bool fits = v.rank >= 2 && v.rank <= 4;
  for (int i = 0; i < v.rank && fits; ++i)
    fits = v.shape[i] == 1 || v.shape[i] == scores[static_cast<size_t>(4 - v.rank + i)];
  if (!fits)
    fail("bias of shape {} does not broadcast to (batch, head, query, key) = {}", shape_text(v),
         scores_text(scores));
}

const int64_t* lengths_of(const OpCall& c, const attn_view& v) {
  auto* out = parallel(c).scratch_array<int64_t>(static_cast<size_t>(v.shape[0]) + 1);
  for (int64_t i = 0; i < v.shape[0]; ++i)
    out[i] =
        v.dtype == ATTN_I64 ? data<int64_t>(v)[i * v.stride[0]] : data<int32_t>(v)[i * v.stride[0]];
  return out;
}

// What forward and gradient have in common.
template <class T>
kernels::AttentionArgs<T> arguments(const OpCall& c) {
  const Extents e = extents(c);
  kernels::AttentionArgs<T> a;
  a.batch = e.b, a.heads = e.h, a.kv_heads = e.g, a.queries = e.q, a.keys = e.k;
  a.head_dim = e.d, a.value_dim = e.dv;
  a.q = view4<const T>(contiguous<T>(c, *c.in(kQuery)));
  a.k = view4<const T>(contiguous<T>(c, *c.in(kKey)));
  a.v = view4<const T>(contiguous<T>(c, *c.in(kValue)));
  a.scale = static_cast<T>(c.real(kScale));
  a.causal = c.flag(kCausal);
  a.offset = c.integer(kOffset);
  a.window = c.integer(kWindow);
  a.block = c.integer(kBlock);
  a.tile = c.integer(kTile);
  if (const attn_view* m = c.in(kKeep)) {
    if (signs_of(*m).additive()) fail("mask of shape {} {}", shape_text(*m), kAdditiveMask);
    a.mask = keep_bytes(c, *m).scores();
  }
  if (const attn_view* n = c.in(kLengths)) a.lengths = lengths_of(c, *n);
  if (const attn_view* b = c.in(kBias)) a.bias = scores4<const T>(bias_axes(*b));
  a.dead =
      c.integer(kEmptyRows) ? kernels::FullyMaskedRows::zero : kernels::FullyMaskedRows::unmask;
  a.probability = kernels::ProbabilityArgs<T>(probability_options(c, c.in(kSlope)));
  a.dropout = c.real(kDropout);
  a.seed = c.seed();
  a.stream = c.stream();
  if (c.saved(0)) a.saved = data<T>(*c.saved(0));
  return a;
}

struct attention {
  static constexpr const char* name = "attention";
  static constexpr const char* doc =
      "probability(scale q k^T + bias, masked) v; q (B, H, Q, D), k (B, G, K, D), v (B, G, K, Dv)";
  static constexpr uint32_t version = 1, inputs = 7, outputs = 2, saved = 1, required = 0b111;
  static constexpr uint32_t constants = 1u << kKeep | 1u << kLengths, flags = ATTN_OP_RANDOM;
  static constexpr int map_output = 1;
  static constexpr auto attributes = probability_attributes(
      real_attribute("scale", 1.0), bool_attribute("causal", false), int_attribute("offset", 0),
      int_attribute("span", 0), int_attribute("block", 0), int_attribute("fully_masked_rows", 0),
      real_attribute("dropout", 0.0), int_attribute("tile", 0), int_attribute("map_head", 0),
      int_attribute("map_heads", 0), int_attribute("map_query", 0),
      int_attribute("map_queries", 0));

  static void shape(OpCall c) {
    const attn_view &q = *c.in(kQuery), &k = *c.in(kKey), &v = *c.in(kValue);
    check_number(c, kQuery, "q");
    check_number(c, kKey, "k");
    check_number(c, kValue, "v");
    if (q.rank != 4 || k.rank != 4 || v.rank != 4)
      fail("q, k and v must be (batch, head, position, size)");
    const Extents e = extents(c);
    if (k.shape[0] != e.b || v.shape[0] != e.b || v.shape[1] != e.g || v.shape[2] != e.k ||
        k.shape[3] != e.d)
      fail("q {}, k {} and v {} do not belong together", shape_text(q), shape_text(k),
           shape_text(v));
    if (e.g < 1 || e.h % e.g != 0) fail("{} query heads are no multiple of {} key heads", e.h, e.g);
    const ScoresShape scores{e.b, e.h, e.q, e.k};
    if (const attn_view* m = c.in(kKeep)) check_keep(*m, scores);
    if (const attn_view* b = c.in(kBias)) {
      check_number(c, kBias, "bias");
      check_bias(*b, scores);
    }
    if (const attn_view* s = c.in(kSlope)) {
      check_number(c, kSlope, "slope");
      if (size_of(*s) != 1) fail("slope has shape {}; expected one number", shape_text(*s));
    }
    if (const attn_view* n = c.in(kLengths))
      if (n->rank != 1 || n->shape[0] != e.b || (n->dtype != ATTN_I32 && n->dtype != ATTN_I64))
        fail("lengths must be ({}) int32 or int64, got shape {}", e.b, shape_text(*n));
    check_attributes(c);
    c.out_shape(0, q.dtype, {e.b, e.h, e.q, e.dv}, {0, 2, 1, 3});
    const MapPart part = map_part(c);
    c.out_shape(1, q.dtype, {e.b, part.heads, part.queries, e.k});
    c.saved_shape(0, q.dtype, {e.b, e.h, e.q, kernels::saved_per_row(probability_options(c).kind)});
  }

  template <class T>
  static void forward(OpCall c) {
    kernels::AttentionArgs<T> a = arguments<T>(c);
    a.o = c.out(0) ? view4<T>(*c.out(0)) : unwanted<T>(c);
    const MapPart part = map_part(c);
    const bool whole = part.heads == a.heads && part.queries == a.queries;
    if (c.out(1) && !whole) return with_part_of_map(c, a, part);
    if (c.out(1)) a.map = scores4<T>(*c.out(1));
    kernels::attention(a, parallel(c));
  }

  template <class T>
  static void vjp(OpCall c) {
    kernels::AttentionArgs<T> a = arguments<T>(c);
    a.o = c.out(0) ? view4<T>(*c.out(0)) : unwanted<T>(c);
    if (!c.out(0)) kernels::attention(a, parallel(c));
    kernels::AttentionGrads<T> g;
    if (c.dout(0)) g.dout = view4<const T>(contiguous<T>(c, *c.dout(0)));
    if (c.dout(1)) g.dmap = scores4<const T>(*c.dout(1));
    const Target<T> dq(c, c.din(kQuery)), dk(c, c.din(kKey)), dv(c, c.din(kValue));
    g.dq = dq.view(), g.dk = dk.view(), g.dv = dv.view();
    if (c.din(kBias)) g.dbias = scores4<T>(bias_axes(*c.din(kBias)));
    if (c.din(kSlope)) g.dslope = data<T>(*c.din(kSlope));
    kernels::attention_backward(a, g, parallel(c));
    dq.finish();
    dk.finish();
    dv.finish();
  }

  static attn_cost cost(OpCall c) {
    const Extents e = extents(c);
    // Exact number of (query, key) pairs that the structure leaves.
    kernels::AttentionArgs<float> a;
    a.keys = e.k, a.causal = c.flag(kCausal), a.offset = c.integer(kOffset);
    a.window = c.integer(kWindow), a.block = c.integer(kBlock);
    double pairs = 0;
    for (int64_t i = 0; i < e.q; ++i) {
      const kernels::KeyRange r = kernels::visible_keys(a, i);
      pairs += static_cast<double>(r.end - r.begin);
    }
    const auto n = static_cast<double>(e.b * e.h);
    const double element = element_size(c);
    return {
        sizeof(attn_cost), 0, 2 * n * pairs * static_cast<double>(e.d + e.dv),
        element * static_cast<double>(e.b * (e.h * e.q * (e.d + e.dv) + e.g * e.k * (e.d + e.dv)))};
  }

 private:
  // Heads and queries that the map is wanted of; 0 of them are all from the first one on.
  struct MapPart {
    int64_t head, heads, query, queries;
  };
  static MapPart map_part(const OpCall& c) {
    const Extents e = extents(c);
    const auto first = [](int64_t at, int64_t all) { return std::clamp<int64_t>(at, 0, all); };
    const auto count = [](int64_t n, int64_t rest) { return n > 0 ? std::min(n, rest) : rest; };
    const int64_t h = first(c.integer(kMapHead), e.h), q = first(c.integer(kMapQuery), e.q);
    return {h, count(c.integer(kMapHeads), e.h - h), q, count(c.integer(kMapQueries), e.q - q)};
  }
  // Forward with that part of the map. Numbers of dropout go by the place in the whole, so with it the whole exists.
  template <class T>
  static void with_part_of_map(const OpCall& c, kernels::AttentionArgs<T>& a, const MapPart& part) {
    if (a.dropout == 0) {
      kernels::attention(a, parallel(c));
      return part_of_map(c, a, part);
    }
    attn_view map = *c.out(1);
    map.shape[1] = a.heads, map.shape[2] = a.queries;
    set_dense_strides(map);
    map.data = parallel(c).scratch_array<T>(static_cast<size_t>(size_of(map)) + 1);
    a.map = scores4<T>(map);
    kernels::attention(a, parallel(c));
    map.data = a.map.at(0, part.head, part.query);
    map.shape[1] = part.heads, map.shape[2] = part.queries;
    copy_strided(map, *c.out(1));
  }
  // The rows of the part alone, a key head at a time; a: the whole call.
  template <class T>
  static void part_of_map(const OpCall& c, const kernels::AttentionArgs<T>& a,
                          const MapPart& part) {
    if (part.heads == 0 || part.queries == 0) return;
    const int64_t group = a.heads / a.kv_heads, end = part.head + part.heads;
    const auto rows = static_cast<size_t>(a.batch * group * part.queries);
    T* const unused = parallel(c).scratch_array<T>(rows * static_cast<size_t>(a.value_dim) + 1);
    for (int64_t g = part.head / group; g * group < end; ++g) {
      const int64_t h = std::max(part.head, g * group), n = std::min(end, (g + 1) * group) - h;
      kernels::AttentionArgs<T> s = a;
      s.heads = n, s.kv_heads = 1, s.queries = part.queries;
      s.q.data = a.q.at(0, h, part.query);
      s.k.data = a.k.at(0, g, 0), s.v.data = a.v.at(0, g, 0);
      s.o = {unused, n * part.queries * a.value_dim, part.queries * a.value_dim, a.value_dim};
      s.offset = a.offset + part.query;
      if (a.mask.data) s.mask.data = a.mask.at(0, h, part.query);
      if (a.bias.data) s.bias.data = a.bias.at(0, h, part.query);
      s.map = scores4<T>(*c.out(1));
      s.map.data = s.map.at(0, h - part.head, 0);
      s.saved = nullptr;
      kernels::attention(s, parallel(c));
    }
  }
  // Memory for a result that the call does not want.
  template <class T>
  static kernels::View4<T> unwanted(const OpCall& c) {
    const Extents e = extents(c);
    T* memory = parallel(c).scratch_array<T>(static_cast<size_t>(e.b * e.q * e.h * e.dv) + 1);
    return {memory, e.q * e.h * e.dv, e.dv, e.h * e.dv};
  }
  static void check_attributes(const OpCall& c) {
    const ProbabilityOptions options = probability_options(c);
    check_probability(options);
    const auto axes = c.integers(kAxes);
    if (axes.size() > 1 || (axes.size() == 1 && axes[0] != -1 && axes[0] != 3))
      fail("this operator normalises the key axis only");
    if (c.integer(kWindow) < 0 || c.integer(kBlock) < 0 || c.integer(kTile) < 0)
      fail("neither window nor block nor tile may be negative");
    constexpr int64_t kFarthest = int64_t{1} << 48;
    if (c.integer(kOffset) > kFarthest || c.integer(kOffset) < -kFarthest)
      fail("offset {} is out of range", c.integer(kOffset));
    if (!(c.real(kDropout) >= 0 && c.real(kDropout) <= 1)) fail("dropout must be between 0 and 1");
    if (options.kind == ProbabilityKind::threshmax && !c.in(kSlope))
      fail("threshmax needs its slope");
  }
};

}  // namespace

const attn_op& op_attention() { return operator_table<attention>; }

}  // namespace attn::ops
