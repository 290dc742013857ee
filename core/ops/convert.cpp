// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/ops/check.hpp"
#include "core/ops/grid.hpp"
#include "core/ops/ops.hpp"

namespace attn::ops {
namespace {

constexpr int64_t kLine = 256;  // elements that pass through double at a time

// Elements of any kind as doubles, and back; to 16 bits rounded once, to nearest.
template <class T>
void read_line(const void* from, int64_t at, int64_t step, int64_t n, double* line) {
  const T* p = static_cast<const T*>(from) + at;
  for (int64_t i = 0; i < n; ++i) line[i] = static_cast<double>(p[i * step]);
}
void read_bools(const void* from, int64_t at, int64_t step, int64_t n, double* line) {
  const uint8_t* p = static_cast<const uint8_t*>(from) + at;
  for (int64_t i = 0; i < n; ++i) line[i] = p[i * step] != 0 ? 1.0 : 0.0;
}
template <class T>
void write_line(const double* line, int64_t n, void* to, int64_t at, int64_t step) {
  T* p = static_cast<T*>(to) + at;
  for (int64_t i = 0; i < n; ++i) p[i * step] = static_cast<T>(line[i]);
}

using ReadLine = void (*)(const void*, int64_t, int64_t, int64_t, double*);
using WriteLine = void (*)(const double*, int64_t, void*, int64_t, int64_t);

ReadLine reader(int32_t dtype) {
  switch (dtype) {
    case ATTN_F64:
      return read_line<double>;
    case ATTN_F16:
      return read_line<Float16>;
    case ATTN_BF16:
      return read_line<BFloat16>;
    case ATTN_I32:
      return read_line<int32_t>;
    case ATTN_I64:
      return read_line<int64_t>;
    case ATTN_U32:
      return read_line<uint32_t>;
    case ATTN_U8:
      return read_line<uint8_t>;
    case ATTN_BOOL:
      return read_bools;
    default:
      return read_line<float>;
  }
}
WriteLine writer(int32_t dtype) {
  switch (dtype) {
    case ATTN_F64:
      return write_line<double>;
    case ATTN_F16:
      return write_line<Float16>;
    case ATTN_BF16:
      return write_line<BFloat16>;
    default:
      return write_line<float>;
  }
}

// to = from, or to += from.
void convert_elements(Parallel& p, const attn_view& from, const attn_view& to, bool add) {
  const ReadLine read = reader(from.dtype), before = reader(to.dtype);
  const WriteLine write = writer(to.dtype);
  Grid<2>::of({&to, &from}).run(p, kElementGrain, [&](auto o, int64_t n, auto s, int64_t, int) {
    double line[kLine], sum[kLine];
    for (int64_t first = 0; first < n; first += kLine) {
      const int64_t count = std::min(kLine, n - first), at = o[0] + first * s[0];
      read(from.data, o[1] + first * s[1], s[1], count, line);
      if (add) {
        before(to.data, at, s[0], count, sum);
        for (int64_t i = 0; i < count; ++i) line[i] += sum[i];
      }
      write(line, count, to.data, at, s[0]);
    }
  });
}

struct convert {
  static constexpr const char* name = "convert";
  static constexpr const char* doc =
      "another floating dtype; a gradient flows between floating kinds only";
  static constexpr uint32_t version = 1, inputs = 1, outputs = 1;
  static constexpr attn_param attributes[] = {int_attribute("dtype", ATTN_F32)};

  static void shape(OpCall c) {
    const int64_t to = c.integer(0);
    if (to < ATTN_F32 || to > ATTN_BF16)
      fail(
          "dtype {} is no floating kind; expected float32 (1), float64 (2), float16 (3) or "
          "bfloat16 (4)",
          to);
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
