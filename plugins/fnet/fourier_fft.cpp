// SPDX-License-Identifier: Apache-2.0
//
// The transform in two dimensions. First over S: columns of x lie side by side as they are, and two real columns
// make one complex sequence. What is kept of it, rows k = 0..S/2, is transformed over D, with 16 rows turned into
// columns; the other rows of y are these read backwards, since x is real: Z[S-k, l] = conj Z[k, D-l].
#include <algorithm>
#include <cmath>

#include "fourier.hpp"
#include "plan.hpp"

namespace attn::fnet {

using namespace attn::sdk;

namespace {

constexpr int64_t kMostSpectrum = int64_t{1} << 20;  // numbers of spectra that are kept at once
constexpr int64_t kTiles = 4;                        // tiles that are enough for a thread

int64_t round_up(int64_t a, int64_t b) { return (a + b - 1) / b * b; }

template <class T>
class Transform {
 public:
  Transform(const OpCall& c, const Job<T>& job)
      : c_(c),
        job_(job),
        loops_(loops<T>(c.raw().engine->cpu_level())),
        over_s_(make_plan<T>(job.s, c)),
        over_d_(job.d == job.s ? over_s_ : make_plan<T>(job.d, c)),
        half_s_(job.s / 2 + 1),
        half_d_((job.d + 1) / 2),
        row_(round_up(job.d, kL)),
        column_tiles_((half_d_ + kL - 1) / kL),
        row_tiles_((half_s_ + kL - 1) / kL) {
    // As few items at a time as keep all threads busy: their spectra should stay in the cache.
    const int64_t busy = (kTiles * c.concurrency() + column_tiles_ - 1) / column_tiles_;
    item_ = row_tiles_ * kL * row_;
    items_ = std::clamp<int64_t>(std::min(busy, kMostSpectrum / (2 * item_)), 1,
                                 std::max<int64_t>(1, job.batch));
    const int64_t most = std::max(item_, std::min(job.batch * item_, kMostSpectrum / 2));
    fr_ = c.scratch_array<T>(static_cast<size_t>(2 * most));
    fi_ = fr_ + items_ * item_;
    // The last tile of rows is read to its end.
    for (int64_t i = 0; i < 2 * items_; ++i)
      std::fill(fr_ + i * item_ + half_s_ * row_, fr_ + (i + 1) * item_, T(0));
    // Planes a whole number of pages apart would hinder one another: loads wait for stores 4 KB away.
    const int64_t longest = std::max(std::max(work_length(job.s), work_length(job.d)), row_);
    plane_ = round_up(longest * kL, 1024) + 5 * kL;
    work_ = c.scratch_array<T>(static_cast<size_t>(4 * plane_ * std::max(1, c.concurrency())));
  }

  void run() {
    for (int64_t first = 0; first < job_.batch; first += items_) {
      const int64_t items = std::min(items_, job_.batch - first);
      c_.loop(items * column_tiles_, 1, [&](int64_t begin, int64_t end, int worker) {
        for (int64_t i = begin; i < end; ++i)
          columns(first, i / column_tiles_, i % column_tiles_, worker);
      });
      c_.loop(items * row_tiles_, 1, [&](int64_t begin, int64_t end, int worker) {
        for (int64_t i = begin; i < end; ++i) rows(first, i / row_tiles_, i % row_tiles_, worker);
      });
    }
  }

 private:
  static constexpr int64_t kL = kLanes<T>;

  [[nodiscard]] Work<T> work(int worker) const {
    T* m = work_ + 4 * plane_ * worker;
    return {{m, m + plane_}, {m + 2 * plane_, m + 3 * plane_}};
  }

  // Columns tile * kL + 0.. as real parts, and those half_d_ further right as imaginary parts.
  void columns(int64_t first, int64_t item, int64_t tile, int worker) const {
    const Work<T> w = work(worker);
    const int64_t left = tile * kL, right = half_d_ + left;
    const int64_t n_left = std::min(kL, half_d_ - left);
    const int64_t n_right = std::clamp<int64_t>(job_.d - right, 0, kL);
    const T* x = job_.x + (first + item) * job_.x_item;
    for (int64_t s = 0; s < job_.s; ++s) {
      const T f = job_.in(first + item, s);
      load(x + s * job_.x_row + left, n_left, f, w.re[0] + s * kL);
      load(x + s * job_.x_row + right, n_right, f, w.im[0] + s * kL);
    }
    const int side = transform(over_s_, loops_, kL, w);
    loops_.unpack(job_.s, w.re[side], w.im[side], fr_ + item * item_ + left,
                  fi_ + item * item_ + left, row_, n_left, n_right, half_d_);
  }
  static void load(const T* from, int64_t n, T factor, T* to) {
    if (n == kL) {
      __builtin_prefetch(from + kL);  // for the next tile
      for (int64_t e = 0; e < kL; ++e) to[e] = from[e] * factor;
      return;
    }
    for (int64_t e = 0; e < n; ++e) to[e] = from[e] * factor;
    for (int64_t e = n; e < kL; ++e) to[e] = T(0);
  }

  void rows(int64_t first, int64_t item, int64_t tile, int worker) const {
    const Work<T> w = work(worker);
    const int64_t at = item * item_ + tile * kL * row_;
    loops_.to_lanes(job_.d, fr_ + at, row_, w.re[0]);
    loops_.to_lanes(job_.d, fi_ + at, row_, w.im[0]);
    const int side = transform(over_d_, loops_, kL, w);
    T* lines = w.im[side ^ 1];
    loops_.to_rows(job_.d, w.re[side], lines, row_);
    const int64_t end = std::min(half_s_, (tile + 1) * kL);
    for (int64_t k = tile * kL; k < end; ++k) {
      const T* line = lines + (k - tile * kL) * row_;
      put_row(job_, first + item, k, line, false);
      if (k > 0 && 2 * k < job_.s) put_row(job_, first + item, job_.s - k, line, true);
    }
  }

  const OpCall& c_;
  Job<T> job_;
  const Loops<T>& loops_;
  Plan<T> over_s_, over_d_;
  int64_t half_s_, half_d_, row_, column_tiles_, row_tiles_;
  int64_t item_ = 0, items_ = 1, plane_ = 0;
  T *fr_ = nullptr, *fi_ = nullptr, *work_ = nullptr;
};

template <class T>
void run(const OpCall& c, Job<T> job) {
  if (job.batch == 0 || job.s == 0 || job.d == 0) return;
  job.factor *= T(0.5);  // unpack() gives twice the spectrum
  Transform<T>(c, job).run();
}

}  // namespace

template <class T>
void FourierFft::forward(OpCall c) {
  run(c, forward_job<T>(c));
}
template <class T>
void FourierFft::vjp(OpCall c) {
  if (c.din(0) && c.dout(0)) run(c, backward_job<T>(c));
}

attn_cost FourierFft::cost(OpCall c) {
  const attn_view& x = *c.in(0);
  const double n = static_cast<double>(size_of(x));
  const double length = static_cast<double>(x.shape[1]) * static_cast<double>(x.shape[2]);
  return {sizeof(attn_cost), 0, 2.5 * n * std::log2(std::max(2.0, length)),
          2 * n * (c.dtype() == ATTN_F64 ? 8 : 4)};
}

template void FourierFft::forward<float>(OpCall);
template void FourierFft::forward<double>(OpCall);
template void FourierFft::vjp<float>(OpCall);
template void FourierFft::vjp<double>(OpCall);

}  // namespace attn::fnet
