// SPDX-License-Identifier: Apache-2.0
//
// One axis after the other, in tiles of kFftLanes sequences. The first reads the input, those between work on a
// spectrum in scratch memory, the last one writes the outputs. Of a real tensor over several axes the first pass
// packs two sequences of an item into a complex one and keeps k = 0..n/2; the rest of the output are these numbers
// read backwards along every axis, since x is real: Z[-k, -l] = conj Z[k, l].
//
// Swapping real and imaginary parts on both sides turns a transform into its inverse.
#include "core/kernels/fft.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "core/kernels/fft_plan.hpp"
#include "core/threads/notes.hpp"

namespace attn::kernels {
namespace {

constexpr int kMostAxes = 8;
constexpr int64_t kMostSpectrum = int64_t{1} << 20;  // numbers of spectra that are kept at once
constexpr int64_t kTiles = 4;                        // tiles that are enough for a thread
constexpr int64_t kGrain = 4096;  // numbers that are enough for a piece of a loop
constexpr int64_t kNone = std::numeric_limits<int64_t>::min();

int64_t round_up(int64_t a, int64_t b) { return (a + b - 1) / b * b; }

// A length whose passes are those of a longer one.
void note(Notes& notes, int64_t n, int64_t length) {
  notes.add(std::to_string(n) + (length == n ? " in passes, one a factor" : " as a convolution"));
  if (length == n) return;
  notes.add({"length",
             "the length " + std::to_string(n) + " has a prime factor above " +
                 std::to_string(kFftMostRadix) + " and takes two transforms of length " +
                 std::to_string(length) + ". Lengths with small factors take one of their own",
             1 - static_cast<double>(n) / static_cast<double>(2 * length)});
}

enum Operand { in_re, in_im, out_a, out_b, spectrum, kOperands };

// Some axes, the last one fastest, and where their elements lie in each operand.
struct Walk {
  int rank = 0;
  int64_t size = 1;
  int64_t shape[kMostAxes] = {};
  int64_t stride[kOperands][kMostAxes] = {};

  void push(int64_t extent, const std::array<int64_t, kOperands>& strides) {
    for (int i = 0; i < kOperands; ++i) stride[i][rank] = strides[static_cast<size_t>(i)];
    shape[rank++] = extent;
    size *= extent;
  }
  [[nodiscard]] int64_t offset(Operand of, int64_t flat) const {
    int64_t o = 0;
    for (int d = rank - 1; d > 0; --d) {
      o += flat % shape[d] * stride[of][d];
      flat /= shape[d];
    }
    return o + flat * stride[of][0];  // stride 0 and flat 0 without axes
  }
  // Of the element whose indices are -i modulo the extents; the first axis, of extent n, was cut to n / 2 + 1.
  [[nodiscard]] int64_t mirrored(Operand of, int64_t flat, int64_t n) const {
    int64_t o = 0;
    for (int d = rank - 1; d >= 0; --d) {
      const int64_t i = flat % shape[d];
      o += (i == 0 ? 0 : (d == 0 ? n : shape[d]) - i) * stride[of][d];
      flat /= shape[d];
    }
    return o;
  }
};

// Where the sequences of a tile begin; kNone: zeros.
template <class T>
struct Tile {
  static constexpr int64_t kL = kFftLanes<T>;
  int64_t base[kL], count = 0, step = 0;
  bool even = true;

  void push(int64_t b) {
    if (b == kNone || (count && base[0] == kNone))
      even = false;
    else if (count == 1)
      step = b - base[0];
    else if (count > 1)
      even = even && b - base[count - 1] == step;
    base[count++] = b;
  }
  [[nodiscard]] bool adjacent() const { return even && step == 1 && count == kL; }

  // n elements of each sequence, `stride` apart, to stretches.
  void load(const T* x, int64_t n, int64_t stride, T* to) const {
    if (x && adjacent()) {
      for (int64_t i = 0; i < n; ++i) {
        const T* from = x + base[0] + i * stride;
        __builtin_prefetch(from + kL);  // for the next tile
        std::copy_n(from, kL, to + i * kL);
      }
      return;
    }
    if (!x || count < kL) std::fill_n(to, n * kL, T(0));
    if (!x) return;
    if (even && stride == 1) {
      constexpr int64_t kBlock = 64;  // stretches that stay in the nearest cache
      for (int64_t i = 0; i < n; i += kBlock)
        fft_transpose(count, std::min(kBlock, n - i), x + base[0] + i, step, to + i * kL, kL);
      return;
    }
    for (int64_t i = 0; i < n; ++i)
      for (int64_t e = 0; e < count; ++e)
        to[i * kL + e] = base[e] == kNone ? T(0) : x[base[e] + i * stride];
  }
  // And back.
  void store(const T* from, int64_t n, int64_t stride, T* y) const {
    if (adjacent()) {
      for (int64_t i = 0; i < n; ++i) std::copy_n(from + i * kL, kL, y + base[0] + i * stride);
      return;
    }
    for (int64_t i = 0; i < n; ++i)
      for (int64_t e = 0; e < count; ++e)
        if (base[e] != kNone) y[base[e] + i * stride] = from[i * kL + e];
  }
};

// n numbers times a factor, forwards or as element -i modulo n.
template <class T>
void put(const T* from, int64_t n, T factor, T* y, int64_t stride, bool accumulate, bool mirrored) {
  const auto all = [&](auto&& to) {
    to(0, from[0]);
    if (mirrored)
      for (int64_t i = 1; i < n; ++i) to(i, from[n - i]);
    else
      for (int64_t i = 1; i < n; ++i) to(i, from[i]);
  };
  if (accumulate)
    all([&](int64_t i, T v) { y[i * stride] += factor * v; });
  else if (stride == 1)
    all([&](int64_t i, T v) { y[i] = factor * v; });
  else
    all([&](int64_t i, T v) { y[i * stride] = factor * v; });
}

template <class T>
class Transform {
 public:
  Transform(const Fft<T>& job, Parallel& parallel) : job_(job), parallel_(parallel) {
    if (job_.inverse) swap_parts();
    factor_[0] = factor_[1] = static_cast<T>(job_.factor);
    if (!job_.re.data) {  // the transform of i x is i times that of x
      std::swap(job_.re, job_.im);
      std::swap(job_.out_re, job_.out_im);
      factor_[1] = -factor_[1];
    }
    // What comes out as real part of the transform goes to out_a, the imaginary part to out_b.
    in_[0] = job_.re.data, in_[1] = job_.im.data;
    out_[0] = job_.out_re.data, out_[1] = job_.out_im.data;
    arrange();
    plan();
  }

  void run() {
    for (int64_t first = 0; first < items_.size; first += block_) {
      const int64_t items = std::min(block_, items_.size - first);
      for (int j = 0; j < count_; ++j) {
        const int64_t sequences = items * per_item(j), tiles = (sequences + kL - 1) / kL;
        parallel_.loop(tiles, grain(j), [&](int64_t begin, int64_t end, int worker) {
          for (int64_t i = begin; i < end; ++i)
            tile(j, first, i * kL, std::min(kL, sequences - i * kL), work(worker));
        });
      }
    }
  }

 private:
  static constexpr int64_t kL = kFftLanes<T>;

  void swap_parts() {
    std::swap(job_.re, job_.im);
    std::swap(job_.out_re, job_.out_im);
  }

  [[nodiscard]] std::array<int64_t, kOperands> strides(int axis, int64_t of_spectrum) const {
    const auto at = [&](const int64_t* s) { return s ? s[axis] : 0; };
    return {at(job_.re.stride), at(job_.im.stride), at(job_.out_re.stride), at(job_.out_im.stride),
            of_spectrum};
  }

  // The axes of the transform in `axis_`, the others in items_; one of extent 1 is left out unless it is the only one.
  void arrange() {
    int last = -1;
    for (int d = 0; d < job_.rank; ++d)
      if (job_.axes >> d & 1u && (last < 0 || job_.shape[d] > 1)) {
        if (last >= 0 && job_.shape[last] == 1) count_ = 0;
        axis_[count_++] = last = d;
      }
    half_ = count_ > 1 && !in_[1];
    kept_ = half_ ? length(0) / 2 + 1 : length(0);
    row_ = round_up(length(count_ - 1), kL);
    int64_t step[kMostAxes];
    item_ = row_;
    for (int j = count_ - 1; j >= 0; --j) {
      step[j] = j == count_ - 1 ? 1 : item_;
      if (j < count_ - 1) item_ *= j == 0 ? kept_ : length(j);
    }
    for (int d = 0; d < job_.rank; ++d)
      if (!(job_.axes >> d & 1u)) items_.push(job_.shape[d], strides(d, 0));
    for (int j = 0; j < count_; ++j) {
      element_[j] = strides(axis_[j], step[j]);
      for (int k = 0; k < count_; ++k)
        if (k != j) others_[j].push(k == 0 ? kept_ : length(k), strides(axis_[k], step[k]));
    }
  }

  // As few items at a time as keep all threads busy: their spectra should stay in the cache.
  void plan() {
    int64_t longest = row_;
    for (int j = 0; j < count_; ++j) {
      longest = std::max(longest, fft_work_length(length(j)));
      int same = 0;
      while (length(same) != length(j)) ++same;
      plan_[j] = same < j ? plan_[same] : fft_plan<T>(length(j), parallel_);
      if (parallel_.notes != nullptr) note(*parallel_.notes, plan_[j].n, plan_[j].length);
    }
    const int64_t threads = std::max(1, parallel_.concurrency());
    if (count_ == 1) {
      block_ = items_.size;
    } else {
      const int64_t busy = kTiles * threads * grain(0) * kL / per_item(0) + 1;
      block_ = std::clamp<int64_t>(std::min(busy, kMostSpectrum / (2 * item_)), 1, items_.size);
      const int64_t most = std::max(item_, std::min(items_.size * item_, kMostSpectrum / 2));
      spectrum_[0] = parallel_.scratch_array<T>(static_cast<size_t>(2 * most));
      spectrum_[1] = spectrum_[0] + most;
    }
    // Planes a whole number of pages apart would hinder one another: loads wait for stores 4 KB away.
    plane_ = round_up((longest + 2) * kL, 1024) + 5 * kL;
    work_ = parallel_.scratch_array<T>(static_cast<size_t>(4 * plane_ * threads));
  }

  [[nodiscard]] int64_t length(int j) const { return job_.shape[axis_[j]]; }
  // Sequences, or pairs of them, that an item has in pass j.
  [[nodiscard]] int64_t per_item(int j) const {
    return half_ && j == 0 ? (others_[0].size + 1) / 2 : others_[j].size;
  }
  [[nodiscard]] int64_t grain(int j) const {
    return std::max<int64_t>(1, kGrain / (kL * length(j)));
  }
  [[nodiscard]] FftWork<T> work(int worker) const {
    T* m = work_ + 4 * plane_ * worker;
    return {{m, m + plane_}, {m + 2 * plane_, m + 3 * plane_}};
  }

  // Sequences first.. of `count`; `shift` further ones of the same item where they exist.
  Tile<T> bases(int j, Operand of, int64_t item, int64_t first, int64_t count,
                int64_t shift) const {
    Tile<T> t;
    const int64_t each = per_item(j);
    int64_t i = first / each, l = first % each;
    for (int64_t s = 0; s < count; ++s, ++l) {
      if (l == each) ++i, l = 0;
      if (l + shift >= others_[j].size)
        t.push(kNone);
      else
        t.push((of == spectrum ? i * item_ : items_.offset(of, item + i)) +
               others_[j].offset(of, l + shift));
    }
    return t;
  }

  void tile(int j, int64_t item, int64_t first, int64_t count, const FftWork<T>& w) const {
    const int64_t n = length(j);
    const bool pairs = half_ && j == 0, last = j == count_ - 1;
    const auto element = [&](Operand of) { return element_[j][of]; };
    if (j > 0) {
      const Tile<T> from = bases(j, spectrum, item, first, count, 0);
      from.load(spectrum_[0], n, element(spectrum), w.re[0]);
      from.load(spectrum_[1], n, element(spectrum), w.im[0]);
    } else {
      const Operand second = pairs ? in_re : in_im;
      bases(j, in_re, item, first, count, 0).load(in_[0], n, element(in_re), w.re[0]);
      bases(j, second, item, first, count, pairs ? per_item(j) : 0)
          .load(in_[second], n, element(second), w.im[0]);
    }
    const int side = fft_lines(plan_[j], w);
    const T* result[2] = {w.re[side], w.im[side]};
    T* free[2] = {w.re[side ^ 1], w.im[side ^ 1]};
    if (last) {
      write(j, item, first, count, result, free);
    } else if (!pairs) {
      const Tile<T> to = bases(j, spectrum, item, first, count, 0);
      for (const int part : {0, 1}) to.store(result[part], n, element(spectrum), spectrum_[part]);
    } else {
      const Tile<T> a = bases(j, spectrum, item, first, count, 0);
      const Tile<T> b = bases(j, spectrum, item, first, count, per_item(j));
      if (a.adjacent() && b.adjacent())
        return fft_unpack(n, result[0], result[1], spectrum_[0] + a.base[0],
                          spectrum_[1] + a.base[0], element(spectrum), b.base[0] - a.base[0]);
      fft_unpack(n, result[0], result[1], free[0], free[1], kL, kept_ * kL);
      for (const int part : {0, 1}) {
        a.store(free[part], kept_, element(spectrum), spectrum_[part]);
        b.store(free[part] + kept_ * kL, kept_, element(spectrum), spectrum_[part]);
      }
    }
  }

  // The last pass: sequences to the outputs, and those that a half stands for.
  void write(int j, int64_t item, int64_t first, int64_t count, const T* const* result,
             T* const* free) const {
    const int64_t n = length(j);
    for (const int part : {0, 1}) {
      T* y = out_[part];
      if (!y) continue;
      const Operand of = part ? out_b : out_a;
      const int64_t stride = element_[j][of];
      const T factor = half_ ? factor_[part] / 2 : factor_[part];  // unpacked is twice
      const Tile<T> to = bases(j, of, item, first, count, 0);
      if (!half_ && stride != 1 && to.adjacent()) {
        for (int64_t i = 0; i < n; ++i)
          put(result[part] + i * kL, kL, factor, y + to.base[0] + i * stride, 1, job_.accumulate,
              false);
        continue;
      }
      fft_transpose(n, count, result[part], kL, free[part], row_);
      for (int64_t e = 0; e < count; ++e) {
        const T* line = free[part] + e * row_;
        put(line, n, factor, y + to.base[e], stride, job_.accumulate, false);
        if (!half_) continue;
        const int64_t i = (first + e) / per_item(j), l = (first + e) % per_item(j);
        const int64_t k = l / (others_[j].size / kept_);
        if (k > 0 && 2 * k < length(0))
          put(line, n, part ? -factor : factor,
              y + items_.offset(of, item + i) + others_[j].mirrored(of, l, length(0)), stride,
              job_.accumulate, true);
      }
    }
  }

  Fft<T> job_;
  Parallel& parallel_;
  T factor_[2];
  const T* in_[2];
  T* out_[2];
  int count_ = 0;  // axes of the transform
  int axis_[kMostAxes] = {};
  bool half_ = false;
  int64_t kept_ = 0, row_ = 0, item_ = 0, block_ = 1, plane_ = 0;
  Walk items_, others_[kMostAxes];
  std::array<int64_t, kOperands> element_[kMostAxes];
  FftPlan<T> plan_[kMostAxes];
  T *spectrum_[2] = {}, *work_ = nullptr;
};

}  // namespace

template <class T>
void fft(const Fft<T>& job, Parallel& parallel) {
  for (int d = 0; d < job.rank; ++d)
    if (job.shape[d] == 0) return;
  Transform<T>(job, parallel).run();
}

template void fft(const Fft<float>&, Parallel&);
template void fft(const Fft<double>&, Parallel&);

}  // namespace attn::kernels
