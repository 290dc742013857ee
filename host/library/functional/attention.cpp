// SPDX-License-Identifier: Apache-2.0
//
// scaled_dot_product_attention and its gradient over the kernels of attention: what the caller has becomes their
// arguments, by views where that can be.
#include "core/kernels/attention.hpp"

#include "host/library/functional/memory.hpp"
#include "host/library/functional/problem.hpp"
#include "host/library/layer/context.hpp"

namespace attn {
namespace functional {
namespace {

using kernels::Scores4;
using kernels::View4;
using Options = ScaledDotProductOptions;

constexpr const char* kForward = "scaled_dot_product_attention";
constexpr const char* kBackward = "scaled_dot_product_attention_backward";

template <class T>
View4<T> rows(const attn_view& v) {
  return {static_cast<T*>(v.data), v.stride[0], v.stride[1], v.stride[2]};
}
template <class T>
Scores4<T> scores(const attn_view& v) {
  return {static_cast<T*>(v.data), v.stride[0], v.stride[1], v.stride[2], v.stride[3]};
}

// A tensor of one or three axes with one or more behind them.
attn_view with_axes(attn_view v, int rank) {
  for (; v.rank < rank; ++v.rank) v.shape[v.rank] = v.stride[v.rank] = 1;
  return v;
}
// A memory that may be absent, with four axes.
const attn_view* memory(const std::optional<View>& v, attn_view& storage) {
  if (!v) return nullptr;
  storage = with_axes(host::to_border(*v), 4);
  return &storage;
}

// All keys (or values): the new ones behind those of the past, in memory of the caller if there is any.
attn_view join(Parallel& w, const Problem& p, const attn_view& past, const attn_view& now,
               const std::optional<View>& into) {
  if (!into && !p.has_past) return now;
  attn_view all{};
  if (into)
    all = host::to_border(*into);
  else
    all = dense_scratch(w, now.dtype, {p.batch, p.kv_heads, p.keys, now.shape[3]});
  if (p.has_past) copy(w, past, part_of(all, 2, 0, p.past));
  copy(w, now, part_of(all, 2, p.past, p.new_keys));
  return all;
}

// A mask whose keys are T or 1, the missing ones masked. Kind: uint8_t for bool, else what is computed in.
template <class Kind>
attn_view full_mask(Parallel& w, const Problem& p, attn_dtype dtype) {
  const attn_view& m = p.mask;
  const bool full = m.shape[3] == 1 || m.shape[3] == p.keys;
  if (full && m.dtype == dtype) return m;
  const int64_t keys = full ? m.shape[3] : p.keys;
  attn_view all = dense_scratch(w, dtype, {m.shape[0], m.shape[1], m.shape[2], keys});
  const Kind masked = dtype == ATTN_BOOL ? Kind(0) : -std::numeric_limits<Kind>::infinity();
  if (!full) std::fill_n(static_cast<Kind*>(all.data), size_of(all), masked);
  copy(w, m, part_of(all, 3, 0, m.shape[3]));
  for (int i = 0; i < 4; ++i)
    if (all.shape[i] == 1) all.stride[i] = 0;
  return all;
}

// What the forward and the backward pass have in common: everything but results.
template <class T>
kernels::AttentionArgs<T> arguments(Parallel& w, const Problem& p, const Options& o,
                                    const attn_view& key, const attn_view& value) {
  kernels::AttentionArgs<T> a;
  a.batch = p.batch, a.heads = p.heads, a.kv_heads = p.kv_heads;
  a.queries = p.queries, a.keys = p.keys, a.head_dim = p.head_dim, a.value_dim = p.value_dim;
  a.q = rows<const T>(operand<T>(w, p.query));
  a.k = rows<const T>(operand<T>(w, key));
  a.v = rows<const T>(operand<T>(w, value));
  a.scale = static_cast<T>(p.scale);
  a.softcap = static_cast<T>(o.softcap);
  a.left = o.left_window_size;
  a.right = o.is_causal ? 0 : o.right_window_size;
  a.offset = p.past;
  if (o.nonpad_kv_seqlen) {
    const attn_view n = host::to_border(*o.nonpad_kv_seqlen);
    auto* lengths = w.scratch_array<int64_t>(static_cast<size_t>(2 * p.batch) + 1);
    for (int64_t b = 0; b < p.batch; ++b) {
      lengths[b] = integer_at(n, b);
      lengths[p.batch + b] = lengths[b] - p.queries;
    }
    a.lengths = lengths;
    a.offsets = lengths + p.batch;
  }
  if (p.has_mask && p.mask.dtype == ATTN_BOOL)
    a.mask = scores<const uint8_t>(full_mask<uint8_t>(w, p, ATTN_BOOL));
  if (p.has_mask && p.mask.dtype != ATTN_BOOL)
    a.bias = scores<const T>(full_mask<T>(w, p, kDtypeOf<T>));
  a.fully_masked = kernels::FullyMaskedRows::zero_by_bias;
  if (o.sinks) {
    const attn_view sinks = host::to_border(*o.sinks);
    const attn_view own = dense_scratch(w, kDtypeOf<T>, {p.heads});
    copy_strided(sinks, own);
    a.sinks = static_cast<const T*>(own.data);
  }
  a.dropout = o.dropout_p;
  a.seed = o.seed;
  return a;
}

template <class T>
void run(const Problem& p, const Options& o, const ScaledDotProductMemory& into) {
  Parallel& w = workspace();
  const attn_view key = join(w, p, p.past_key, p.key, into.present_key);
  const attn_view value = join(w, p, p.past_value, p.value, into.present_value);
  auto a = arguments<T>(w, p, o, key, value);
  const attn_view y = four_axes(into.y, p.heads);
  attn_view lse{}, map{};
  const Result<T> output(w, &y), sums(w, memory(into.lse, lse)), shown(w, memory(into.scores, map));
  a.o = rows<T>(output.at());
  a.lse = scores<T>(sums.at());
  a.map = scores<T>(shown.at());
  if (o.qk_matmul_output_mode)
    a.map_stage = static_cast<kernels::MapStage>(*o.qk_matmul_output_mode);
  kernels::attention(a, w);
  output.finish();
  sums.finish();
  shown.finish();
}

// Memory of kind T, with zeros, for a gradient with four axes; finish() brings it where it is wanted.
template <class T>
class Gradient : public Result<T> {
 public:
  Gradient(Parallel& p, const attn_view* to) : Result<T>(p, to) {
    if (to == nullptr) return;
    const attn_view& v = this->at();
    const int64_t n = v.shape[0] * v.shape[1] * v.shape[2];
    for (int64_t r = 0; r < n; ++r) {
      const int64_t b = r / v.shape[2] / v.shape[1], h = r / v.shape[2] % v.shape[1];
      std::fill_n(rows<T>(v).at(b, h, r % v.shape[2]), v.shape[3], T(0));
    }
  }
};

// The gradient of all keys, or all values, with what its past and its new part have of memory.
template <class T>
class JoinedGradient {
 public:
  JoinedGradient(Parallel& w, const Problem& p, int64_t size, const std::optional<View>& past,
                 const std::optional<View>& now)
      : w_(w), p_(p), wanted_(past || now) {
    if (past) past_ = host::to_border(*past);
    if (now) now_ = four_axes(*now, p.kv_heads);
    if (p.has_past) all_ = dense_scratch(w, kDtypeOf<T>, {p.batch, p.kv_heads, p.keys, size});
    gradient_.emplace(w, !wanted_ ? nullptr : p.has_past ? &all_ : &now_);
  }
  [[nodiscard]] View4<T> at() const { return wanted_ ? rows<T>(gradient_->at()) : View4<T>{}; }
  void finish() const {
    gradient_->finish();
    if (!p_.has_past || !wanted_) return;
    if (past_.data != nullptr) copy(w_, part_of(all_, 2, 0, p_.past), past_);
    if (now_.data != nullptr) copy(w_, part_of(all_, 2, p_.past, p_.new_keys), now_);
  }

 private:
  Parallel& w_;
  const Problem& p_;
  bool wanted_;
  attn_view past_{}, now_{}, all_{};
  std::optional<Gradient<T>> gradient_{};
};

template <class T>
void run_backward(const Problem& p, const Options& o, const ScaledDotProductCotangents& cotangents,
                  const ScaledDotProductGradientMemory& into) {
  Parallel& w = workspace();
  const attn_view key = join(w, p, p.past_key, p.key, {});
  const attn_view value = join(w, p, p.past_value, p.value, {});
  auto a = arguments<T>(w, p, o, key, value);
  const attn_view y = dense_scratch(w, kDtypeOf<T>, {p.batch, p.heads, p.queries, p.value_dim});
  a.o = rows<T>(y);
  const auto n = static_cast<size_t>(p.batch * p.heads * p.queries);
  a.saved = w.scratch_array<T>(2 * n + 1);
  kernels::AttentionGrads<T> g;
  if (cotangents.dy) g.dout = rows<const T>(operand<T>(w, four_axes(*cotangents.dy, p.heads)));
  if (cotangents.dlse) {
    g.dlse = scores<const T>(operand<T>(w, with_axes(host::to_border(*cotangents.dlse), 4)));
    a.lse.data =
        w.scratch_array<T>(n + 1);  // its being there says that a shift of all scores counts
    a.lse.b = p.heads * p.queries, a.lse.h = p.queries, a.lse.q = 1;
  }
  if constexpr (std::is_same_v<T, float>) kernels::attention(a, w);  // double keeps nothing of it
  attn_view query{};
  if (into.query) query = four_axes(*into.query, p.heads);
  const Gradient<T> dq(w, into.query ? &query : nullptr);
  const JoinedGradient<T> dk(w, p, p.head_dim, into.past_key, into.key);
  const JoinedGradient<T> dv(w, p, p.value_dim, into.past_value, into.value);
  attn_view bias{};
  if (into.attn_mask)
    bias = dense_scratch(
        w, kDtypeOf<T>,
        {p.mask.shape[0], p.mask.shape[1], p.mask.shape[2], p.mask.shape[3] == 1 ? 1 : p.keys});
  const Gradient<T> dbias(w, into.attn_mask ? &bias : nullptr);
  g.dq = rows<T>(dq.at()), g.dk = dk.at(), g.dv = dv.at();
  g.dbias = scores<T>(dbias.at());
  for (auto [axis, stride] : {std::pair{0, &g.dbias.b}, std::pair{1, &g.dbias.h},
                              std::pair{2, &g.dbias.q}, std::pair{3, &g.dbias.k}})
    if (bias.shape[axis] == 1) *stride = 0;
  const attn_view sinks = dense_scratch(w, kDtypeOf<T>, {p.heads});
  std::fill_n(static_cast<T*>(sinks.data), p.heads, T(0));
  if (into.sinks) g.dsinks = static_cast<T*>(sinks.data);
  kernels::attention_backward(a, g, w);
  dq.finish();
  dk.finish();
  dv.finish();
  if (into.attn_mask) {
    // Its axes are the last of the four.
    const attn_view to = host::to_border(*into.attn_mask);
    attn_view own = part_of(bias, 3, 0, p.mask.shape[3]);
    own.rank = to.rank;
    std::copy_n(bias.stride + 4 - to.rank, to.rank, own.stride);
    std::copy_n(to.shape, to.rank, own.shape);
    copy_strided(own, to);
  }
  if (into.sinks) copy_strided(sinks, host::to_border(*into.sinks));
}

// Memory is there for what was asked for, and for nothing else.
void check_memory(const std::optional<View>& v, const std::optional<TensorType>& type,
                  const char* name, const char* option) {
  if (v && type) return check_type(*v, *type, name);
  if (v) sdk::fail("memory for {} is given; expected none, or {} in the options", name, option);
  if (type)
    sdk::fail("memory for {} is missing, which {} asks for; expected it beside that of y", name,
              option);
}

void check_gradient(const std::optional<View>& v, const std::optional<ConstView>& input,
                    const char* name) {
  if (!v) return;
  if (!input) sdk::fail("a gradient of {} is asked for, which the call does not have", name);
  if (input->dtype == ATTN_BOOL)
    sdk::fail("a gradient of {} is asked for, which is bool and has none", name);
  check_type(*v, {input->dtype, input->shape}, (std::string("the gradient of ") + name).c_str());
}

Array array(const TensorType& t) { return Array::uninitialized(t.dtype, t.shape); }
std::optional<Array> array(const std::optional<TensorType>& t) {
  return t ? std::optional(array(*t)) : std::nullopt;
}
std::optional<Array> array_like(const std::optional<ConstView>& v) {
  if (!v || v->dtype == ATTN_BOOL) return {};
  return Array::uninitialized(v->dtype, v->shape);
}
std::optional<View> view(std::optional<Array>& a) {
  return a ? std::optional(a->view()) : std::nullopt;
}

}  // namespace
}  // namespace functional

using namespace functional;

ScaledDotProductTypes scaled_dot_product_attention_types(const ConstView& query,
                                                         const ConstView& key,
                                                         const ConstView& value,
                                                         const ScaledDotProductOptions& options) {
  return guarded(kForward, [&] { return make_problem(query, key, value, options, false).types; });
}

void scaled_dot_product_attention(const ConstView& query, const ConstView& key,
                                  const ConstView& value, const ScaledDotProductOptions& options,
                                  const ScaledDotProductMemory& into) {
  guarded(kForward, [&] {
    const Problem p = make_problem(query, key, value, options, true);
    check_type(into.y, p.types.y, "y");
    check_memory(into.present_key, p.types.present_key, "present_key", "return_present");
    check_memory(into.present_value, p.types.present_value, "present_value", "return_present");
    check_memory(into.lse, p.types.lse, "lse", "return_lse");
    check_memory(into.scores, p.types.scores, "scores", "qk_matmul_output_mode");
    p.in_double ? run<double>(p, options, into) : run<float>(p, options, into);
  });
}

ScaledDotProductResult scaled_dot_product_attention(const ConstView& query, const ConstView& key,
                                                    const ConstView& value,
                                                    const ScaledDotProductOptions& options) {
  return guarded(kForward, [&] {
    const Problem p = make_problem(query, key, value, options, true);
    ScaledDotProductResult r{array(p.types.y), array(p.types.present_key),
                             array(p.types.present_value), array(p.types.lse),
                             array(p.types.scores)};
    const ScaledDotProductMemory into{r.y.view(), view(r.present_key), view(r.present_value),
                                      view(r.lse), view(r.scores)};
    p.in_double ? run<double>(p, options, into) : run<float>(p, options, into);
    return r;
  });
}

void scaled_dot_product_attention_backward(const ConstView& query, const ConstView& key,
                                           const ConstView& value,
                                           const ScaledDotProductOptions& options,
                                           const ScaledDotProductCotangents& cotangents,
                                           const ScaledDotProductGradientMemory& into) {
  guarded(kBackward, [&] {
    ScaledDotProductOptions o = options;
    o.return_lse = true;  // for its type
    const Problem p = make_problem(query, key, value, o, true);
    if (!cotangents.dy && !cotangents.dlse)
      sdk::fail("neither dy nor dlse is given; expected one at least");
    if (cotangents.dy) check_type(*cotangents.dy, p.types.y, "dy");
    if (cotangents.dlse) check_type(*cotangents.dlse, *p.types.lse, "dlse");
    check_gradient(into.query, query, "query");
    check_gradient(into.key, key, "key");
    check_gradient(into.value, value, "value");
    check_gradient(into.attn_mask, options.attn_mask, "attn_mask");
    check_gradient(into.past_key, options.past_key, "past_key");
    check_gradient(into.past_value, options.past_value, "past_value");
    check_gradient(into.sinks, options.sinks, "sinks");
    p.in_double ? run_backward<double>(p, options, cotangents, into)
                : run_backward<float>(p, options, cotangents, into);
  });
}

ScaledDotProductGradients scaled_dot_product_attention_backward(
    const ConstView& query, const ConstView& key, const ConstView& value,
    const ScaledDotProductOptions& options, const ScaledDotProductCotangents& cotangents) {
  (void)scaled_dot_product_attention_types(query, key, value, options);  // refuses before memory
  ScaledDotProductGradients r{*array_like(query),           *array_like(key),
                              *array_like(value),           array_like(options.attn_mask),
                              array_like(options.past_key), array_like(options.past_value),
                              array_like(options.sinks)};
  scaled_dot_product_attention_backward(
      query, key, value, options, cotangents,
      {r.query.view(), r.key.view(), r.value.view(), view(r.attn_mask), view(r.past_key),
       view(r.past_value), view(r.sinks)});
  return r;
}

}  // namespace attn
