// SPDX-License-Identifier: Apache-2.0
//
// Discrete Fourier transforms over some axes. The gradient is the transform the other way round, with the same
// factor: F is symmetric, so that the adjoint of F is its conjugate.
#include "core/kernels/fft.hpp"

#include <cmath>

#include "core/ops/check.hpp"
#include "core/ops/ops.hpp"

namespace attn::ops {
namespace {

struct fft {
  static constexpr const char* name = "fft";
  static constexpr const char* doc =
      "factor times the discrete Fourier transform of re + i im over some axes, as real and "
      "imaginary part; without "
      "im the input is real";
  static constexpr uint32_t version = 1, inputs = 2, outputs = 2, required = 0b01;
  static constexpr attn_param attributes[] = {
      ints_attribute("axes"), bool_attribute("inverse", false), real_attribute("factor", 1.0)};

  static void shape(OpCall c) {
    const attn_view& re = *c.in(0);
    check_number(c, 0, "re");
    (void)check_axes(c.integers(0), re.rank, false);
    if (const attn_view* im = c.in(1)) {
      check_number(c, 1, "im");
      if (!std::equal(re.shape, re.shape + re.rank, im->shape, im->shape + im->rank))
        fail("im has shape {}, re {}; expected equal ones", shape_text(*im), shape_text(re));
    }
    for (const int n : {0, 1})
      if (c.out(n)) c.out_like(n, re);
  }
  template <class T>
  static void forward(OpCall c) {
    run<T>(c, c.in(0), c.in(1), c.out(0), c.out(1), c.flag(1), false);
  }
  template <class T>
  static void vjp(OpCall c) {
    if (!c.dout(0) && !c.dout(1)) return;
    run<T>(c, c.dout(0), c.dout(1), c.din(0), c.din(1), !c.flag(1), true);
  }
  static attn_cost cost(OpCall c) {
    const attn_view& x = *c.in(0);
    const uint32_t axes = check_axes(c.integers(0), x.rank, false);
    double length = 1;
    for (int d = 0; d < x.rank; ++d)
      if (axes >> d & 1u) length *= static_cast<double>(std::max<int64_t>(1, x.shape[d]));
    const double n = static_cast<double>(size_of(x)), parts = c.in(1) ? 2 : 1;
    const double outputs = (c.out(0) ? 1 : 0) + (c.out(1) ? 1 : 0);
    return {sizeof(attn_cost), 0, parts * 2.5 * n * std::log2(length),
            (parts + outputs) * n * c.element_size()};
  }

 private:
  template <class T>
  static void run(const OpCall& c, const attn_view* re, const attn_view* im,
                  const attn_view* out_re, const attn_view* out_im, bool inverse, bool accumulate) {
    const attn_view& x = *c.in(0);
    const auto in = [](const attn_view* v) {
      return v ? kernels::FftPlane<const T>{data<const T>(*v), v->stride}
               : kernels::FftPlane<const T>{};
    };
    const auto out = [](const attn_view* v) {
      return v ? kernels::FftPlane<T>{data<T>(*v), v->stride} : kernels::FftPlane<T>{};
    };
    kernels::fft<T>({.rank = x.rank,
                     .shape = x.shape,
                     .axes = check_axes(c.integers(0), x.rank, false),
                     .re = in(re),
                     .im = in(im),
                     .out_re = out(out_re),
                     .out_im = out(out_im),
                     .factor = c.real(2),
                     .inverse = inverse,
                     .accumulate = accumulate},
                    parallel(c));
  }
};

}  // namespace

const attn_op& op_fft() { return operator_table<fft>; }

}  // namespace attn::ops
