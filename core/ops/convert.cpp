// SPDX-License-Identifier: Apache-2.0
#include "core/ops/check.hpp"
#include "core/ops/grid.hpp"
#include "core/ops/ops.hpp"

namespace attn::ops {
namespace {

// Reading and writing elements of any kind; to 16 bits rounded once, to nearest.
template <class F>
void read_as(int32_t dtype, F&& f) {
  switch (dtype) {
    case ATTN_F64:
      f([](const void* p, int64_t i) { return static_cast<const double*>(p)[i]; });
      break;
    case ATTN_F16:
      f([](const void* p, int64_t i) { return double(static_cast<const Float16*>(p)[i]); });
      break;
    case ATTN_BF16:
      f([](const void* p, int64_t i) { return double(static_cast<const BFloat16*>(p)[i]); });
      break;
    case ATTN_I32:
      f([](const void* p, int64_t i) { return double(static_cast<const int32_t*>(p)[i]); });
      break;
    case ATTN_I64:
      f([](const void* p, int64_t i) { return double(static_cast<const int64_t*>(p)[i]); });
      break;
    case ATTN_U32:
      f([](const void* p, int64_t i) { return double(static_cast<const uint32_t*>(p)[i]); });
      break;
    case ATTN_U8:
      f([](const void* p, int64_t i) { return double(static_cast<const uint8_t*>(p)[i]); });
      break;
    case ATTN_BOOL:
      f([](const void* p, int64_t i) { return static_cast<const uint8_t*>(p)[i] ? 1.0 : 0.0; });
      break;
    default:
      f([](const void* p, int64_t i) { return double(static_cast<const float*>(p)[i]); });
  }
}
template <class F>
void write_as(int32_t dtype, F&& f) {
  switch (dtype) {
    case ATTN_F64:
      f([](void* p, int64_t i, double x) { static_cast<double*>(p)[i] = x; });
      break;
    case ATTN_F16:
      f([](void* p, int64_t i, double x) { static_cast<Float16*>(p)[i] = Float16(x); });
      break;
    case ATTN_BF16:
      f([](void* p, int64_t i, double x) { static_cast<BFloat16*>(p)[i] = BFloat16(x); });
      break;
    default:
      f([](void* p, int64_t i, double x) { static_cast<float*>(p)[i] = static_cast<float>(x); });
  }
}

// to = from, or to += from.
void convert_elements(Parallel& p, const attn_view& from, const attn_view& to, bool add) {
  read_as(from.dtype, [&](auto read) {
    write_as(to.dtype, [&](auto write) {
      read_as(to.dtype, [&](auto before) {
        Grid<2>::of({&to, &from})
            .run(p, kElementGrain, [&](auto o, int64_t n, auto s, int64_t, int) {
              for (int64_t i = 0; i < n; ++i) {
                const int64_t at = o[0] + i * s[0];
                const double x = read(from.data, o[1] + i * s[1]);
                write(to.data, at, add ? before(to.data, at) + x : x);
              }
            });
      });
    });
  });
}

struct convert {
  static constexpr const char* name = "convert";
  static constexpr const char* doc =
      "another floating kind of number; a gradient flows between floating kinds only";
  static constexpr uint32_t version = 1, inputs = 1, outputs = 1;
  static constexpr attn_param attributes[] = {int_attribute("dtype", ATTN_F32)};

  static void shape(OpCall c) {
    const int64_t to = c.integer(0);
    if (to < ATTN_F32 || to > ATTN_BF16)
      fail(
          "dtype %lld is no floating kind; expected float32 (1), float64 (2), float16 (3) or "
          "bfloat16 (4)",
          static_cast<long long>(to));
    const attn_view& x = *c.in(0);
    c.out_shape(0, static_cast<int32_t>(to), {x.shape, static_cast<size_t>(x.rank)});
  }
  template <class>
  static void forward(OpCall c) {
    convert_elements(parallel(c), *c.in(0), *c.out(0), false);
  }
  template <class>
  static void vjp(OpCall c) {
    if (!c.din(0) || !c.dout(0) || !dtype_is_floating(static_cast<attn_dtype>(c.in(0)->dtype)))
      return;
    convert_elements(parallel(c), *c.dout(0), *c.din(0), true);
  }
};

}  // namespace

const attn_op& op_convert() { return operator_table<convert>; }

}  // namespace attn::ops
