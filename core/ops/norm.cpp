// SPDX-License-Identifier: Apache-2.0
//
// All norms behind one operator; see norm_args.hpp for where each kind is. Attributes and inputs are laid
// out in core/kinds/kinds.hpp. Weights of several axes have their elements in row-major order.
#include "core/ops/norm_adaptive.hpp"
#include "core/ops/norm_band_logit.hpp"
#include "core/ops/norm_batch.hpp"
#include "core/ops/norm_global.hpp"
#include "core/ops/norm_row.hpp"
#include "core/ops/norm_tanh.hpp"
#include "core/ops/ops.hpp"

namespace attn::ops {
namespace {

using namespace norms;

// Which weights a kind has: elements of slots 0..3. kNone: the kind does not have it, and it must be absent.
struct Slots {
  static constexpr int64_t kNone = -1;
  int64_t size[4] = {kNone, kNone, kNone, kNone};
  uint32_t required = 0;
};

Slots slots_of(const OpCall& c) {
  const attn_view& x = *c.in(kX);
  int64_t n = 1, along_last = 1;
  for (int a = 0; a < x.rank; ++a)
    if (axes(c) >> a & 1u) n *= x.shape[a];
  const bool last = axes(c) >> (x.rank - 1) & 1u;
  if (!last) along_last = x.shape[x.rank - 1];
  switch (kind(c)) {
    case NormKind::layer:
      return {{n, n, -1, -1}, 0};
    case NormKind::rms:
    case NormKind::zero_centered_rms:
      return {{n, -1, -1, -1}, 0};
    case NormKind::band_rms:
    case NormKind::zero_centered_band_rms:
      return {{1, -1, -1, -1}, 1};
    case NormKind::adaptive_band_rms:
    case NormKind::zero_centered_adaptive_band_rms:
      return {{adaptive_width(c), adaptive_width(c), -1, -1}, 3};
    case NormKind::band_logit:
      return {{along_last, along_last, -1, -1}, 3};
    case NormKind::global_response:
      return {{n, n, -1, -1}, 1};
    case NormKind::dynamic_tanh:
      return {{n, n, 1, -1}, 7};
    case NormKind::energy_layer:
      return {{1, n, -1, -1}, 3};
    case NormKind::batch:
      return {{n, n, n, n}, c.training() ? 0u : 12u};
    case NormKind::bias_free_batch:
      return {{n, -1, -1, n}, c.training() ? 0u : 8u};
    default:
      return {};
  }
}

struct norm {
  static constexpr const char* name = "norm";
  static constexpr const char* doc = "a normalisation chosen by number; see NormKind";
  static constexpr uint32_t version = 1, inputs = 5, outputs = 3, required = 1,
                            constants = 1u << kStat1;
  static constexpr attn_param attributes[] = {int_attribute("kind", 0), ints_attribute("axes"),
                                              real_attribute("epsilon", 1e-6),
                                              real_attribute("constant", 0.0)};

  static void shape(OpCall c) {
    check_number(c, kX, "x");
    const attn_view& x = *c.in(kX);
    if (c.integer(0) < 1 || c.integer(0) > static_cast<int64_t>(NormKind::bias_free_batch))
      fail("norm number {} is not known", c.integer(0));
    if (x.rank < 1) fail("x is a scalar; expected at least one axis");
    check_kind(c, x);
    static constexpr const char* kNames[] = {"weight 0", "weight 1", "weight 2", "weight 3"};
    const Slots slots = slots_of(c);
    for (int i = 0; i < 4; ++i) {
      const attn_view* w = c.in(i + 1);
      if (!w && slots.required >> i & 1u) fail("{} is missing; this norm needs it", kNames[i]);
      if (!w) continue;
      if (slots.size[i] == Slots::kNone) fail("{} is given; this norm has none", kNames[i]);
      check_number(c, i + 1, kNames[i]);
      if (size_of(*w) != slots.size[i])
        fail("{} has shape {}; expected {} elements for x {}", kNames[i], shape_text(*w),
             slots.size[i], shape_text(x));
    }
    c.out_like(0, x);
    for (const int i : {1, 2}) {
      if (c.in(kStat0 - 1 + i))
        c.out_like(i, *c.in(kStat0 - 1 + i));
      else
        c.out_shape(i, x.dtype, {0});
    }
  }
  template <class T>
  static void forward(OpCall c) {
    switch (kind(c)) {
      case NormKind::band_logit:
        band_logit_forward<T>(c);
        break;
      case NormKind::adaptive_band_rms:
      case NormKind::zero_centered_adaptive_band_rms:
        adaptive_forward<T>(c);
        break;
      case NormKind::global_response:
        global_forward<T>(c);
        break;
      case NormKind::dynamic_tanh:
        tanh_forward<T>(c);
        break;
      case NormKind::batch:
      case NormKind::bias_free_batch:
        batch_forward<T>(c);
        break;
      default:
        row_forward<T>(c);
    }
  }
  template <class T>
  static void vjp(OpCall c) {
    if (!c.dout(0)) return;
    switch (kind(c)) {
      case NormKind::band_logit:
        band_logit_vjp<T>(c);
        break;
      case NormKind::adaptive_band_rms:
      case NormKind::zero_centered_adaptive_band_rms:
        adaptive_vjp<T>(c);
        break;
      case NormKind::global_response:
        global_vjp<T>(c);
        break;
      case NormKind::dynamic_tanh:
        tanh_vjp<T>(c);
        break;
      case NormKind::batch:
      case NormKind::bias_free_batch:
        batch_vjp<T>(c);
        break;
      default:
        row_vjp<T>(c);
    }
  }
  static attn_cost cost(OpCall c) {
    const auto n = static_cast<double>(size_of(*c.in(kX)));
    return {sizeof(attn_cost), 0, 6 * n, 2 * n * c.element_size()};
  }

 private:
  static void check_kind(const OpCall& c, const attn_view& x) {
    const uint32_t mask = axes(c);
    const bool several = (mask & (mask - 1)) != 0;
    switch (kind(c)) {
      case NormKind::adaptive_band_rms:
      case NormKind::zero_centered_adaptive_band_rms:
        if (mask & 1u) fail("axis 0 is the batch and cannot be normalised by this norm");
        break;
      case NormKind::band_logit:
      case NormKind::logit:
      case NormKind::max_logit:
      case NormKind::batch:
      case NormKind::bias_free_batch:
        if (several) fail("{} axes are given; this norm takes one", c.integers(1).size());
        break;
      case NormKind::global_response:
        if (x.rank < 2 || x.rank > 4) fail("x has shape {}; expected 2 to 4 axes", shape_text(x));
        [[fallthrough]];
      case NormKind::energy_layer:
        if (mask != 1u << (x.rank - 1)) fail("this norm takes the last axis only");
        break;
      default:
        break;
    }
    const bool has_epsilon = kind(c) != NormKind::dynamic_tanh;
    if (has_epsilon && !(epsilon(c) > 0))
      fail("epsilon is {}; expected a positive number", epsilon(c));
    if (kind(c) == NormKind::logit && !(constant(c) > 0))
      fail("temperature is {}; expected a positive number", constant(c));
  }
};

}  // namespace

const attn_op& op_norm() { return operator_table<norm>; }

}  // namespace attn::ops
