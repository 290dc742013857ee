// SPDX-License-Identifier: Apache-2.0
//
// Rows of x are copied with their padding, once for a band of output rows. A patch row of the kernel, (kw,
// in_channels), is then contiguous memory, and the patches of neighbouring pixels are rows of a matrix that
// overlap: one product for each kernel row, nothing else copied.
#include "core/kernels/conv.hpp"

#include <algorithm>

#include "core/kernels/gemm.hpp"
#include "core/kernels/table.hpp"
#include "core/threads/notes.hpp"

namespace attn::kernels {
namespace {

constexpr int64_t kFewOutputs = 4, kFewInputs = 16;  // channels up to which planes are faster
constexpr int64_t kMostChunks = 32;                  // of a sum over bands
constexpr int64_t kNarrow = 24;    // pixels of a row below which rows are multiplied together
constexpr int64_t kTogether = 96;  // pixels, about

int64_t round_up(int64_t a, int64_t b) { return (a + b - 1) / b * b; }

bool by_planes(const Conv<float>& c) {
  return c.out_channels <= kFewOutputs && c.in_channels <= kFewInputs && c.h.stride == 1 &&
         c.w.stride == 1 && c.h.gap == 1 && c.w.gap == 1;
}

// Output rows that share one copy of the input.
struct Bands {
  int64_t rows, per_image, count;
  explicit Bands(const Conv<float>& c) : Bands(c, c.batch * c.h.out / 32, 8) {}
  Bands(const Conv<float>& c, int64_t wanted, int64_t most)
      : rows(std::clamp<int64_t>(wanted, 1, most)),
        per_image((c.h.out + rows - 1) / rows),
        count(c.batch * per_image) {}
};

// The padded input of one band: row r is input row `first` + r of the padded map.
struct Band {
  int64_t image, begin, end, first, input_rows;
  Band(const Conv<float>& c, const Bands& bands, int64_t n)
      : image(n / bands.per_image),
        begin(n % bands.per_image * bands.rows),
        end(std::min(c.h.out, begin + bands.rows)),
        first(begin * c.h.stride - c.h.before),
        input_rows(c.h.reach(end - begin)) {}
};

// Input row of the map that row r of a band is, or -1.
int64_t input_row(const Conv<float>& c, const Band& band, int64_t r) {
  const int64_t v = band.first + r;
  return v < 0 || v % c.h.gap != 0 || v / c.h.gap >= c.h.in ? -1 : v / c.h.gap;
}

// One padded row, pixels side by side: `width` pixels.
void pad_pixels(const Conv<float>& c, const float* from, int64_t width, float* to) {
  const int64_t n = c.in_channels;
  std::fill_n(to, width * n, 0.0f);
  const int64_t fit = (width - c.w.before + c.w.gap - 1) / c.w.gap;  // pixels that lie inside
  const int64_t pixels = std::min(c.w.in, std::max<int64_t>(0, fit));
  float* at = to + c.w.before * n;
  if (c.w.gap == 1 && c.x_pixel == n) {
    std::copy_n(from, pixels * n, at);
    return;
  }
  for (int64_t w = 0; w < pixels; ++w) std::copy_n(from + w * c.x_pixel, n, at + w * c.w.gap * n);
}

// The same as planes, `plane` floats apart.
void pad_planes(const Conv<float>& c, const float* from, int64_t width, int64_t plane, float* to) {
  const int64_t pixels = std::min(c.w.in, std::max<int64_t>(0, width - c.w.before));
  for (int64_t n = 0; n < c.in_channels; ++n) {
    float* line = to + n * plane;
    std::fill_n(line, width, 0.0f);
    for (int64_t w = 0; w < pixels; ++w) line[c.w.before + w] = from[w * c.x_pixel + n];
  }
}

const float* row_of(const Conv<float>& c, const Band& band, int64_t row) {
  return c.x + band.image * c.x_image + row * c.x_row;
}

class Copies {
 public:
  Copies(const Conv<float>& c, const Bands& bands, Parallel& parallel)
      : width_(c.w.reach(c.w.out)),
        rows_(c.h.reach(bands.rows)),
        size_(round_up(width_ * rows_ * c.in_channels, 16)),
        memory_(parallel.scratch_array<float>(
            static_cast<size_t>(size_ * std::max(1, parallel.concurrency())))) {}
  [[nodiscard]] float* get(int worker) const { return memory_ + worker * size_; }
  [[nodiscard]] int64_t width() const { return width_; }

  // Fills the planes of a band; (in_channels, rows, width).
  ConvPlanes planes(const Conv<float>& c, const Band& band, int worker) const {
    float* to = get(worker);
    for (int64_t r = 0; r < band.input_rows; ++r) {
      const int64_t row = input_row(c, band, r);
      if (row >= 0) {
        pad_planes(c, row_of(c, band, row), width_, rows_ * width_, to + r * width_);
      } else {
        for (int64_t n = 0; n < c.in_channels; ++n)
          std::fill_n(to + (n * rows_ + r) * width_, width_, 0.0f);
      }
    }
    const int64_t element = c.in_channels * c.out_channels;
    return {c.in_channels,  c.h.kernel, c.w.kernel,  c.w.out,        to,
            rows_ * width_, width_,     nullptr,     c.out_channels, c.w.kernel * element,
            element,        0.0f,       c.accumulate};
  }

 private:
  int64_t width_, rows_, size_;
  float* memory_;
};

void convolve_planes(const Conv<float>& c, Parallel& parallel) {
  const KernelTable& t = table();
  const Bands bands(c);
  const Copies copies(c, bands, parallel);
  parallel.loop(bands.count, 1, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t n = begin; n < end; ++n) {
      const Band band(c, bands, n);
      ConvPlanes p = copies.planes(c, band, worker);
      const float* x = p.x;
      for (int64_t h = band.begin; h < band.end; ++h) {
        p.x = x + (h - band.begin) * p.x_row;
        for (int64_t o = 0; o < c.out_channels; ++o) {
          p.kernel = c.kernel + o;
          p.start = c.bias ? c.bias[o] : 0.0f;
          t.conv_planes(p, c.y + band.image * c.y_image + h * c.y_row + o, c.y_pixel);
        }
      }
    }
  });
}

// Bands in chunks, by the shapes alone; each chunk has sums of its own.
void weights_of_planes(const Conv<float>& c, float* dk, Parallel& parallel) {
  const KernelTable& t = table();
  const Bands bands(c);
  const Copies copies(c, bands, parallel);
  const int64_t chunks = std::min(bands.count, kMostChunks);
  const int64_t each = (bands.count + chunks - 1) / chunks;
  const int64_t size = c.h.kernel * c.w.kernel * c.in_channels * c.out_channels;
  float* sums = parallel.scratch_array<float>(static_cast<size_t>(chunks * size));
  const int64_t line = round_up(c.w.out, 16);
  float* lines = parallel.scratch_array<float>(
      static_cast<size_t>(line * std::max(1, parallel.concurrency())));
  parallel.loop(chunks, 1, [&](int64_t begin, int64_t end, int worker) {
    float* dy = lines + worker * line;
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      float* mine = sums + chunk * size;
      std::fill_n(mine, size, 0.0f);
      for (int64_t n = chunk * each; n < std::min(bands.count, (chunk + 1) * each); ++n) {
        const Band band(c, bands, n);
        ConvPlanes p = copies.planes(c, band, worker);
        const float* x = p.x;
        for (int64_t h = band.begin; h < band.end; ++h) {
          p.x = x + (h - band.begin) * p.x_row;
          for (int64_t o = 0; o < c.out_channels; ++o) {
            const float* from = c.y + band.image * c.y_image + h * c.y_row + o;
            for (int64_t w = 0; w < c.w.out; ++w) dy[w] = from[w * c.y_pixel];
            t.conv_planes_weights(p, dy, mine + o);
          }
        }
      }
    }
  });
  for (int64_t i = 0; i < size; ++i) {
    double total = 0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk)
      total += static_cast<double>(sums[chunk * size + i]);
    dk[i] = static_cast<float>(total);
  }
}

// Narrow maps with stride 1: all rows of a band in one product for each kernel row, so that the kernel is read less
// often. Its rows are pixels of the padded band; those behind the end of a row of y are not used.
void convolve_together(const Conv<float>& c, const float* packed, int64_t step,
                       Parallel& parallel) {
  const int64_t k = c.w.kernel * c.in_channels, n = c.out_channels;
  const Bands bands(c, kTogether / c.w.reach(c.w.out), c.h.out);
  const Copies copies(c, bands, parallel);
  const int64_t width = copies.width(), row_size = width * c.in_channels;
  const int64_t tile = round_up(bands.rows * width * n, 16);
  float* tiles = parallel.scratch_array<float>(
      static_cast<size_t>(tile * std::max(1, parallel.concurrency())));
  parallel.loop(bands.count, 1, [&](int64_t begin, int64_t end, int worker) {
    float *copy = copies.get(worker), *sums = tiles + worker * tile;
    for (int64_t task = begin; task < end; ++task) {
      const Band band(c, bands, task);
      for (int64_t r = 0; r < band.input_rows; ++r) {
        const int64_t row = input_row(c, band, r);
        if (row >= 0)
          pad_pixels(c, row_of(c, band, row), width, copy + r * row_size);
        else
          std::fill_n(copy + r * row_size, row_size, 0.0f);
      }
      Gemm g;
      g.m = (band.end - band.begin - 1) * width + c.w.out, g.n = n, g.k = k;
      g.a_row = c.in_channels;
      g.c = sums, g.c_row = n;
      for (int64_t i = 0; i < c.h.kernel; ++i) {
        g.a = copy + i * row_size;
        g.packed = packed + i * step;
        g.accumulate = i > 0;
        g.bias = i > 0 ? nullptr : c.bias;
        gemm_serial(g);
      }
      for (int64_t h = band.begin; h < band.end; ++h)
        for (int64_t w = 0; w < c.w.out; ++w) {
          const float* from = sums + ((h - band.begin) * width + w) * n;
          float* to = c.y + band.image * c.y_image + h * c.y_row + w * c.y_pixel;
          for (int64_t o = 0; o < n; ++o) to[o] = c.accumulate ? to[o] + from[o] : from[o];
        }
    }
  });
}

}  // namespace

void conv2d(const Conv<float>& c, Parallel& parallel) {
  if (parallel.notes != nullptr)
    parallel.notes->add(by_planes(c) ? "pixels in the lanes: few channels"
                                     : "a product for each row of the kernel");
  if (by_planes(c)) return convolve_planes(c, parallel);
  if (parallel.notes != nullptr)
    parallel.notes->add_lanes(std::to_string(c.out_channels) + " output channels", c.out_channels,
                              table().gemm_layout().width);
  const int64_t k = c.w.kernel * c.in_channels, n = c.out_channels;
  const int64_t step = round_up(static_cast<int64_t>(packed_size(k, n)), 16);
  float* packed = parallel.scratch_array<float>(static_cast<size_t>(step * c.h.kernel));
  for (int64_t i = 0; i < c.h.kernel; ++i)
    pack_b(k, n, c.kernel + i * k * n, n, 1, packed + i * step, parallel);
  if (c.w.out < kNarrow && c.h.stride == 1 && c.w.stride == 1)
    return convolve_together(c, packed, step, parallel);
  const Bands bands(c);
  const Copies copies(c, bands, parallel);
  const int64_t row_size = copies.width() * c.in_channels;
  // Without padding, and with pixels where the copy would put them, x is its own copy.
  const bool in_place = c.w.before == 0 && c.w.gap == 1 && copies.width() <= c.w.in &&
                        (c.w.kernel == 1 || c.x_pixel == c.in_channels);
  parallel.loop(bands.count, 1, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t task = begin; task < end; ++task) {
      const Band band(c, bands, task);
      float* copy = copies.get(worker);
      for (int64_t r = 0; r < band.input_rows && !in_place; ++r) {
        const int64_t row = input_row(c, band, r);
        if (row >= 0) pad_pixels(c, row_of(c, band, row), copies.width(), copy + r * row_size);
      }
      for (int64_t h = band.begin; h < band.end; ++h) {
        Gemm g;
        g.m = c.w.out, g.n = n;
        g.a_row = c.w.stride * (in_place ? c.x_pixel : c.in_channels);
        g.c = c.y + band.image * c.y_image + h * c.y_row;
        g.c_row = c.y_pixel;
        g.accumulate = c.accumulate;
        g.bias = c.bias;
        for (int64_t i = 0; i < c.h.kernel; ++i) {
          const int64_t row = c.h.source(h, i);
          if (row < 0) continue;
          g.k = k;
          g.a = in_place ? row_of(c, band, row)
                         : copy + ((h - band.begin) * c.h.stride + i) * row_size;
          g.packed = packed + i * step;
          gemm_serial(g);
          g.accumulate = true;
          g.bias = nullptr;
        }
        if (g.k == 0) gemm_serial(g);  // no kernel row meets the map: the bias alone
      }
    }
  });
}

// One long product for each kernel row: x and dy are copied into maps of equal width, so that both step evenly
// through all pixels of the batch; pixels that only one of them has meet zeros.
void conv2d_weights(const Conv<float>& c, float* dk, Parallel& parallel) {
  if (by_planes(c)) return weights_of_planes(c, dk, parallel);
  const int64_t sh = c.h.stride, sw = c.w.stride, in = c.in_channels, out = c.out_channels;
  // dy: rows of `across` pixels, `down` of them; x: across * sw / sh by down * sh pixels.
  const int64_t reach = c.w.reach(c.w.out);
  const int64_t across = round_up(std::max((reach * sh + sw - 1) / sw, c.w.out), sh);
  const int64_t width = across * sw / sh, down = (c.h.reach(c.h.out) + sh - 1) / sh;
  const int64_t pixels = c.batch * down * across;
  const int64_t slack = (c.h.kernel - 1) * width * in + c.w.kernel * in;
  float* x = parallel.scratch_array<float>(static_cast<size_t>(pixels * sw * in + slack));
  float* dy = parallel.scratch_array<float>(static_cast<size_t>(pixels * out));
  std::fill_n(x + pixels * sw * in, slack, 0.0f);
  parallel.loop(c.batch * down, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t n = begin; n < end; ++n) {
      const int64_t b = n / down, h = n % down;
      for (int64_t r = h * sh; r < (h + 1) * sh; ++r) {
        float* to = x + (b * down * sh + r) * width * in;
        const int64_t row = r - c.h.before;
        if (row >= 0 && row < c.h.in)
          pad_pixels(c, c.x + b * c.x_image + row * c.x_row, width, to);
        else
          std::fill_n(to, width * in, 0.0f);
      }
      float* to = dy + n * across * out;
      std::fill_n(to, across * out, 0.0f);
      if (h >= c.h.out) continue;
      for (int64_t w = 0; w < c.w.out; ++w)
        std::copy_n(c.y + b * c.y_image + h * c.y_row + w * c.y_pixel, out, to + w * out);
    }
  });
  float* packed = parallel.scratch_array<float>(packed_size(pixels, out));
  pack_b(pixels, out, dy, out, 1, packed, parallel);
  const int64_t k = c.w.kernel * in;
  for (int64_t i = 0; i < c.h.kernel; ++i)
    gemm(Gemm{.m = k,
              .n = out,
              .k = pixels,
              .a = x + i * width * in,
              .a_row = 1,
              .a_col = sw * in,
              .c = dk + i * k * out,
              .c_row = out,
              .packed = packed},
         parallel);
}

}  // namespace attn::kernels
