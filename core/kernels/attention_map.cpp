// SPDX-License-Identifier: Apache-2.0
//
// Maps of scores, for those who want to look at them: products into the map, then what the stage asks for, in place.
#include "core/kernels/activation.hpp"
#include "core/kernels/attention_driver.hpp"
#include "core/kernels/gemm.hpp"

namespace attn::kernels::driver {
namespace {

void cap_row(float cap, int64_t n, float* x) {
  ActivationArgs tanh{};
  tanh.kind = ActivationKind::tanh;
  for (int64_t j = 0; j < n; ++j) x[j] /= cap;
  table().activation(tanh, n, x, x);
  for (int64_t j = 0; j < n; ++j) x[j] *= cap;
}

// The score program and the mask rule, by the scalar machine: maps of scores are for looking at.
void program_row(const AttentionArgs<float>& a, const AttentionRow& row, float* x) {
  const program::Steps& steps = a.program->program->score;
  program::Slot<float> slots[program::kMostDerived];
  for (int64_t j = row.begin; j < row.end; ++j) {
    const program::Point at{row.b, row.h, row.p, j};
    if (has_score_program(a)) {
      program::compute(steps, *a.program, at, x[j], slots);
      x[j] = slots[steps.outputs[0]].f;
    }
    if (has_rule(a) && !program::sees<float>(*a.program, at))
      x[j] = -std::numeric_limits<float>::infinity();
  }
}

// Adds the bias of the keys that the row keeps; -infinity at the others.
void bias_row(const AttentionRow& row, int64_t keys, float* x) {
  constexpr float kNever = -std::numeric_limits<float>::infinity();
  std::fill(x, x + row.begin, kNever);
  std::fill(x + row.end, x + keys, kNever);
  for (int64_t j = row.begin; j < row.end; ++j) {
    const bool kept = row.mask == nullptr || row.mask[j] != 0;
    const float bias = row.bias == nullptr ? 0.0f : row.bias[j];
    x[j] = kept && bias != kNever ? x[j] + bias : kNever;
  }
}

}  // namespace

void write_scores(const AttentionArgs<float>& a, Parallel& parallel) {
  const int64_t group = a.heads / a.kv_heads;
  for (int64_t unit = 0; unit < a.batch * a.heads; ++unit) {
    const int64_t b = unit / a.heads, h = unit % a.heads;
    Gemm g;
    g.m = a.queries, g.n = a.keys, g.k = a.head_dim;
    g.a = a.q.at(b, h, 0), g.a_row = a.q.row;
    g.b = a.k.at(b, h / group, 0), g.b_row = 1, g.b_col = a.k.row;
    g.c = a.map.at(b, h, 0), g.c_row = a.map.q;
    g.alpha = a.scale;
    gemm(g, parallel);
  }
  const bool capped = a.map_stage != MapStage::raw && a.softcap != 0;
  const bool biased = a.map_stage == MapStage::biased;
  if (!capped && !biased) return;
  const int64_t rows = group * a.queries;
  parallel.loop(a.batch * a.kv_heads * rows, 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t unit = i / rows, r = i % rows;
      AttentionRow row;
      fill_rows(a, nullptr, unit / a.kv_heads, unit % a.kv_heads, r, r + 1, &row);
      if (capped) cap_row(a.softcap, a.keys, row.map);
      if (biased && a.program != nullptr) program_row(a, row, row.map);
      if (biased) bias_row(row, a.keys, row.map);
    }
  });
}

}  // namespace attn::kernels::driver
