// SPDX-License-Identifier: Apache-2.0
//
// The operator over the fused kernel: which tensors broadcast how, what is kept for the gradient. The result lies
// in memory as (B, Q, H, Dv), so that merging the heads is a view.
#include "core/kernels/attention.hpp"
#include "core/kernels/attention_notes.hpp"
#include "core/ops/attention_map.hpp"
#include "core/ops/attention_views.hpp"
#include "core/ops/check.hpp"
#include "core/ops/observe_weights.hpp"
#include "core/ops/ops.hpp"
#include "core/ops/score_program.hpp"
#include "core/tensor/compact_rows.hpp"
#include "core/tensor/strided.hpp"

namespace attn::ops {
namespace {

enum Attribute {
  kAxes = 1,
  kScale = kProbabilityAttributes,
  kCausal,
  kOffset,
  kSpan,
  kBlock,
  kEmptyRows,
  kDropout,
  kTile,
  kWindowLeft,
  kWindowRight,
  kSoftcap,
  kMapStage,
  kMapHead,
  kMapHeads,
  kMapQuery,
  kMapQueries,
  kScore,
  kMaskRule,
  kNames,
  kConstants
};
enum Port { kQuery, kKey, kValue, kKeep, kBias, kSlope, kLengths, kSinks, kOffsets, kTable0 };
enum Result { kOutput, kMap, kLse };

constexpr ProgramPlace kProgram{kScore, kTable0};
constexpr int64_t kFarthest = int64_t{1} << 48;  // of offsets, so that positions are numbers

struct Extents {
  int64_t b, h, g, q, k, d, dv;
};

CompactRows rows_kept(const OpCall& c, uint32_t port) {
  const attn_ctx* ctx = c.raw().ctx;
  return ctx && ctx->compact_rows ? ctx->compact_rows(c.raw().in[port]) : CompactRows{};
}

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

const int64_t* integers_of(const OpCall& c, const attn_view& v) {
  auto* out = parallel(c).scratch_array<int64_t>(static_cast<size_t>(v.shape[0]) + 1);
  for (int64_t i = 0; i < v.shape[0]; ++i) out[i] = integer_at(v, i);
  return out;
}
void check_offset(int64_t offset) {
  if (offset > kFarthest || offset < -kFarthest)
    fail("offset {} is out of range; expected at most 2^48 either way", offset);
}
void check_integers(const attn_view& v, const char* name, int64_t batch) {
  if (v.rank != 1 || v.shape[0] != batch || (v.dtype != ATTN_I32 && v.dtype != ATTN_I64))
    fail("{} must be ({}) int32 or int64, got shape {}", name, batch, shape_text(v));
}

// Which keys the attributes let a query see, whichever of them say it: the nearer bound counts.
template <class T>
void set_structure(const OpCall& c, kernels::AttentionArgs<T>& a) {
  const auto nearer = [](int64_t x, int64_t y) { return x < 0 ? y : y < 0 ? x : std::min(x, y); };
  const int64_t span = c.integer(kSpan) - 1;  // -1: none
  a.left = nearer(c.integer(kWindowLeft), span);
  a.right = nearer(c.integer(kWindowRight), c.flag(kCausal) ? 0 : span);
  a.block = c.integer(kBlock);
  a.offset = c.integer(kOffset);
}

// (batch, head, query) as scores of one key.
template <class T, class V = T>
kernels::Scores4<V> rows4(const attn_view& v) {
  return {data<T>(v), v.stride[0], v.stride[1], v.stride[2], 0};
}

// Keys or values as they are, or in float32 where the kernel wants them so.
template <class T>
void take_rows(const OpCall& c, uint32_t port, kernels::View4<const T>& x, CompactRows& rows) {
  const attn_view& v = *c.in(port);
  rows = rows_kept(c, port);
  if (rows.kind == StorageKind::float32) {
    x = view4<const T>(contiguous<T>(c, v));
    return;
  }
  bool whole = use_kernels<T>() && !c.out(kMap) && v.stride[3] == 1 && v.shape[3] == rows.length &&
               rows.first % rows.length == 0;
  for (int axis = 0; axis < 3; ++axis) whole = whole && v.stride[axis] % rows.length == 0;
  if (whole) {
    x = view4<const T>(v);
    return;
  }
  if constexpr (sizeof(T) == sizeof(float)) {
    const attn_view d =
        dense_like(v, parallel(c).scratch_array<T>(static_cast<size_t>(size_of(v)) + 1));
    widen(v, rows, data<float>(d));
    x = view4<const T>(d);
    rows = {};
  }
}

// What forward and gradient have in common. p: the program, kept by the caller; nullptr: none.
template <class T>
kernels::AttentionArgs<T> arguments(const OpCall& c, const program::Program* p) {
  const Extents e = extents(c);
  kernels::AttentionArgs<T> a;
  a.batch = e.b, a.heads = e.h, a.kv_heads = e.g, a.queries = e.q, a.keys = e.k;
  a.head_dim = e.d, a.value_dim = e.dv;
  a.q = view4<const T>(contiguous<T>(c, *c.in(kQuery)));
  take_rows<T>(c, kKey, a.k, a.k_rows);
  take_rows<T>(c, kValue, a.v, a.v_rows);
  a.scale = static_cast<T>(c.real(kScale));
  set_structure(c, a);
  if (const attn_view* o = c.in(kOffsets)) {
    a.offsets = integers_of(c, *o);
    for (int64_t b = 0; b < e.b; ++b) check_offset(a.offsets[b]);
  }
  a.softcap = static_cast<T>(c.real(kSoftcap));
  a.tile = c.integer(kTile);
  if (const attn_view* m = c.in(kKeep)) {
    if (signs_of(*m).additive()) fail("mask of shape {} {}", shape_text(*m), kAdditiveMask);
    a.mask = keep_bytes(c, *m).scores();
  }
  if (const attn_view* n = c.in(kLengths)) a.lengths = integers_of(c, *n);
  if (const attn_view* b = c.in(kBias)) a.bias = scores4<const T>(bias_axes(*b));
  a.fully_masked = static_cast<kernels::FullyMaskedRows>(c.integer(kEmptyRows));
  a.probability = kernels::ProbabilityArgs<T>(probability_options(c, c.in(kSlope)));
  a.dropout = c.real(kDropout);
  a.seed = c.seed();
  a.stream = c.stream();
  if (const attn_view* s = c.in(kSinks)) a.sinks = dense<T>(parallel(c), *s);
  a.map_stage = static_cast<kernels::MapStage>(c.integer(kMapStage));
  if (c.out(kLse)) {
    if (a.probability.kind != kernels::Probability::softmax)
      fail("probability number {} has no log-sum-exp; expected softmax",
           static_cast<int64_t>(a.probability.kind));
    a.lse = rows4<T>(*c.out(kLse));
  }
  if (c.saved(0)) a.saved = data<T>(*c.saved(0));
  if (p != nullptr) bind_program(c, *p, kProgram, a);
  return a;
}

struct attention {
  static constexpr const char* name = "attention";
  static constexpr const char* doc =
      "probability(score(cap(scale q k^T)) + bias, masked) v; q (B, H, Q, D), k (B, G, K, D), "
      "v (B, G, K, Dv)";
  static constexpr uint32_t version = 1, inputs = kTable0 + program::kMostTables, outputs = 3,
                            saved = 1, required = 0b111;
  static constexpr uint32_t constants = 1u << kKeep | 1u << kLengths | 1u << kOffsets,
                            flags = ATTN_OP_RANDOM | kTakesCompactRows;
  static constexpr int map_output = kMap;
  static constexpr auto attributes = probability_attributes(
      real_attribute("scale", 1.0), bool_attribute("causal", false), int_attribute("offset", 0),
      int_attribute("span", 0), int_attribute("block", 0), int_attribute("fully_masked_rows", 0),
      real_attribute("dropout", 0.0), int_attribute("tile", 0), int_attribute("window_left", -1),
      int_attribute("window_right", -1), real_attribute("softcap", 0.0),
      int_attribute("map_stage", static_cast<int64_t>(kernels::MapStage::weights)),
      int_attribute("map_head", 0), int_attribute("map_heads", 0), int_attribute("map_query", 0),
      int_attribute("map_queries", 0), text_attribute("score", ""), text_attribute("mask_rule", ""),
      text_attribute("names", ""), text_attribute("constants", ""));

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
    if (const attn_view* n = c.in(kLengths)) check_integers(*n, "lengths", e.b);
    if (const attn_view* o = c.in(kOffsets)) check_integers(*o, "offsets", e.b);
    if (const attn_view* s = c.in(kSinks)) {
      check_number(c, kSinks, "sinks");
      if (s->rank != 1 || s->shape[0] != e.h)
        fail("sinks have shape {}; expected one for each head, ({})", shape_text(*s), e.h);
    }
    check_attributes(c);
    check_program(c, e);
    c.out_shape(kOutput, q.dtype, {e.b, e.h, e.q, e.dv}, {0, 2, 1, 3});
    const MapPart part = map_part(c);
    c.out_shape(kMap, q.dtype, {e.b, part.heads, part.queries, e.k});
    c.out_shape(kLse, q.dtype, {e.b, e.h, e.q});
    c.saved_shape(0, q.dtype, {e.b, e.h, e.q, kernels::saved_per_row(probability_options(c).kind)});
  }

  template <class T>
  static void forward(OpCall c) {
    const auto program = program_of(c, kProgram);
    kernels::AttentionArgs<T> a = arguments<T>(c, program.get());
    a.o = c.out(kOutput) ? view4<T>(*c.out(kOutput)) : unwanted<T>(c);
    if (parallel(c).notes != nullptr) kernels::note_structure(*parallel(c).notes, a);
    Observer* const observer = c.raw().ctx->observer;
    if (c.out(kMap) && !whole_map(c)) {
      if (observer != nullptr) forward_observed(c, a, *observer);
      return attention_with_part_of_map(c, a, map_part(c), *c.out(kMap));
    }
    if (c.out(kMap)) a.map = scores4<T>(*c.out(kMap));
    if (observer != nullptr) return forward_observed(c, a, *observer);
    kernels::attention(a, parallel(c));
  }

  template <class T>
  static void vjp(OpCall c) {
    const auto program = program_of(c, kProgram);
    kernels::AttentionArgs<T> a = arguments<T>(c, program.get());
    a.o = c.out(kOutput) ? view4<T>(*c.out(kOutput)) : unwanted<T>(c);
    if (!c.out(kOutput)) kernels::attention(a, parallel(c));
    kernels::AttentionGrads<T> g;
    if (c.dout(kOutput)) g.dout = view4<const T>(contiguous<T>(c, *c.dout(kOutput)));
    if (c.dout(kMap)) {
      if (a.map_stage != kernels::MapStage::weights)
        fail("a map of stage {} has no gradient; expected stage 3, the weights",
             c.integer(kMapStage));
      if (!whole_map(c))
        fail("a map of some heads or queries has no gradient; ask for all of them");
      g.dmap = scores4<const T>(*c.dout(kMap));
    }
    if (c.dout(kLse)) g.dlse = rows4<T, const T>(*c.dout(kLse));
    const Target<T> dq(c, c.din(kQuery)), dk(c, c.din(kKey)), dv(c, c.din(kValue));
    g.dq = dq.view(), g.dk = dk.view(), g.dv = dv.view();
    if (c.din(kBias)) g.dbias = scores4<T>(bias_axes(*c.din(kBias)));
    if (c.din(kSlope)) g.dslope = data<T>(*c.din(kSlope));
    if (c.din(kSinks)) {
      g.dsinks = parallel(c).scratch_array<T>(static_cast<size_t>(a.heads) + 1);
      std::fill_n(g.dsinks, a.heads, T(0));
    }
    const TableGrads<T> tables(c, a.program == nullptr ? nullptr : program.get(), kProgram, g);
    kernels::attention_backward(a, g, parallel(c));
    tables.finish();
    dq.finish();
    dk.finish();
    dv.finish();
    if (const attn_view* d = c.din(kSinks))
      for (int64_t h = 0; h < a.heads; ++h) data<T>(*d)[h * d->stride[0]] += g.dsinks[h];
  }

  static attn_cost cost(OpCall c) {
    const Extents e = extents(c);
    // Exact number of (query, key) pairs that the structure leaves.
    kernels::AttentionArgs<float> a;
    a.keys = e.k;
    set_structure(c, a);
    const attn_view* offsets = c.in(kOffsets);
    const int64_t kinds = offsets ? e.b : 1;  // of examples
    double pairs = 0;
    for (int64_t b = 0; b < kinds; ++b) {
      const int64_t own = offsets ? integer_at(*offsets, b) : 0;
      a.offsets = &own;
      for (int64_t i = 0; i < e.q; ++i) {
        const kernels::KeyRange r = kernels::visible_keys(a, 0, i);
        pairs += static_cast<double>(r.end - r.begin);
      }
    }
    const auto n = static_cast<double>(e.b / std::max<int64_t>(kinds, 1) * e.h);
    const double element = c.element_size();
    const auto kept = [&](uint32_t port, int64_t dim) {  // bytes of keys or values
      const CompactRows rows = rows_kept(c, port);
      const double scale = rows.scales == nullptr ? 0 : sizeof(float);
      const auto size =
          rows.kind == StorageKind::float32 ? element : static_cast<double>(rows.element_size());
      return static_cast<double>(e.b * e.g * e.k) * (size * static_cast<double>(dim) + scale);
    };
    // The vjp makes five products of which forward has two: the weights are computed again.
    const double products = c.raw().din ? 5 : 2;
    return {sizeof(attn_cost), 0, products * n * pairs * static_cast<double>(e.d + e.dv),
            element * static_cast<double>(e.b * e.h * e.q * (e.d + e.dv)) + kept(kKey, e.d) +
                kept(kValue, e.dv)};
  }

 private:
  template <class T>
  static void forward_observed(const OpCall& c, const kernels::AttentionArgs<T>& a,
                               Observer& observer) {
    const bool softmax = a.probability.kind == kernels::Probability::softmax;
    const ObservedWeights<T> observed(observer, parallel(c), a.batch, a.heads, a.queries, a.keys,
                                      true, softmax);
    if (!observed.any()) return kernels::attention(a, parallel(c));
    kernels::attention_observed(a, observed.to, parallel(c));
    observed.give();
  }
  // 0 heads or queries: all from the first one on.
  static MapPart map_part(const OpCall& c) {
    const Extents e = extents(c);
    const auto first = [](int64_t at, int64_t all) { return std::clamp<int64_t>(at, 0, all); };
    const auto count = [](int64_t n, int64_t rest) { return n > 0 ? std::min(n, rest) : rest; };
    const int64_t h = first(c.integer(kMapHead), e.h), q = first(c.integer(kMapQuery), e.q);
    return {h, count(c.integer(kMapHeads), e.h - h), q, count(c.integer(kMapQueries), e.q - q)};
  }
  static bool whole_map(const OpCall& c) {
    const MapPart part = map_part(c);
    return part.heads == c.in(kQuery)->shape[1] && part.queries == c.in(kQuery)->shape[2];
  }
  // Memory for a result that is not asked for.
  template <class T>
  static kernels::View4<T> unwanted(const OpCall& c) {
    const Extents e = extents(c);
    T* memory = parallel(c).scratch_array<T>(static_cast<size_t>(e.b * e.q * e.h * e.dv) + 1);
    return {memory, e.q * e.h * e.dv, e.dv, e.h * e.dv};
  }
  // Before the call's tensors are known: the texts, and what extents alone prove.
  static void check_program(const OpCall& c, const Extents& e) {
    const auto p = program_of(c, kProgram);
    if (p == nullptr) return;
    const program::Call call = program_shapes(c, *p, kProgram, {e.b, e.h, e.q, e.k});
    const int64_t first = c.integer(kOffset);
    if (has_points(call) && !c.in(kOffsets)) prove_program(call, first, first + e.q - 1);
  }
  static void check_attributes(const OpCall& c) {
    const ProbabilityOptions options = probability_options(c);
    check_probability(options);
    const auto axes = c.integers(kAxes);
    if (axes.size() > 1 || (axes.size() == 1 && axes[0] != -1 && axes[0] != 3))
      fail("this operator normalises the key axis only");
    if (c.integer(kSpan) < 0 || c.integer(kBlock) < 0 || c.integer(kTile) < 0)
      fail("neither window nor block nor tile may be negative");
    if (c.integer(kWindowLeft) < -1 || c.integer(kWindowRight) < -1)
      fail("window_left is {}, window_right {}; expected -1 (none) or at least 0",
           c.integer(kWindowLeft), c.integer(kWindowRight));
    check_offset(c.integer(kOffset));
    const double cap = c.real(kSoftcap);
    if (cap != 0 && !(cap >= kernels::kLeastSoftcap && cap <= kernels::kMostSoftcap))
      fail("softcap is {}; expected 0 (none) or a number from {} to {}", cap,
           kernels::kLeastSoftcap, kernels::kMostSoftcap);
    if (c.integer(kEmptyRows) < 0 || c.integer(kEmptyRows) > 2 || c.integer(kMapStage) < 0 ||
        c.integer(kMapStage) > 3)
      fail("fully_masked_rows is {}, map_stage {}; expected 0..2 and 0..3", c.integer(kEmptyRows),
           c.integer(kMapStage));
    if (c.in(kSinks) && options.kind != ProbabilityKind::softmax)
      fail("sinks need softmax; got probability number {}", static_cast<int64_t>(options.kind));
    if (!(c.real(kDropout) >= 0 && c.real(kDropout) <= 1)) fail("dropout must be between 0 and 1");
    if (options.kind == ProbabilityKind::threshmax && !c.in(kSlope))
      fail("threshmax needs its slope");
  }
};

}  // namespace

const attn_op& op_attention() { return operator_table<attention>; }

}  // namespace attn::ops
