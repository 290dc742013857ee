// SPDX-License-Identifier: Apache-2.0
//
// Scores to weights along axes. Attributes 0..6 as core/kinds/probability.hpp, then empty_rows: what a row gives
// whose mask keeps nothing: 0 as if it had no mask, 1 zeros. Masked entries get weight 0; they still
// count in N of threshmax and in the entropy of adaptive.
#include "core/kernels/probability_rows.hpp"
#include "core/ops/check.hpp"
#include "core/ops/keep.hpp"
#include "core/ops/ops.hpp"
#include "core/ops/rows.hpp"

namespace attn::ops {
namespace {

constexpr int kScores = 0, kSlope = 1, kKeep = 2;  // inputs

uint32_t axes(const OpCall& c) { return check_axes(c.integers(1), c.in(kScores)->rank, false); }

// The mask with the rank of the scores: (K) and (B, K) and (B, Q, K) get ones in between (scores of
// rank 4); for other ranks ones in front. Refused when it does not broadcast.
attn_view ranked_keep(const OpCall& c) {
  const attn_view &z = *c.in(kScores), &keep = *c.in(kKeep);
  attn_view v = keep;
  v.rank = z.rank;
  // Which axis of the scores each axis of the mask stands for.
  int place[ATTN_MAX_RANK];
  const bool fits_rank = keep.rank >= 1 && keep.rank <= z.rank;
  for (int i = 0; i < keep.rank && fits_rank; ++i) place[i] = i + z.rank - keep.rank;
  if (z.rank == 4 && fits_rank && keep.rank < 4 && keep.rank > 1) place[0] = 0;
  for (int a = 0; a < z.rank; ++a) v.shape[a] = 1, v.stride[a] = 0;
  bool fits = fits_rank;
  for (int i = 0; i < keep.rank && fits; ++i) {
    v.shape[place[i]] = keep.shape[i];
    v.stride[place[i]] = keep.stride[i];
    fits = keep.shape[i] == 1 || keep.shape[i] == z.shape[place[i]];
  }
  if (!fits)
    fail("mask {} does not broadcast to the scores {}{}", shape_text(keep), shape_text(z),
         z.rank == 4 ? "; expected (K), (B, K), (B, Q, K) or (B, H, Q, K)" : "");
  return v;
}

struct probability {
  static constexpr const char* name = "probability";
  static constexpr const char* doc = "scores to weights that sum to 1 along axes";
  static constexpr uint32_t version = 1, inputs = 3, outputs = 1, required = 1,
                            constants = 1u << kKeep;
  static constexpr auto attributes = probability_attributes(int_attribute("fully_masked_rows", 0));

  static void shape(OpCall c) {
    check_number(c, kScores, "scores");
    const attn_view& z = *c.in(kScores);
    const ProbabilityOptions options = probability_options(c);
    check_probability(options);
    const uint32_t mask = axes(c);
    if (options.kind != ProbabilityKind::softmax && (mask & (mask - 1)) != 0)
      fail("{} axes are given; only softmax takes several", c.integers(1).size());
    if (options.kind == ProbabilityKind::threshmax) {
      if (!c.in(kSlope)) fail("slope is missing; threshmax needs it");
      check_number(c, kSlope, "slope");
      if (size_of(*c.in(kSlope)) != 1)
        fail("slope has shape {}; expected one element", shape_text(*c.in(kSlope)));
    }
    if (c.integer(7) != 0 && c.integer(7) != 1)
      fail("empty_rows is {}; expected 0 (as without a mask) or 1 (zeros)", c.integer(7));
    if (c.in(kKeep)) check_useful(c, ranked_keep(c), mask);
    c.out_like(0, z);
  }
  template <class T>
  static void forward(OpCall c) {
    const attn_view &z = *c.in(kScores), &w = *c.out(0);
    const kernels::ProbabilityRows<T> row(probability_options(c, c.in(kSlope)));
    const Masked<T> in(c);
    const Rows<3> rows({&z, &w, in.keep()}, axes(c));
    if (rows.length() == 0) return;
    const Buffers<T> buffers(parallel(c), rows.length(), 2);
    const Buffers<uint8_t> flags(parallel(c), rows.length());
    const RowAxes& to = rows.inner(1);
    rows.run(parallel(c), [&](auto o, int64_t count, auto s, int64_t, int worker) {
      if (row.vectors() && !in.masked() && to.side_by_side() && rows.inner(0).side_by_side())
        return row.forward(count, rows.length(), data<T>(z) + o[0], s[0], data<T>(w) + o[1], s[1]);
      for (int64_t i = 0; i < count; ++i) {
        T* target = data<T>(w) + o[1] + i * s[1];
        T* out = to.target(target, buffers.get(worker, 1));
        const T* scores = in.read(rows, 0, 2, o[0] + i * s[0], o[2] + i * s[2], buffers.get(worker),
                                  flags.get(worker));
        if (scores)
          row.forward(1, rows.length(), scores, 0, out, 0);
        else
          std::fill_n(out, rows.length(), T(0));
        to.write(target, out);
      }
    });
  }
  template <class T>
  static void vjp(OpCall c) {
    if (!c.dout(0) || (!c.din(kScores) && !c.din(kSlope))) return;
    const attn_view &z = *c.in(kScores), &dw = *c.dout(0);
    const kernels::ProbabilityRows<T> row(probability_options(c, c.in(kSlope)));
    const Masked<T> in(c);
    const Rows<4> rows({&z, &dw, in.keep(), c.din(kScores)}, axes(c));
    const int64_t n = rows.length();
    if (n == 0) return;
    const Buffers<T> buffers(parallel(c), n, 6);
    const Buffers<uint8_t> flags(parallel(c), n);
    const double* slope = chunked_sums(
        parallel(c), rows.count(), n, 1, [&](int64_t begin, int64_t end, double* sum, int worker) {
          rows.each_of(begin, end, [&](auto o, int64_t) {
            const T* scores =
                in.read(rows, 0, 2, o[0], o[2], buffers.get(worker), flags.get(worker));
            if (!scores) return;
            const T* g = rows.inner(1).read(data<T>(dw) + o[1], buffers.get(worker, 1));
            T* dz = buffers.get(worker, 2);
            *sum += row.backward(n, scores, g, dz, buffers.get(worker, 3));
            if (c.din(kScores)) rows.inner(3).add(data<T>(*c.din(kScores)) + o[3], dz);
          });
        });
    if (c.din(kSlope)) add_to<T>(*c.din(kSlope), slope);
  }
  static attn_cost cost(OpCall c) {
    const auto n = static_cast<double>(size_of(*c.in(kScores)));
    return {sizeof(attn_cost), 0, 8 * n, 2 * n * c.element_size()};
  }

 private:
  // A mask that is the same all along a row cannot mask anything: the caller means something else.
  static void check_useful(const OpCall& c, const attn_view& keep, uint32_t mask) {
    const attn_view& z = *c.in(kScores);
    bool longer = false;
    for (int a = 0; a < z.rank; ++a) {
      if (!(mask >> a & 1u)) continue;
      if (keep.shape[a] != 1) return;
      longer = longer || z.shape[a] > 1;
    }
    if (longer)
      fail(
          "mask {} has extent 1 along the normalised axis of the scores {}: it cannot mask "
          "anything; expected the extent of that axis",
          shape_text(*c.in(kKeep)), shape_text(z));
  }

  // Scores of a row with -infinity where the mask does not keep.
  template <class T>
  class Masked {
   public:
    explicit Masked(const OpCall& c) : z_(c.in(kScores)), zero_(c.integer(7) == 1) {
      if (c.in(kKeep)) {
        if (signs_of(*c.in(kKeep)).additive())
          fail("mask of shape {} {}", shape_text(*c.in(kKeep)), kAdditiveMask);
        keep_ = broadcast_to(ranked_keep(c), *z_);
        masked_ = true;
      }
    }
    [[nodiscard]] bool masked() const { return masked_; }
    [[nodiscard]] const attn_view* keep() const { return masked_ ? &keep_ : nullptr; }
    // nullptr: the row gives zeros.
    template <class R>
    const T* read(const R& rows, int scores, int keep, int64_t z, int64_t k, T* buffer,
                  uint8_t* flags) const {
      const T* row = rows.inner(scores).read(data<T>(*z_) + z, buffer);
      if (!masked_) return row;
      uint8_t* to = flags;
      rows.inner(keep).lines([&](int64_t offset, int64_t step, int64_t n) {
        read_mask(keep_, k + offset, step, n, to);
        to += n;
      });
      const int64_t n = rows.length();
      int64_t kept = 0;
      for (int64_t i = 0; i < n; ++i) kept += flags[i];
      if (kept == 0 && zero_) return nullptr;
      if (kept == 0 || kept == n) return row;
      constexpr T kNone = -std::numeric_limits<T>::infinity();
      bool none = true;  // all that is kept is -infinity: as if it were 0
      for (int64_t i = 0; i < n; ++i) {
        none = none && !(flags[i] && row[i] != kNone);
        buffer[i] = flags[i] ? row[i] : kNone;
      }
      for (int64_t i = 0; i < n && none; ++i)
        if (flags[i]) buffer[i] = 0;
      return buffer;
    }

   private:
    const attn_view* z_;
    attn_view keep_{};
    bool masked_ = false, zero_;
  };
};

}  // namespace

const attn_op& op_probability() { return operator_table<probability>; }

}  // namespace attn::ops
