// SPDX-License-Identifier: Apache-2.0
//
// The scores of one query over all heads: which functions work on them. float32 takes the vectors of the CPU that
// runs, float64 and the level `reference` single numbers.
#pragma once

#include <attn/sdk/plugin.hpp>

#include <cmath>
#include <cstdint>
#include <string_view>

#include "agreement.hpp"
#include "kernels/rows.hpp"

namespace capsule {

namespace plain {
#include "rows.inl.hpp"
}  // namespace plain

// Lanes of one number.
template <class Number>
struct Single {
  using T = Number;
  using V = Number;
  static constexpr int64_t kWidth = 1;
  static T load(const T* p) { return *p; }
  static void store(T* p, T v) { *p = v; }
  static T set(double x) { return static_cast<T>(x); }
  static T max(T a, T b) { return a > b ? a : b; }
  static T exp(T x) { return std::exp(x); }
};

// nullptr: single numbers.
inline const RowKernels* kernels_of(const attn_engine& engine) {
  const std::string_view level = engine.cpu_level();
  if (level == "avx512") return &avx512::row_kernels();
  if (level == "avx2") return &avx2::row_kernels();
  return level == "sse2" ? &sse2::row_kernels() : nullptr;
}

template <class T>
struct HeadRowsOf {
  int64_t heads, n, stride;
  T* rows;
};

// The functions of kernels/rows.hpp for T.
template <class T>
class RowMath {
 public:
  explicit RowMath(const attn_engine& engine)
      : kernels_(sizeof(T) == sizeof(float) ? kernels_of(engine) : nullptr) {}

  void gram(const HeadRowsOf<T>& r, double* g) const {
    if constexpr (sizeof(T) == sizeof(float)) {
      if (kernels_) {
        kernels_->gram(cast(r), g);
        // Squares of scores beyond 1e19 leave the range of float.
        double squares = 0;
        for (int64_t h = 0; h < r.heads; ++h) squares += g[h * r.heads + h];
        if (std::isfinite(squares)) return;
      }
    }
    for (int64_t h = 0; h < r.heads; ++h)
      for (int64_t k = 0; k <= h; ++k) {
        double sum = 0;
        for (int64_t j = 0; j < r.n; ++j)
          sum += static_cast<double>(r.rows[h * r.stride + j]) *
                 static_cast<double>(r.rows[k * r.stride + j]);
        g[h * r.heads + k] = g[k * r.heads + h] = sum;
      }
  }
  void combine(const HeadRowsOf<T>& r, const T* gamma, T* cap) const {
    if constexpr (sizeof(T) == sizeof(float))
      if (kernels_) return kernels_->combine(cast(r), gamma, cap);
    Plain::combine(r.heads, 0, r.n, r.rows, r.stride, gamma, cap);
  }
  void share(const HeadRowsOf<T>& r, const T* cap, const T* sums, const T* bias, bool add) const {
    if constexpr (sizeof(T) == sizeof(float))
      if (kernels_) return kernels_->share(cast(r), cap, sums, bias, add);
    Plain::share(r.heads, 0, r.n, r.rows, r.stride, cap, sums, bias, add);
  }
  void share_back(const HeadRowsOf<T>& r, const T* cap, const T* sums, const T* bias, bool add,
                  const T* dout, int64_t dout_stride, T* dcap, double* totals, T* scratch) const {
    if constexpr (sizeof(T) == sizeof(float))
      if (kernels_)
        return kernels_->share_back(cast(r), cap, sums, bias, add, dout, dout_stride, dcap, totals,
                                    scratch);
    Plain::share_back(r.heads, 0, r.n, cap, sums, bias, add, dout, dout_stride, dcap, totals,
                      scratch);
  }
  void dots(const HeadRowsOf<T>& r, const T* x, double* out) const {
    if constexpr (sizeof(T) == sizeof(float))
      if (kernels_) return kernels_->dots(cast(r), x, out);
    for (int64_t h = 0; h < r.heads; ++h) {
      out[h] = 0;
      Plain::products(1, 0, r.n, x, r.rows + h * r.stride, r.stride, out + h);
    }
  }
  void mix(const HeadRowsOf<T>& r, const T* gamma, const T* dcap, const T* mix, T* scratch) const {
    if constexpr (sizeof(T) == sizeof(float))
      if (kernels_) return kernels_->mix(cast(r), gamma, dcap, mix, scratch);
    Plain::mix(r.heads, 0, r.n, r.rows, r.stride, gamma, dcap, mix, scratch);
  }

 private:
  using Plain = plain::Rows<Single<T>>;
  static HeadRows cast(const HeadRowsOf<float>& r) { return {r.heads, r.n, r.stride, r.rows}; }
  static HeadRows cast(const HeadRowsOf<double>&) { return {}; }
  const RowKernels* kernels_;
};

// share() and share_back() for the probabilities other than softmax: column by column.
template <class T>
class ColumnShare {
 public:
  ColumnShare(const Rule& rule, int64_t heads, double* memory)
      : rule_(rule),
        n_(heads),
        z_(memory),
        w_(z_ + n_),
        dw_(w_ + n_),
        dz_(dw_ + n_),
        rest_(dz_ + n_) {}
  [[nodiscard]] static size_t room(int64_t heads) { return static_cast<size_t>(5 * heads); }

  void share(const HeadRowsOf<T>& r, const T* cap, const T* sums, const T* bias, bool add) {
    for (int64_t j = 0; j < r.n; ++j) {
      (void)weigh_column(cap[j], sums, bias);
      for (int64_t g = 0; g < n_; ++g)
        r.rows[g * r.stride + j] = static_cast<T>(w_[g]) * cap[j] + (add ? cap[j] : T(0));
    }
  }
  // Returns the gradient of the slope.
  double share_back(const HeadRowsOf<T>& r, const T* cap, const T* sums, const T* bias, bool add,
                    const T* dout, int64_t dout_stride, T* dcap, double* totals) {
    double dslope = 0;
    for (int64_t j = 0; j < r.n; ++j) {
      const RuleRow row = weigh_column(cap[j], sums, bias);
      const auto c = static_cast<double>(cap[j]);
      double total = 0;
      for (int64_t g = 0; g < n_; ++g) {
        const auto d = static_cast<double>(dout[g * dout_stride + j]);
        total += d * (w_[g] + (add ? 1 : 0));
        dw_[g] = d * c;
        dz_[g] = 0;
      }
      dslope += weigh_back(rule_, row, n_, z_, w_, dw_, dz_, rest_);
      for (int64_t g = 0; g < n_; ++g) {
        total += dz_[g] * static_cast<double>(sums[g]);
        totals[g] += dz_[g] * c;
        totals[n_ + g] += dz_[g];
      }
      dcap[j] = static_cast<T>(total);
    }
    return dslope;
  }

 private:
  RuleRow weigh_column(T cap, const T* sums, const T* bias) {
    for (int64_t g = 0; g < n_; ++g) z_[g] = static_cast<double>(cap * sums[g] + bias[g]);
    return weigh(rule_, n_, z_, w_);
  }
  const Rule& rule_;
  int64_t n_;
  double *z_, *w_, *dw_, *dz_, *rest_;
};

}  // namespace capsule
