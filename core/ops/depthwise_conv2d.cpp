// SPDX-License-Identifier: Apache-2.0
//
// One filter a channel over a feature map: y[h, w, c] = b[c] + sum over i, j of K[i, j, c] x[h s + i - top,
// w s + j - left, c], zeros outside; 'same' padding, which puts the odd one of an uneven total behind.
#include "core/kernels/table.hpp"
#include "core/ops/check.hpp"
#include "core/ops/ops.hpp"
#include "core/ops/rows.hpp"

namespace attn::ops {
namespace {

// One axis of a convolution: which kernel rows meet which input rows.
struct Axis {
  int64_t in, out, kernel, stride, before;

  Axis(int64_t n, int64_t k, int64_t s) : in(n), out((n + s - 1) / s), kernel(k), stride(s) {
    const int64_t total = std::max<int64_t>(0, (out - 1) * s + k - n);
    before = total / 2;
  }
  // First and last kernel row that lie inside the map for output row `at`.
  [[nodiscard]] int64_t first(int64_t at) const {
    return std::max<int64_t>(0, before - at * stride);
  }
  [[nodiscard]] int64_t last(int64_t at) const {
    return std::min<int64_t>(kernel, in + before - at * stride);
  }
  [[nodiscard]] int64_t source(int64_t at, int64_t k) const { return at * stride + k - before; }
};

struct Geometry {
  Axis h, w;
  int64_t batch, channels;
};

Geometry geometry(const OpCall& c) {
  const attn_view &x = *c.in(0), &k = *c.in(1);
  const auto strides = c.integers(0);
  const int64_t sh = strides.empty() ? 1 : strides[0], sw = strides.size() > 1 ? strides[1] : sh;
  return {Axis(x.shape[1], k.shape[0], sh), Axis(x.shape[2], k.shape[1], sw), x.shape[0],
          x.shape[3]};
}

// Pixels of (batch, H, W, channels) memory whose channels lie side by side.
template <class T>
attn_view channels_last(const OpCall& c, const attn_view& v) {
  if (v.stride[3] == 1 || v.shape[3] == 1) return v;
  return dense_like(v, const_cast<T*>(dense<T>(parallel(c), v)));
}

constexpr int64_t kChannels = 64;  // of a block that stays in registers and L1

struct depthwise_conv2d {
  static constexpr const char* name = "depthwise_conv2d";
  static constexpr const char* doc =
      "one filter a channel, 'same' padding; x (B, H, W, C), K (kh, kw, C, 1)";
  static constexpr uint32_t version = 1, inputs = 3, outputs = 1, required = 0b011;
  static constexpr attn_param attributes[] = {ints_attribute("strides")};

  static void shape(OpCall c) {
    check_number(c, 0, "x");
    check_number(c, 1, "K");
    const attn_view &x = *c.in(0), &k = *c.in(1);
    if (x.rank != 4) fail("x has shape {}; expected (batch, H, W, channels)", shape_text(x));
    if (k.rank != 4 || k.shape[2] != x.shape[3] || k.shape[3] != 1 || k.shape[0] < 1 ||
        k.shape[1] < 1)
      fail("K has shape {}; expected (kh, kw, {}, 1)", shape_text(k), x.shape[3]);
    check_bias(c, x.shape[3]);
    const auto strides = c.integers(0);
    if (strides.size() > 2) fail("{} strides given; expected one or two", strides.size());
    for (const int64_t s : strides)
      if (s < 1) fail("stride {}; expected at least 1", s);
    const Geometry g = geometry(c);
    c.out_shape(0, x.dtype, {g.batch, g.h.out, g.w.out, g.channels});
  }

  template <class T>
  static void forward(OpCall c) {
    const Geometry g = geometry(c);
    const attn_view x = channels_last<T>(c, *c.in(0));
    const T* kernel = dense<T>(parallel(c), *c.in(1));
    const T* bias = c.in(2) ? dense<T>(parallel(c), *c.in(2)) : nullptr;
    const attn_view& y = *c.out(0);
    if constexpr (sizeof(T) == sizeof(float)) {
      if (use_kernels<T>() && (y.stride[3] == 1 || g.channels == 1)) {
        parallel(c).loop(g.batch * g.h.out, 1, [&](int64_t begin, int64_t end, int) {
          for (int64_t row = begin; row < end; ++row)
            kernels::table().depthwise_row(
                kernel_row(g, x, kernel, bias, row / g.h.out, row % g.h.out),
                data<T>(y) + row / g.h.out * y.stride[0] + row % g.h.out * y.stride[1],
                y.stride[2]);
        });
        return;
      }
    }
    parallel(c).loop(g.batch * g.h.out, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t row = begin; row < end; ++row) {
        const int64_t b = row / g.h.out, h = row % g.h.out;
        for (int64_t w = 0; w < g.w.out; ++w)
          for (int64_t c0 = 0; c0 < g.channels; c0 += kChannels)
            pixel(
                g, data<const T>(x) + b * x.stride[0] + c0, x, kernel + c0,
                bias ? bias + c0 : nullptr, h, w, std::min(kChannels, g.channels - c0),
                data<T>(y) + b * y.stride[0] + h * y.stride[1] + w * y.stride[2] + c0 * y.stride[3],
                y.stride[3]);
      }
    });
  }

  template <class T>
  static void vjp(OpCall c) {
    const Geometry g = geometry(c);
    Parallel& p = parallel(c);
    const attn_view x = channels_last<T>(c, *c.in(0)), dy = channels_last<T>(c, *c.dout(0));
    const bool fast = use_kernels<T>();
    if constexpr (sizeof(T) == sizeof(float)) {
      if (fast && c.din(0) && g.h.stride == 1 && g.w.stride == 1)
        fast_input_gradient(p, g, dy, dense<T>(p, *c.in(1)), *c.din(0));
      if (fast && c.din(1)) fast_kernel_gradient(p, g, x, dy, *c.din(1));
    }
    if (c.din(0) && !(fast && g.h.stride == 1 && g.w.stride == 1))
      input_gradient<T>(p, g, dy, dense<T>(p, *c.in(1)), *c.din(0));
    if (c.din(1) && !fast) kernel_gradient<T>(p, g, x, dy, *c.din(1));
    if (!c.din(2)) return;
    const attn_view& db = *c.din(2);
    p.loop(g.channels, kChannels, [&](int64_t begin, int64_t end, int) {
      double sums[kChannels] = {};
      each_pixel(g, [&](int64_t b, int64_t h, int64_t w) {
        const T* from = data<const T>(dy) + b * dy.stride[0] + h * dy.stride[1] + w * dy.stride[2];
        for (int64_t i = begin; i < end; ++i) sums[i - begin] += static_cast<double>(from[i]);
      });
      for (int64_t i = begin; i < end; ++i)
        data<T>(db)[i * db.stride[0]] += static_cast<T>(sums[i - begin]);
    });
  }

  static attn_cost cost(OpCall c) {
    const Geometry g = geometry(c);
    const auto n = static_cast<double>(g.batch * g.h.out * g.w.out * g.channels);
    return {sizeof(attn_cost), 0, 2 * n * static_cast<double>(g.h.kernel * g.w.kernel),
            (n + static_cast<double>(size_of(*c.in(0)))) * c.element_size()};
  }

 private:
  // Output row h of image b: the kernel rows that meet the image.
  static kernels::DepthwiseRow kernel_row(const Geometry& g, const attn_view& x,
                                          const float* kernel, const float* bias, int64_t b,
                                          int64_t h) {
    const int64_t i = g.h.first(h);
    kernels::DepthwiseRow r{};
    r.channels = g.channels;
    r.rows = std::max<int64_t>(0, g.h.last(h) - i);
    r.kw = g.w.kernel, r.in_width = g.w.in, r.out_width = g.w.out;
    r.step = g.w.stride, r.before = g.w.before;
    r.x = data<const float>(x) + b * x.stride[0] + g.h.source(h, i) * x.stride[1];
    r.x_row = x.stride[1], r.x_pixel = x.stride[2];
    r.kernel = kernel ? kernel + i * g.w.kernel * g.channels : nullptr;
    r.bias = bias;
    return r;
  }

  // With stride 1 the gradient is the convolution of dy with the kernel turned around.
  static void fast_input_gradient(Parallel& p, const Geometry& g, const attn_view& dy,
                                  const float* kernel, const attn_view& dx) {
    const int64_t taps = g.h.kernel * g.w.kernel;
    float* turned = p.scratch_array<float>(static_cast<size_t>(taps * g.channels) + 1);
    for (int64_t t = 0; t < taps; ++t)
      std::copy_n(kernel + (taps - 1 - t) * g.channels, g.channels, turned + t * g.channels);
    Geometry back = g;
    back.h.before = g.h.kernel - 1 - g.h.before;
    back.w.before = g.w.kernel - 1 - g.w.before;
    const Buffers<float> buffers(p, g.w.in * g.channels);
    p.loop(g.batch * g.h.in, 1, [&](int64_t begin, int64_t end, int worker) {
      for (int64_t row = begin; row < end; ++row) {
        const int64_t b = row / g.h.in, h = row % g.h.in;
        float* line = buffers.get(worker);
        kernels::table().depthwise_row(kernel_row(back, dy, turned, nullptr, b, h), line,
                                       g.channels);
        float* to = data<float>(dx) + b * dx.stride[0] + h * dx.stride[1];
        for (int64_t w = 0; w < g.w.in; ++w)
          for (int64_t q = 0; q < g.channels; ++q)
            to[w * dx.stride[2] + q * dx.stride[3]] += line[w * g.channels + q];
      }
    });
  }

  // Output rows in chunks, each with sums of its own in float.
  static void fast_kernel_gradient(Parallel& p, const Geometry& g, const attn_view& x,
                                   const attn_view& dy, const attn_view& dk) {
    const int64_t size = g.h.kernel * g.w.kernel * g.channels, rows = g.batch * g.h.out;
    const int64_t chunks = std::clamp<int64_t>(rows / 8, 1, 32),
                  each = (rows + chunks - 1) / chunks;
    float* sums = p.scratch_array<float>(static_cast<size_t>(chunks * size) + 1);
    p.loop(chunks, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t chunk = begin; chunk < end; ++chunk) {
        float* mine = sums + chunk * size;
        std::fill_n(mine, size, 0.0f);
        for (int64_t row = chunk * each; row < std::min(rows, (chunk + 1) * each); ++row) {
          const int64_t b = row / g.h.out, h = row % g.h.out;
          kernels::table().depthwise_kernel_row(
              kernel_row(g, x, nullptr, nullptr, b, h),
              data<const float>(dy) + b * dy.stride[0] + h * dy.stride[1], dy.stride[2],
              mine + g.h.first(h) * g.w.kernel * g.channels);
        }
      }
    });
    const Grid<1> to = Grid<1>::of({&dk});
    for (int64_t i = 0; i < size; ++i) {
      double total = 0;
      for (int64_t chunk = 0; chunk < chunks; ++chunk)
        total += static_cast<double>(sums[chunk * size + i]);
      data<float>(dk)[to.offsets(i)[0]] += static_cast<float>(total);
    }
  }

  template <class F>
  static void each_pixel(const Geometry& g, F&& f) {
    for (int64_t b = 0; b < g.batch; ++b)
      for (int64_t h = 0; h < g.h.out; ++h)
        for (int64_t w = 0; w < g.w.out; ++w) f(b, h, w);
  }

  // n <= kChannels channels of one output pixel.
  template <class T>
  static void pixel(const Geometry& g, const T* image, const attn_view& x, const T* kernel,
                    const T* bias, int64_t h, int64_t w, int64_t n, T* y, int64_t y_step) {
    T sum[kChannels];
    for (int64_t i = 0; i < n; ++i) sum[i] = bias ? bias[i] : T(0);
    for (int64_t i = g.h.first(h); i < g.h.last(h); ++i)
      for (int64_t j = g.w.first(w); j < g.w.last(w); ++j) {
        const T* from = image + g.h.source(h, i) * x.stride[1] + g.w.source(w, j) * x.stride[2];
        const T* k = kernel + (i * g.w.kernel + j) * g.channels;
        for (int64_t q = 0; q < n; ++q) sum[q] += from[q] * k[q];
      }
    for (int64_t i = 0; i < n; ++i) y[i * y_step] = sum[i];
  }

  // Each task owns the rows of one image: output rows of different images never meet.
  template <class T>
  static void input_gradient(Parallel& p, const Geometry& g, const attn_view& dy, const T* kernel,
                             const attn_view& dx) {
    const int64_t blocks = (g.channels + kChannels - 1) / kChannels;
    p.loop(g.batch * blocks, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t b = task / blocks, c0 = task % blocks * kChannels;
        const int64_t n = std::min(kChannels, g.channels - c0);
        T* image = data<T>(dx) + b * dx.stride[0] + c0 * dx.stride[3];
        for (int64_t h = 0; h < g.h.out; ++h)
          for (int64_t w = 0; w < g.w.out; ++w) {
            const T* from =
                data<const T>(dy) + b * dy.stride[0] + h * dy.stride[1] + w * dy.stride[2] + c0;
            for (int64_t i = g.h.first(h); i < g.h.last(h); ++i)
              for (int64_t j = g.w.first(w); j < g.w.last(w); ++j) {
                T* to = image + g.h.source(h, i) * dx.stride[1] + g.w.source(w, j) * dx.stride[2];
                const T* k = kernel + (i * g.w.kernel + j) * g.channels + c0;
                for (int64_t q = 0; q < n; ++q) to[q * dx.stride[3]] += from[q] * k[q];
              }
          }
      }
    });
  }

  // Each task owns one kernel row and column: a sum over all pixels, in their order.
  template <class T>
  static void kernel_gradient(Parallel& p, const Geometry& g, const attn_view& x,
                              const attn_view& dy, const attn_view& dk) {
    double* sums =
        p.scratch_array<double>(static_cast<size_t>(g.h.kernel * g.w.kernel * g.channels));
    p.loop(g.h.kernel * g.w.kernel, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t tap = begin; tap < end; ++tap) {
        const int64_t i = tap / g.w.kernel, j = tap % g.w.kernel;
        double* sum = sums + tap * g.channels;
        std::fill(sum, sum + g.channels, 0.0);
        each_pixel(g, [&](int64_t b, int64_t h, int64_t w) {
          if (i < g.h.first(h) || i >= g.h.last(h) || j < g.w.first(w) || j >= g.w.last(w)) return;
          const T* from = data<const T>(x) + b * x.stride[0] + g.h.source(h, i) * x.stride[1] +
                          g.w.source(w, j) * x.stride[2];
          const T* d = data<const T>(dy) + b * dy.stride[0] + h * dy.stride[1] + w * dy.stride[2];
          for (int64_t q = 0; q < g.channels; ++q)
            sum[q] += static_cast<double>(from[q]) * static_cast<double>(d[q]);
        });
        for (int64_t q = 0; q < g.channels; ++q)
          data<T>(dk)[i * dk.stride[0] + j * dk.stride[1] + q * dk.stride[2]] +=
              static_cast<T>(sum[q]);
      }
    });
  }
};

}  // namespace

const attn_op& op_depthwise_conv2d() { return operator_table<depthwise_conv2d>; }

}  // namespace attn::ops
