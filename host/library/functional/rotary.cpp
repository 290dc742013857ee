// SPDX-License-Identifier: Apache-2.0
//
// rotary_embedding: pairs of each head turned by the angles of its position. Turning back takes the other sign of the
// sines, and is the gradient.
#include "core/kernels/reference/rope.hpp"
#include "host/library/functional/memory.hpp"
#include "host/library/functional/problem.hpp"
#include "host/library/layer/context.hpp"

namespace attn {
namespace functional {
namespace {

using sdk::fail;

struct Rotation {
  attn_view input{};       // (batch, head, position, element)
  attn_view cos{}, sin{};  // (batch or 1, 1, positions, R / 2)
  attn_view places{};      // of the positions in the caches; data nullptr: the same
  int64_t turned = 0;      // R
  bool interleaved = false;
};

Rotation make_rotation(const ConstView& input, const ConstView& cos, const ConstView& sin,
                       const std::optional<ConstView>& ids, const RotaryEmbeddingOptions& o) {
  check_view(input, "input", true);
  check_view(cos, "cos_cache", true);
  check_view(sin, "sin_cache", true);
  if (!dtype_is_floating(input.dtype))
    fail("input is {}; expected float32, float64, float16 or bfloat16", dtype_name(input.dtype));
  if (cos.dtype != input.dtype || sin.dtype != input.dtype)
    fail("input is {}, cos_cache {} and sin_cache {}; expected one dtype (convert them)",
         dtype_name(input.dtype), dtype_name(cos.dtype), dtype_name(sin.dtype));
  const int rank = input.shape.rank();
  if (rank != 3 && rank != 4)
    fail(
        "input has shape {}; expected (batch, heads, positions, head size), or (batch, positions, "
        "heads * head size) with num_heads",
        input.shape);
  if (rank == 3 && !o.num_heads)
    fail("input has shape {} and num_heads is missing; expected it for three axes", input.shape);
  if (rank == 3 && (*o.num_heads < 1 || input.shape[2] % *o.num_heads != 0))
    fail("num_heads is {}; expected a divisor of the last extent of input, {}", *o.num_heads,
         input.shape[2]);
  if (rank == 4 && o.num_heads && *o.num_heads != input.shape[1])
    fail("num_heads is {} and input has {} heads; expected as many", *o.num_heads, input.shape[1]);
  Rotation r;
  r.input = rank == 4 ? host::to_border(input) : four_axes(input, *o.num_heads);
  const int64_t batch = r.input.shape[0], length = r.input.shape[2], size = r.input.shape[3];
  r.interleaved = o.interleaved;
  r.turned = o.rotary_embedding_dim == 0 ? size : o.rotary_embedding_dim;
  if (r.turned < 0 || r.turned > size || r.turned % 2 != 0)
    fail("rotary_embedding_dim is {} of head size {}; expected an even number up to it (0: all)",
         o.rotary_embedding_dim, size);
  const int64_t half = r.turned / 2;
  const bool cached = cos.shape.rank() == 2 && cos.shape[1] == half;
  if (cos.shape != sin.shape || (ids ? !cached : cos.shape != Shape{batch, length, half}))
    fail("cos_cache has shape {} and sin_cache {}; expected both {}", cos.shape, sin.shape,
         ids ? "(positions, " + std::to_string(half) + "), as position_ids are given"
             : Shape{batch, length, half}.to_string() + ", as position_ids are not given");
  const auto axes = [&](const ConstView& v) {
    attn_view b = host::to_border(v);
    const int64_t shape[] = {ids ? 1 : b.shape[0], 1, b.shape[b.rank - 2], half};
    const int64_t stride[] = {ids ? 0 : b.stride[0], 0, b.stride[b.rank - 2], b.stride[b.rank - 1]};
    b.rank = 4;
    std::copy_n(shape, 4, b.shape);
    std::copy_n(stride, 4, b.stride);
    return b;
  };
  r.cos = axes(cos);
  r.sin = axes(sin);
  if (!ids) return r;
  check_view(*ids, "position_ids", true);
  if ((ids->dtype != ATTN_I32 && ids->dtype != ATTN_I64) || ids->shape != Shape{batch, length})
    fail("position_ids is {} of shape {}; expected ({}, {}) int64 or int32", dtype_name(ids->dtype),
         ids->shape, batch, length);
  r.places = host::to_border(*ids);
  for (int64_t i = 0; i < batch * length; ++i) {
    const int64_t id =
        integer_at(part_of(part_of(r.places, 0, i / length, 1), 1, i % length, 1), 0);
    if (id < 0 || id >= cos.shape[0])
      fail("position_ids is {} at ({}, {}); expected 0 to {}, the places of cos_cache", id,
           i / length, i % length, cos.shape[0] - 1);
  }
  return r;
}

template <class T>
void rotate(const Rotation& r, const attn_view& to, bool back) {
  Parallel& w = workspace();
  const attn_view x = operand<T>(w, r.input), cos = operand<T>(w, r.cos),
                  sin = operand<T>(w, r.sin);
  const Result<T> y(w, &to);
  const auto at = [](const attn_view& v, int64_t b, int64_t h, int64_t l) {
    return static_cast<T*>(v.data) + b * v.stride[0] + h * v.stride[1] + l * v.stride[2];
  };
  const int64_t heads = x.shape[1], length = x.shape[2], size = x.shape[3];
  const kernels::RopeRow row{.n = size, .first = 0, .r = r.turned, .interleaved = r.interleaved};
  w.loop(x.shape[0] * heads * length, std::max<int64_t>(1, 8192 / size),
         [&](int64_t begin, int64_t end, int) {
           for (int64_t i = begin; i < end; ++i) {
             const int64_t b = i / length / heads, h = i / length % heads, l = i % length;
             const bool given = r.places.data != nullptr;
             const int64_t place =
                 given ? integer_at(part_of(part_of(r.places, 0, b, 1), 1, l, 1), 0) : l;
             const int64_t example = given ? 0 : b;
             kernels::reference::rope_row<T>(row, at(x, b, h, l), at(cos, example, 0, place),
                                             at(sin, example, 0, place), back, at(y.at(), b, h, l));
           }
         });
  y.finish();
}

void rotate_into(const View& output, const Rotation& r, const ConstView& input, const char* name,
                 bool back) {
  check_type(output, {input.dtype, input.shape}, name);
  if (size_of(r.input) == 0) return;
  const attn_view to = four_axes(output, r.input.shape[1]);
  input.dtype == ATTN_F64 ? rotate<double>(r, to, back) : rotate<float>(r, to, back);
}

Array rotated(const ConstView& input, const ConstView& cos, const ConstView& sin,
              const std::optional<ConstView>& ids, const RotaryEmbeddingOptions& o, bool back) {
  const Rotation r = make_rotation(input, cos, sin, ids, o);
  Array y = Array::uninitialized(input.dtype, input.shape);
  rotate_into(y.view(), r, input, "output", back);
  return y;
}

}  // namespace
}  // namespace functional

using namespace functional;

Array rotary_embedding(const ConstView& input, const ConstView& cos_cache,
                       const ConstView& sin_cache, const std::optional<ConstView>& position_ids,
                       const RotaryEmbeddingOptions& options) {
  return guarded("rotary_embedding", [&] {
    return rotated(input, cos_cache, sin_cache, position_ids, options, false);
  });
}

void rotary_embedding_into(const View& output, const ConstView& input, const ConstView& cos_cache,
                           const ConstView& sin_cache, const std::optional<ConstView>& position_ids,
                           const RotaryEmbeddingOptions& options) {
  guarded("rotary_embedding", [&] {
    rotate_into(output, make_rotation(input, cos_cache, sin_cache, position_ids, options), input,
                "output", false);
  });
}

Array rotary_embedding_backward(const ConstView& dy, const ConstView& cos_cache,
                                const ConstView& sin_cache,
                                const std::optional<ConstView>& position_ids,
                                const RotaryEmbeddingOptions& options) {
  return guarded("rotary_embedding_backward",
                 [&] { return rotated(dy, cos_cache, sin_cache, position_ids, options, true); });
}

}  // namespace attn
