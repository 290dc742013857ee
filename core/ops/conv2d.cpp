// SPDX-License-Identifier: Apache-2.0
//
// Two-dimensional convolution (cross-correlation) of maps (batch, H, W, channels) with 'same' padding, which puts
// the odd one of an uneven total behind: y[h, w, o] = b[o] + sum over i, j, c of K[i, j, c, o]
// x[h s + i - top, w s + j - left, c], zeros outside.
#include "core/kernels/conv.hpp"
#include "core/kernels/reference/conv.hpp"
#include "core/ops/check.hpp"
#include "core/ops/ops.hpp"
#include "core/ops/reduce.hpp"
#include "core/tensor/strided.hpp"

namespace attn::ops {
namespace {

using kernels::Conv;
using kernels::ConvAxis;

// 'same': as many outputs as inputs, divided by the stride.
ConvAxis same_axis(int64_t n, int64_t kernel, int64_t stride) {
  const int64_t out = (n + stride - 1) / stride;
  const int64_t total = std::max<int64_t>(0, (out - 1) * stride + kernel - n);
  return {n, out, kernel, stride, 1, total / 2};
}
// The axis of the gradient by x: the outputs, spread out by the stride, meet the kernel turned around.
ConvAxis backward_axis(const ConvAxis& a) {
  return {a.out, a.in, a.kernel, 1, a.stride, a.kernel - 1 - a.before};
}

// Channels side by side.
template <class T>
attn_view channels_last(Parallel& p, const attn_view& v) {
  if (v.stride[3] == 1 || v.shape[3] == 1) return v;
  return dense_like(v, const_cast<T*>(dense<T>(p, v)));
}

// Everything but kernel and bias.
template <class T>
Conv<T> geometry(const OpCall& c, const attn_view& x, const attn_view& y) {
  const attn_view& k = *c.in(1);
  const auto strides = c.integers(0);
  const int64_t sh = strides.empty() ? 1 : strides[0], sw = strides.size() > 1 ? strides[1] : sh;
  Conv<T> conv{};
  conv.h = same_axis(x.shape[1], k.shape[0], sh);
  conv.w = same_axis(x.shape[2], k.shape[1], sw);
  conv.batch = x.shape[0], conv.in_channels = k.shape[2], conv.out_channels = k.shape[3];
  conv.x = data<const T>(x);
  conv.x_image = x.stride[0], conv.x_row = x.stride[1], conv.x_pixel = x.stride[2];
  conv.y = data<T>(y);
  conv.y_image = y.stride[0], conv.y_row = y.stride[1], conv.y_pixel = y.stride[2];
  return conv;
}

template <class T>
void convolve(const Conv<T>& conv, Parallel& p) {
  if constexpr (sizeof(T) == sizeof(float)) {
    if (use_kernels<T>()) return kernels::conv2d(conv, p);
  }
  p.loop(conv.batch * conv.h.out, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row)
      kernels::reference::conv2d_row(conv, row / conv.h.out, row % conv.h.out);
  });
}

struct conv2d {
  static constexpr const char* name = "conv2d";
  static constexpr const char* doc =
      "convolution with 'same' padding; x (B, H, W, C), K (kh, kw, C, O), b (O)";
  static constexpr uint32_t version = 1, inputs = 3, outputs = 1, required = 0b011;
  static constexpr attn_param attributes[] = {ints_attribute("strides")};

  static void shape(OpCall c) {
    check_number(c, 0, "x");
    check_number(c, 1, "K");
    const attn_view &x = *c.in(0), &k = *c.in(1);
    if (x.rank != 4) fail("x has shape {}; expected (batch, H, W, channels)", shape_text(x));
    if (k.rank != 4 || k.shape[2] != x.shape[3] || k.shape[0] < 1 || k.shape[1] < 1)
      fail("K has shape {}; expected (kh, kw, {}, out)", shape_text(k), x.shape[3]);
    check_bias(c, k.shape[3]);
    const auto strides = c.integers(0);
    if (strides.size() > 2) fail("{} strides given; expected one or two", strides.size());
    for (const int64_t s : strides)
      if (s < 1) fail("stride {}; expected at least 1", s);
    const Conv<float> g = geometry<float>(c, x, x);
    c.out_shape(0, x.dtype, {g.batch, g.h.out, g.w.out, g.out_channels});
  }

  template <class T>
  static void forward(OpCall c) {
    Parallel& p = parallel(c);
    const attn_view& out = *c.out(0);
    if (size_of(out) == 0) return;
    const attn_view x = channels_last<T>(p, *c.in(0)), y = target<T>(p, out);
    Conv<T> conv = geometry<T>(c, x, y);
    conv.kernel = dense<T>(p, *c.in(1));
    conv.bias = c.in(2) ? dense<T>(p, *c.in(2)) : nullptr;
    convolve(conv, p);
    if (y.data != out.data) copy_strided(y, out);
  }

  template <class T>
  static void vjp(OpCall c) {
    if (!c.dout(0) || size_of(*c.dout(0)) == 0) return;
    Parallel& p = parallel(c);
    const attn_view x = channels_last<T>(p, *c.in(0)), dy = channels_last<T>(p, *c.dout(0));
    const Conv<T> conv = geometry<T>(c, x, dy);
    if (c.din(0)) input_gradient<T>(c, conv, *c.din(0));
    if (c.din(1)) kernel_gradient<T>(c, conv, *c.din(1));
    if (c.din(2)) add_broadcast_gradient<T>(p, dy, *c.din(2), 1);
  }

  static attn_cost cost(OpCall c) {
    const auto y = static_cast<double>(size_of(*c.out(0)));
    const attn_view& k = *c.in(1);
    return {sizeof(attn_cost), 0, 2 * y * static_cast<double>(k.shape[0] * k.shape[1] * k.shape[2]),
            (y + static_cast<double>(size_of(*c.in(0)) + size_of(k))) * c.element_size()};
  }

 private:
  // The view itself where its channels lie side by side, else scratch memory.
  template <class T>
  static attn_view target(Parallel& p, const attn_view& v) {
    if (v.stride[3] == 1 || v.shape[3] == 1) return v;
    return dense_like(v, p.scratch_array<T>(static_cast<size_t>(size_of(v))));
  }

  template <class T>
  static void input_gradient(const OpCall& c, const Conv<T>& conv, const attn_view& dx) {
    if (size_of(dx) == 0) return;
    Parallel& p = parallel(c);
    const int64_t in = conv.in_channels, out = conv.out_channels;
    const int64_t taps = conv.h.kernel * conv.w.kernel;
    const T* kernel = dense<T>(p, *c.in(1));
    T* turned = p.scratch_array<T>(static_cast<size_t>(taps * in * out) + 1);
    for (int64_t t = 0; t < taps; ++t)
      for (int64_t i = 0; i < in; ++i)
        for (int64_t o = 0; o < out; ++o)
          turned[((taps - 1 - t) * out + o) * in + i] = kernel[(t * in + i) * out + o];
    const attn_view to = target<T>(p, dx);
    Conv<T> back{};
    back.h = backward_axis(conv.h);
    back.w = backward_axis(conv.w);
    back.batch = conv.batch, back.in_channels = out, back.out_channels = in;
    back.x = conv.y;
    back.x_image = conv.y_image, back.x_row = conv.y_row, back.x_pixel = conv.y_pixel;
    back.kernel = turned;
    back.y = data<T>(to);
    back.y_image = to.stride[0], back.y_row = to.stride[1], back.y_pixel = to.stride[2];
    back.accumulate = to.data == dx.data;
    convolve(back, p);
    if (!back.accumulate) add_strided(to, dx);
  }

  template <class T>
  static void kernel_gradient(const OpCall& c, const Conv<T>& conv, const attn_view& dk) {
    if (size_of(dk) == 0) return;
    Parallel& p = parallel(c);
    T* sums = p.scratch_array<T>(static_cast<size_t>(size_of(dk)));
    bool done = false;
    if constexpr (sizeof(T) == sizeof(float)) {
      done = use_kernels<T>();
      if (done) kernels::conv2d_weights(conv, sums, p);
    }
    if (!done) {
      const int64_t each = conv.in_channels * conv.out_channels;
      const Buffers<double> buffers(p, each);
      p.loop(conv.h.kernel * conv.w.kernel, 1, [&](int64_t begin, int64_t end, int worker) {
        for (int64_t tap = begin; tap < end; ++tap) {
          double* mine = buffers.get(worker);
          std::fill_n(mine, each, 0.0);
          kernels::reference::conv2d_weights_tap(conv, tap / conv.w.kernel, tap % conv.w.kernel,
                                                 mine);
          for (int64_t i = 0; i < each; ++i) sums[tap * each + i] = static_cast<T>(mine[i]);
        }
      });
    }
    add_strided(dense_like(dk, sums), dk);
  }
};

}  // namespace

const attn_op& op_conv2d() { return operator_table<conv2d>; }

}  // namespace attn::ops
