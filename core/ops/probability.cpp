// SPDX-License-Identifier: Apache-2.0
//
// Scores to weights along any axes, for layers that need the weights themselves; attention() does it fused
// along the keys. A slice whose mask keeps nothing ignores its mask (rescue), or gives zeros.
#include "core/kernels/reference/probability.hpp"

#include <limits>

#include "core/ops/check.hpp"
#include "core/ops/keep.hpp"
#include "core/ops/ops.hpp"
#include "core/ops/rows.hpp"
#include "core/schema/kinds.hpp"

namespace attn::ops {
namespace {

enum Attribute {
  kKind,
  kAxes,
  kEpsilon,
  kMinTemp,
  kMaxTemp,
  kThreshold,
  kCoefficients,
  kEmptyRows
};
enum Port { kScores, kSlope, kKeep };

constexpr double kDefaultCoefficients[] = {-1.791, 4.917, -2.3, 0.481, -0.037};
constexpr int64_t kLastAxis[] = {-1};

constexpr attn_param list_attribute(attn_param p, attn_value def) {
  p.def = def;
  return p;
}

template <class T>
kernels::AttentionArgs<T> constants(const OpCall& c) {
  kernels::AttentionArgs<T> a;
  a.kind = static_cast<kernels::Probability>(c.integer(kKind));
  if (const attn_view* s = c.in(kSlope)) a.slope = *data<const T>(*s);
  a.epsilon = a.eps = static_cast<T>(c.real(kEpsilon));
  a.min_temp = static_cast<T>(c.real(kMinTemp));
  a.max_temp = static_cast<T>(c.real(kMaxTemp));
  a.threshold = static_cast<T>(c.real(kThreshold));
  const auto coefficients = c.reals(kCoefficients);
  a.polynomial_size = static_cast<int>(coefficients.size());
  for (size_t i = 0; i < coefficients.size(); ++i)
    a.polynomial[i] = static_cast<T>(coefficients[i]);
  return a;
}

// A mask as broadcast over the scores: of rank 4 scores (K), (B, K), (B, Q, K) or (B, H, Q, K), else by
// trailing axes.
attn_view aligned_mask(const attn_view& mask, const attn_view& scores) {
  static constexpr int kAxesOfRank[5][4] = {{}, {3}, {0, 3}, {0, 2, 3}, {0, 1, 2, 3}};
  if (scores.rank != 4) return broadcast_to(mask, scores);
  attn_view out = scores;
  out.data = mask.data;
  out.dtype = mask.dtype;
  for (int i = 0; i < 4; ++i) out.stride[i] = 0;
  for (int i = 0; i < mask.rank; ++i)
    out.stride[kAxesOfRank[mask.rank][i]] = mask.shape[i] == 1 ? 0 : mask.stride[i];
  return out;
}

void check_mask(const attn_view& mask, const attn_view& scores, uint32_t normalised) {
  if (mask.rank < 1 || mask.rank > scores.rank)
    fail("mask of shape %s has rank %d; expected 1 to %d, broadcasting to %s",
         shape_text(mask).c_str(), mask.rank, scores.rank, shape_text(scores).c_str());
  static constexpr int kAxesOfRank[5][4] = {{}, {3}, {0, 3}, {0, 2, 3}, {0, 1, 2, 3}};
  uint32_t present = 0;
  for (int i = 0; i < mask.rank; ++i) {
    const int axis = scores.rank == 4 ? kAxesOfRank[mask.rank][i] : scores.rank - mask.rank + i;
    if (mask.shape[i] != 1 && mask.shape[i] != scores.shape[axis])
      fail("mask of shape %s does not broadcast to (batch, head, query, key) = %s",
           shape_text(mask).c_str(), shape_text(scores).c_str());
    if (mask.shape[i] != 1) present |= 1u << axis;
  }
  int64_t length = 1;
  for (int axis = 0; axis < scores.rank; ++axis)
    if (normalised >> axis & 1u) length *= scores.shape[axis];
  if (length > 1 && !(present & normalised))
    fail("mask of shape %s is constant along the normalised axis of %s: it cannot mask anything",
         shape_text(mask).c_str(), shape_text(scores).c_str());
}

// One slice of scores, read, masked and turned into weights.
template <class T>
class Slice {
 public:
  Slice(const OpCall& c, const RowAxes& scores, const RowAxes& mask)
      : a_(constants<T>(c)),
        scores_(scores),
        mask_axes_(mask),
        mask_(c.in(kKeep)),
        zero_(c.integer(kEmptyRows) != 0) {}

  // Weights into w; false: all zeros. row: position of the scores, mask_offset of the mask.
  bool weights(const T* row, int64_t mask_offset, T* z, T* w) {
    const int64_t n = scores_.length();
    int64_t i = 0;
    scores_.each([&](int64_t o) { z[i++] = row[o]; });
    if (mask_) {
      bool any = false;
      mask_axes_.each([&](int64_t o) { any = any || kept(mask_offset + o); });
      if (!any && zero_) {
        std::fill(w, w + n, T(0));
        return false;
      }
      i = 0;
      mask_axes_.each([&](int64_t o) {
        if (any && !kept(mask_offset + o)) z[i] = -std::numeric_limits<T>::infinity();
        ++i;
      });
    }
    state_ = kernels::reference::probability(a_, n, z, w);
    return true;
  }
  // dz from the gradient of the weights; returns that of the slope.
  T gradient(const T* z, const T* w, const T* dw, T* dz, T* scratch) const {
    return kernels::reference::probability_backward(a_, state_, scores_.length(), z, w, dw, dz,
                                                    scratch);
  }

 private:
  [[nodiscard]] bool kept(int64_t offset) const {
    uint8_t k = 0;
    read_keep(*mask_, offset, 1, 1, &k);
    return k != 0;
  }

  kernels::AttentionArgs<T> a_;
  const RowAxes &scores_, &mask_axes_;
  const attn_view* mask_;
  bool zero_;
  kernels::reference::ProbabilityRow<T> state_{};
};

struct probability {
  static constexpr const char* name = "probability";
  static constexpr const char* doc =
      "scores to weights along given axes: softmax and its relatives";
  static constexpr uint32_t version = 1, inputs = 3, outputs = 1, required = 0b001;
  static constexpr uint32_t constants = 1u << kKeep;
  static constexpr attn_param attributes[] = {
      int_attribute("kind", 0),
      list_attribute(ints_attribute("axes"), sdk::detail::ints_value(kLastAxis, 1)),
      real_attribute("epsilon", 1e-7),
      real_attribute("min_temp", 0.1),
      real_attribute("max_temp", 1.0),
      real_attribute("entropy_threshold", 0.5),
      list_attribute(
          reals_attribute("coefficients"),
          sdk::detail::reals_value(kDefaultCoefficients, std::size(kDefaultCoefficients))),
      int_attribute("empty_rows", 0)};

  static void shape(OpCall c) {
    const attn_view& x = *c.in(kScores);
    check_number(c, kScores, "scores");
    if (x.rank < 1) fail("scores are a single number; expected at least one axis");
    const int64_t kind = c.integer(kKind);
    if (kind < 0 || kind > 3)
      fail("probability kind %lld is unknown", static_cast<long long>(kind));
    const uint32_t mask = axes(c, x);
    if (kind != 0 && (mask & (mask - 1))) fail("several axes; only softmax takes more than one");
    if (const attn_view* m = c.in(kKeep)) check_mask(*m, x, mask);
    if (const attn_view* s = c.in(kSlope)) {
      check_number(c, kSlope, "slope");
      if (size_of(*s) != 1) fail("slope has shape %s; expected one number", shape_text(*s).c_str());
    }
    if (kind == static_cast<int64_t>(ProbabilityKind::threshmax) && !c.in(kSlope))
      fail("threshmax needs its slope");
    if (c.reals(kCoefficients).size() > static_cast<size_t>(kernels::kMaxPolynomial))
      fail("at most %d polynomial coefficients", kernels::kMaxPolynomial);
    c.out_like(0, x);
  }

  template <class T>
  static void forward(OpCall c) {
    const attn_view& x = *c.in(kScores);
    const attn_view mask = c.in(kKeep) ? aligned_mask(*c.in(kKeep), x) : x;
    const Rows<3> rows({c.out(0), &x, &mask}, axes(c, x));
    if (rows.length() == 0) return;
    const Buffers<T> buffers(parallel(c), rows.length(), 2);
    rows.each(parallel(c), [&](auto o, int64_t, int worker) {
      T *z = buffers.get(worker, 0), *w = buffers.get(worker, 1);
      Slice<T> slice(c, rows.inner(1), rows.inner(2));
      slice.weights(data<const T>(x) + o[1], o[2], z, w);
      T* y = data<T>(*c.out(0)) + o[0];
      int64_t i = 0;
      rows.inner(0).each([&](int64_t at) { y[at] = w[i++]; });
    });
  }

  template <class T>
  static void vjp(OpCall c) {
    const attn_view& x = *c.in(kScores);
    const attn_view mask = c.in(kKeep) ? aligned_mask(*c.in(kKeep), x) : x;
    const attn_view* dx = c.din(kScores);
    const Rows<4> rows({c.dout(0), &x, &mask, dx ? dx : &x}, axes(c, x));
    if (rows.length() == 0 || rows.count() == 0) return;
    const Buffers<T> buffers(parallel(c), rows.length(), 5);
    const double* dslope = chunked_sums(
        parallel(c), rows.count(), rows.length(), 1,
        [&](int64_t begin, int64_t end, double* sum, int worker) {
          T *z = buffers.get(worker, 0), *w = buffers.get(worker, 1), *g = buffers.get(worker, 2),
            *dz = buffers.get(worker, 3), *scratch = buffers.get(worker, 4);
          rows.each_of(begin, end, [&](auto o, int64_t) {
            Slice<T> slice(c, rows.inner(1), rows.inner(2));
            if (!slice.weights(data<const T>(x) + o[1], o[2], z, w)) return;
            int64_t i = 0;
            rows.inner(0).each([&](int64_t at) { g[i++] = data<const T>(*c.dout(0))[o[0] + at]; });
            *sum += static_cast<double>(slice.gradient(z, w, g, dz, scratch));
            if (dx) rows.inner(3).add(data<T>(*dx) + o[3], dz);
          });
        });
    if (c.din(kSlope)) *data<T>(*c.din(kSlope)) += static_cast<T>(*dslope);
  }

  static attn_cost cost(OpCall c) {
    const auto n = static_cast<double>(size_of(*c.in(kScores)));
    return {sizeof(attn_cost), 0, 4 * n, 2 * n * (c.dtype() == ATTN_F64 ? 8 : 4)};
  }

 private:
  static uint32_t axes(const OpCall& c, const attn_view& x) {
    return check_axes(c.integers(kAxes), x.rank, false);
  }
};

}  // namespace

const attn_op& op_probability() { return operator_table<probability>; }

}  // namespace attn::ops
