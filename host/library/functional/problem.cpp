// SPDX-License-Identifier: Apache-2.0
#include "host/library/functional/problem.hpp"

#include <cmath>

#include "core/kernels/attention.hpp"
#include "host/library/functional/memory.hpp"
#include "host/library/layer/context.hpp"

namespace attn::functional {

using sdk::fail;

void check_view(const ConstView& v, const char* name, bool contents) {
  static const std::string unnamed;
  ConstView shown = v;
  if (!contents && v.data == nullptr) shown.data = &unnamed;  // looked at for being there alone
  try {
    shown.check(unnamed);
  } catch (const InvalidArgument&) {
    shown.check(name);
    throw;
  }
  for (const int64_t extent : v.shape)
    if (extent > int64_t{1} << 40)
      fail("{} has shape {}; expected extents up to 2^40", name, v.shape);
}

attn_view four_axes(const ConstView& v, int64_t heads) {
  attn_view b = host::to_border(v);
  if (b.rank == 4) return b;
  const int64_t size = heads > 0 ? b.shape[2] / heads : 0;
  const int64_t shape[] = {b.shape[0], heads, b.shape[1], size};
  const int64_t stride[] = {b.stride[0], size * b.stride[2], b.stride[1], b.stride[2]};
  b.rank = 4;
  std::copy_n(shape, 4, b.shape);
  std::copy_n(stride, 4, b.stride);
  return b;
}

void check_type(const ConstView& v, const TensorType& type, const char* name) {
  check_view(v, name, true);
  if (v.dtype != type.dtype || v.shape != type.shape)
    fail("{} is {} of shape {}; expected {} of shape {}", name, dtype_name(v.dtype), v.shape,
         dtype_name(type.dtype), type.shape);
}

namespace {

using Options = ScaledDotProductOptions;

bool is_half(attn_dtype d) { return d == ATTN_F16 || d == ATTN_BF16; }

// Of the kind of query.
void check_kind(const ConstView& v, const char* name, attn_dtype wanted) {
  if (v.dtype != wanted)
    fail("{} is {} and query {}; expected one dtype (convert one of them)", name,
         dtype_name(v.dtype), dtype_name(wanted));
}

void check_numbers(const Options& o) {
  if (!(o.dropout_p >= 0 && o.dropout_p <= 1))
    fail("dropout_p is {}; expected a rate from 0 to 1", o.dropout_p);
  if (o.scale && !std::isfinite(*o.scale))
    fail("scale is {}; expected a finite number, or none for 1 / sqrt(head size)", *o.scale);
  if (o.softcap != 0 &&
      !(o.softcap >= kernels::kLeastSoftcap && o.softcap <= kernels::kMostSoftcap))
    fail("softcap is {}; expected 0 (none) or a number from {} to {}", o.softcap,
         kernels::kLeastSoftcap, kernels::kMostSoftcap);
  if (o.left_window_size < -1 || o.right_window_size < -1)
    fail("left_window_size is {}, right_window_size {}; expected -1 (no bound) or at least 0",
         o.left_window_size, o.right_window_size);
  if (o.softmax_precision && *o.softmax_precision != ATTN_F32 && *o.softmax_precision != ATTN_F64)
    fail("softmax_precision is {}; expected float32 or float64",
         dtype_is_known(*o.softmax_precision) ? dtype_name(*o.softmax_precision) : "no dtype");
  if (o.qk_matmul_output_mode && (*o.qk_matmul_output_mode < 0 || *o.qk_matmul_output_mode > 3))
    fail(
        "qk_matmul_output_mode is {}; expected 0 (raw), 1 (capped), 2 (biased) or 3 "
        "(probabilities)",
        *o.qk_matmul_output_mode);
  if (o.past_key.has_value() != o.past_value.has_value())
    fail("{} is missing; expected past_key and past_value, or neither",
         o.past_key ? "past_value" : "past_key");
  if (o.q_num_heads.has_value() != o.kv_num_heads.has_value())
    fail("{} is missing; expected q_num_heads and kv_num_heads, or neither",
         o.q_num_heads ? "kv_num_heads" : "q_num_heads");
  if (o.nonpad_kv_seqlen && (o.past_key || o.return_present))
    fail("nonpad_kv_seqlen is for keys that a cache holds already; expected no {} with it",
         o.past_key ? "past_key" : "return_present");
}

// One of the three inputs with four axes.
attn_view input(const ConstView& v, const char* name, const std::optional<int64_t>& heads,
                const char* count) {
  if (!heads) {
    if (v.shape.rank() != 4)
      fail(
          "{} has shape {}; expected (batch, heads, positions, head size), or three axes with "
          "q_num_heads and kv_num_heads",
          name, v.shape);
    return host::to_border(v);
  }
  if (v.shape.rank() != 3)
    fail(
        "{} has shape {}; expected (batch, positions, heads * head size): q_num_heads and "
        "kv_num_heads are for inputs with three axes",
        name, v.shape);
  if (*heads < 1 || v.shape[2] % *heads != 0)
    fail("{} is {}; expected a divisor of the last extent of {}, {}", count, *heads, name,
         v.shape[2]);
  return four_axes(v, *heads);
}

void set_extents(Problem& p, const Options& o) {
  p.batch = p.query.shape[0], p.heads = p.query.shape[1], p.queries = p.query.shape[2];
  p.head_dim = p.query.shape[3];
  p.kv_heads = p.key.shape[1], p.new_keys = p.key.shape[2], p.value_dim = p.value.shape[3];
  const attn_view &k = p.key, &v = p.value;
  if (k.shape[0] != p.batch || v.shape[0] != p.batch)
    fail("query has {} examples, key {} and value {}; expected as many of each", p.batch,
         k.shape[0], v.shape[0]);
  if (v.shape[1] != p.kv_heads || v.shape[2] != p.new_keys)
    fail("key has {} heads and {} positions, value {} and {}; expected the same", p.kv_heads,
         p.new_keys, v.shape[1], v.shape[2]);
  if (k.shape[3] != p.head_dim)
    fail("query has head size {} and key {}; expected the same", p.head_dim, k.shape[3]);
  if (p.head_dim < 1 || p.value_dim < 1)
    fail("head sizes are {} of query and {} of value; expected at least 1", p.head_dim,
         p.value_dim);
  const bool divides = p.kv_heads == 0 ? p.heads == 0 : p.heads % p.kv_heads == 0;
  if (!divides) fail("query has {} heads and key {}; expected a multiple", p.heads, p.kv_heads);
  if (p.heads != p.kv_heads && !o.enable_gqa)
    fail("query has {} heads and key {}; expected as many, or enable_gqa to share those of key",
         p.heads, p.kv_heads);
}

void set_past(Problem& p, const Options& o, bool contents) {
  p.keys = p.new_keys;
  p.has_past = o.past_key.has_value();
  if (!p.has_past) return;
  const auto take = [&](const ConstView& v, const char* name, int64_t size) {
    check_view(v, name, contents);
    check_kind(v, name, p.dtype);
    if (v.shape.rank() != 4 || v.shape[0] != p.batch || v.shape[1] != p.kv_heads ||
        v.shape[3] != size)
      fail("{} has shape {}; expected (batch {}, heads {}, past positions, head size {})", name,
           v.shape, p.batch, p.kv_heads, size);
    return host::to_border(v);
  };
  p.past_key = take(*o.past_key, "past_key", p.head_dim);
  p.past_value = take(*o.past_value, "past_value", p.value_dim);
  p.past = p.past_key.shape[2];
  if (p.past_value.shape[2] != p.past)
    fail("past_key has {} positions and past_value {}; expected as many", p.past,
         p.past_value.shape[2]);
  p.keys += p.past;
}

void set_mask(Problem& p, const Options& o, bool contents) {
  p.has_mask = o.attn_mask.has_value();
  if (!p.has_mask) return;
  const ConstView& m = *o.attn_mask;
  check_view(m, "attn_mask", contents);
  if (m.dtype != ATTN_BOOL && m.dtype != p.dtype)
    fail("attn_mask is {}; expected bool (true: attend), or {} as query, to be added to the scores",
         dtype_name(m.dtype), dtype_name(p.dtype));
  const int64_t scores[] = {p.batch, p.heads, p.queries, p.keys};
  const int rank = m.shape.rank();
  p.mask.data = const_cast<void*>(m.data);
  p.mask.dtype = m.dtype;
  p.mask.rank = 4;
  bool fits = rank <= 4;
  for (int i = 0; i < 4 && fits; ++i) {
    const int from = i - (4 - rank);
    const int64_t n = from < 0 ? 1 : m.shape[static_cast<size_t>(from)];
    p.mask.shape[i] = n;
    p.mask.stride[i] = n == 1 ? 0 : m.stride[static_cast<size_t>(from)];
    // A last extent of 2..T-1 is filled up.
    fits = n == 1 || n == scores[i] || (i == 3 && n > 1 && n < scores[i]);
  }
  if (!fits)
    fail(
        "attn_mask has shape {}; expected what broadcasts to (batch, heads, queries, keys) = {} "
        "from the right, or fewer keys, the others masked",
        m.shape, std::span<const int64_t>(scores));
}

void check_rest(const Problem& p, const Options& o, bool contents) {
  if (o.sinks) {
    check_view(*o.sinks, "sinks", contents);
    check_kind(*o.sinks, "sinks", p.dtype);
    if (o.sinks->shape != Shape{p.heads})
      fail("sinks have shape {}; expected one for each query head, ({})", o.sinks->shape, p.heads);
  }
  if (!o.nonpad_kv_seqlen) return;
  const ConstView& n = *o.nonpad_kv_seqlen;
  check_view(n, "nonpad_kv_seqlen", contents);
  if ((n.dtype != ATTN_I32 && n.dtype != ATTN_I64) || n.shape != Shape{p.batch})
    fail("nonpad_kv_seqlen is {} of shape {}; expected ({}) int64 or int32", dtype_name(n.dtype),
         n.shape, p.batch);
  if (!contents) return;
  const attn_view v = host::to_border(n);
  for (int64_t b = 0; b < p.batch; ++b) {
    const int64_t length = integer_at(v, b);
    if (length < 0 || length > p.keys)
      fail("nonpad_kv_seqlen is {} in example {}; expected 0 to the number of keys, {}", length, b,
           p.keys);
  }
}

void set_types(Problem& p, const Options& o) {
  const Shape scores{p.batch, p.heads, p.queries, p.keys};
  (void)scores.elements();  // refuses what nothing could hold
  p.types.y = {p.dtype, o.q_num_heads ? Shape{p.batch, p.queries, p.heads * p.value_dim}
                                      : Shape{p.batch, p.heads, p.queries, p.value_dim}};
  if (o.return_present) {
    p.types.present_key = {p.dtype, {p.batch, p.kv_heads, p.keys, p.head_dim}};
    p.types.present_value = {p.dtype, {p.batch, p.kv_heads, p.keys, p.value_dim}};
  }
  if (o.return_lse)
    p.types.lse = {is_half(p.dtype) ? ATTN_F32 : p.dtype, {p.batch, p.heads, p.queries}};
  if (o.qk_matmul_output_mode) p.types.scores = {p.dtype, scores};
}

}  // namespace

Problem make_problem(const ConstView& query, const ConstView& key, const ConstView& value,
                     const Options& o, bool contents) {
  Problem p;
  check_view(query, "query", contents);
  check_view(key, "key", contents);
  check_view(value, "value", contents);
  if (!dtype_is_floating(query.dtype))
    fail("query is {}; expected float32, float64, float16 or bfloat16", dtype_name(query.dtype));
  p.dtype = query.dtype;
  check_kind(key, "key", p.dtype);
  check_kind(value, "value", p.dtype);
  check_numbers(o);
  p.query = input(query, "query", o.q_num_heads, "q_num_heads");
  p.key = input(key, "key", o.kv_num_heads, "kv_num_heads");
  p.value = input(value, "value", o.kv_num_heads, "kv_num_heads");
  set_extents(p, o);
  set_past(p, o, contents);
  set_mask(p, o, contents);
  check_rest(p, o, contents);
  p.in_double = p.dtype == ATTN_F64 || o.softmax_precision == ATTN_F64;
  p.scale = o.scale ? *o.scale : 1 / std::sqrt(static_cast<double>(p.head_dim));
  set_types(p, o);
  return p;
}

}  // namespace attn::functional
