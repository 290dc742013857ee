// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstring>
#include <limits>

#include "core/kernels/attention_driver.hpp"

namespace attn::kernels::driver {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

// What masks leave of the visible keys of one row.
struct Facts {
  int64_t begin = 0, end = 0;
  bool mask = false, bias = false;
};

Facts facts(const AttentionArgs<float>& a, int64_t b, KeyRange visible, const uint8_t* mask,
            const float* bias) {
  Facts f{visible.begin, visible.end, false, bias != nullptr};
  if (f.begin >= f.end) return {};
  int64_t end = f.end;
  if (a.lengths != nullptr) end = std::min(end, a.lengths[b]);
  int64_t begin = f.begin;
  if (mask != nullptr && begin < end) {
    const auto* found =
        static_cast<const uint8_t*>(std::memchr(mask + begin, 1, static_cast<size_t>(end - begin)));
    begin = found == nullptr ? end : found - mask;
    while (end > begin && mask[end - 1] == 0) --end;
  }
  if (begin < end) {
    f.begin = begin;
    f.end = end;
    f.mask = mask != nullptr &&
             std::memchr(mask + begin, 0, static_cast<size_t>(end - begin)) != nullptr;
  } else if (a.fully_masked != FullyMaskedRows::unmask) {
    return {};
  }
  if (bias == nullptr) return f;
  // Keys at the ends that the bias removes are not looked at; when it removes all, there is no bias, or no row.
  const auto removed = [&](int64_t j) { return (f.mask && mask[j] == 0) || bias[j] == kNever; };
  begin = f.begin;
  end = f.end;
  while (begin < end && removed(begin)) ++begin;
  while (end > begin && removed(end - 1)) --end;
  if (begin == end) {
    if (a.fully_masked == FullyMaskedRows::zero_by_bias) return {};
    f.bias = false;
  } else {
    f.begin = begin;
    f.end = end;
  }
  return f;
}

bool has_rest(const AttentionArgs<float>& a) {
  return a.program != nullptr && a.program->rest.output_count > 0;
}

// With the rest of a mask rule: whether it leaves a key that masks keep and, with a bias, one that the bias leaves too;
// and how many keys exist, where the probability counts them.
struct RuledKeys {
  bool kept = false, unbiased = false;
  int64_t count = 0;
};
RuledKeys look_at_rule(const AttentionArgs<float>& a, int64_t b, int64_t h, int64_t p,
                       KeyRange visible, const uint8_t* mask, const float* bias, bool counts) {
  constexpr int64_t kPiece = program::kLine;
  uint8_t seen[kPiece];
  RuledKeys found;
  for (int64_t first = visible.begin; first < visible.end; first += kPiece) {
    const int64_t n = std::min(kPiece, visible.end - first);
    table().program_bytes(*a.program, b, h, p, first, n, seen);
    for (int64_t j = 0; j < n; ++j) {
      if (seen[j] == 0) continue;
      ++found.count;
      if ((mask != nullptr && mask[first + j] == 0) ||
          (a.lengths != nullptr && first + j >= a.lengths[b]))
        continue;
      found.kept = true;
      found.unbiased = found.unbiased || bias == nullptr || bias[first + j] != kNever;
    }
    if (found.unbiased && !counts) return found;
  }
  return found;
}

// The facts of a row whose keys the rest of a mask rule may hide. count: of the keys that exist, where it matters.
Facts facts_of_rule(const AttentionArgs<float>& a, int64_t b, int64_t h, int64_t i,
                    KeyRange visible, const uint8_t* mask, const float* bias, int64_t& count) {
  const bool counts = a.probability.kind != Probability::softmax;
  if (mask == nullptr && a.lengths == nullptr && bias == nullptr && !counts)
    return facts(a, b, visible, mask, bias);
  const int64_t head = a.first_head + h, p = position(a, b, i);
  AttentionArgs<float> own = a;
  RuledKeys keys = look_at_rule(own, b, head, p, visible, mask, bias, counts);
  if (!keys.kept) {
    if (keys.count == 0 || a.fully_masked != FullyMaskedRows::unmask) return {};
    own.lengths = nullptr;
    mask = nullptr;
    keys = look_at_rule(own, b, head, p, visible, mask, bias, counts);
  }
  count = keys.count;
  if (!keys.unbiased) {
    if (a.fully_masked == FullyMaskedRows::zero_by_bias) return {};
    bias = nullptr;
  }
  return facts(own, b, visible, mask, bias);
}

// A copy (extents of broadcast axes are 1) whose keys are contiguous.
template <class T, class C>
void make_contiguous(Scores4<C>& x, const AttentionArgs<float>& a, Parallel& parallel) {
  const int64_t nb = x.b != 0 ? a.batch : 1, nh = x.h != 0 ? a.heads : 1,
                nq = x.q != 0 ? a.queries : 1;
  T* copy = parallel.scratch_array<T>(static_cast<size_t>(nb * nh * nq * a.keys));
  const Scores4<C> from = x;
  parallel.loop(nb * nh * nq, 64, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      const C* src = from.at(r / nq / nh, r / nq % nh, r % nq);
      for (int64_t j = 0; j < a.keys; ++j) copy[r * a.keys + j] = src[j * from.k];
    }
  });
  x.data = copy;
  x.b = nb > 1 ? nh * nq * a.keys : 0;
  x.h = nh > 1 ? nq * a.keys : 0;
  x.q = nq > 1 ? a.keys : 0;
  x.k = 1;
}

}  // namespace

AttentionRule make_rule(const AttentionArgs<float>& a) {
  AttentionRule rule{};
  rule.probability = a.probability;
  rule.bias_scale = score_unit(a);
  rule.unit = rule.bias_scale != 1.0f ? kSoftmaxUnit : kSoftmaxScale * kSoftmaxUnit;
  rule.scale = a.scale * rule.bias_scale;
  rule.cap = a.softcap * rule.bias_scale;
  rule.has_bias = a.bias.data != nullptr;
  rule.has_map = a.map.data != nullptr;
  rule.has_spread = a.spread != nullptr;
  rule.drop = a.dropout > 0;
  // At rate 1 the scale is 0 too, so that the last word makes no difference.
  rule.drop_threshold =
      static_cast<uint32_t>(std::min(std::ceil(a.dropout * 4294967296.0), 4294967295.0));
  rule.drop_scale = a.dropout < 1 ? static_cast<float>(1 / (1 - a.dropout)) : 0.0f;
  rule.seed = a.seed;
  rule.stream = a.stream;
  rule.shard = a.shard;
  rule.program = a.program;
  rule.has_score = has_score_program(a);
  rule.has_rest = has_rest(a);
  rule.empties = rule.has_score || rule.has_rest;
  return rule;
}

AttentionArgs<float> with_contiguous_masks(const AttentionArgs<float>& args, Parallel& parallel) {
  AttentionArgs<float> a = args;
  if (a.mask.data != nullptr && a.mask.k != 1) make_contiguous<uint8_t>(a.mask, args, parallel);
  if (bias_tells_nothing(a)) {
    a.bias.data = nullptr;
  } else if (a.bias.data != nullptr && a.bias.k != 1) {
    make_contiguous<float>(a.bias, args, parallel);
  }
  return a;
}

KeyRange all_visible_keys(const AttentionArgs<float>& a, int64_t b) {
  if (a.queries == 0) return {0, 0};
  // Both ends grow with the query.
  KeyRange range{visible_keys(a, b, 0).begin, visible_keys(a, b, a.queries - 1).end};
  if (has_rule(a)) {
    const int64_t p = position(a, b, 0);
    const program::Keys keys = program::bounded(*a.program,
                                                {{b, b},
                                                 {a.first_head, a.first_head + a.heads - 1},
                                                 {p, p + a.queries - 1},
                                                 {0, std::max<int64_t>(a.keys - 1, 0)}},
                                                {range.begin, range.end});
    range = {keys.begin, keys.end};
  }
  if (a.lengths != nullptr && a.mask.data == nullptr && sees_all(a)) {
    const int64_t length = a.lengths[b];
    if (length > 0 || a.fully_masked != FullyMaskedRows::unmask)
      range.end = std::clamp<int64_t>(length, 0, range.end);
  }
  range.end = std::max(range.begin, range.end);
  return range;
}

void fill_rows(const AttentionArgs<float>& a, const AttentionGrads<float>* grads, int64_t b,
               int64_t g, int64_t begin, int64_t end, AttentionRow* row) {
  const int64_t group = a.heads / a.kv_heads, saved = saved_per_row(a.probability.kind);
  int64_t h = g * group + begin / a.queries, i = begin % a.queries;
  const bool same = a.bias.data == nullptr && a.mask.q == 0 && sees_all(a);
  while (begin < end) {  // the rows of one head after another
    const int64_t count = std::min(a.queries - i, end - begin);
    const int64_t first = (b * a.heads + h) * a.queries + i;
    Facts f;
    KeyRange visible{};
    int64_t count_of_row = 0;
    for (int64_t r = 0; r < count; ++r, ++row, ++i) {
      const uint8_t* mask = a.mask.data == nullptr ? nullptr : a.mask.at(b, h, i);
      const float* bias = a.bias.data == nullptr ? nullptr : a.bias.at(b, h, i);
      if (r == 0 || !same) {
        visible = visible_keys(a, b, h, i);
        count_of_row = visible.end - visible.begin;
        f = has_rest(a) ? facts_of_rule(a, b, h, i, visible, mask, bias, count_of_row)
                        : facts(a, b, visible, mask, bias);
      }
      row->q = a.q.at(b, h, i);
      row->o = a.o.at(b, h, i);
      row->begin = f.begin;
      row->end = f.end;
      row->visible = count_of_row;
      row->mask = f.mask ? mask : nullptr;
      row->bias = f.bias ? bias : nullptr;
      row->sink = a.sinks == nullptr ? kNever : a.sinks[h] * score_unit(a);
      row->index = dropout_index(a, b, h, i);
      row->map = a.map.data == nullptr ? nullptr : a.map.at(b, h, i);
      row->saved = a.saved == nullptr ? nullptr : a.saved + (first + r) * saved;
      row->b = b, row->h = a.first_head + h, row->p = position(a, b, i);
      row->spread = a.spread == nullptr ? nullptr : a.spread + first + r;
      row->dbias = nullptr;
      if (grads != nullptr) {
        row->dout = grads->dout.data == nullptr ? nullptr : grads->dout.at(b, h, i);
        row->dmap = grads->dmap.data == nullptr ? nullptr : grads->dmap.at(b, h, i);
        row->dlse = grads->dlse.data == nullptr ? 0.0f : *grads->dlse.at(b, h, i);
        row->dsink = grads->dsinks == nullptr ? nullptr : grads->dsinks + first + r;
        row->dq = grads->dq.data == nullptr ? nullptr : grads->dq.at(b, h, i);
        row->rest_sum = grads->rest_sum == nullptr ? nullptr : grads->rest_sum + first + r;
        row->rest = grads->rest == nullptr ? nullptr : grads->rest + first + r;
      }
    }
    begin += count;
    i = 0;
    ++h;
  }
}

void drop_zero_rows(const AttentionArgs<float>& a, int64_t rows, AttentionRow* row) {
  if (!may_empty_rows(a)) return;
  // A sum of exponentials is at least that of the greatest score; what sparsemax keeps there is less than 0.
  for (int64_t r = 0; r < rows; ++r)
    if (row[r].saved[1] == 0) row[r].begin = row[r].end = 0;
}

void pack_panels(const KernelTable& table, int64_t panel, const float* x, int64_t stride,
                 int64_t depth, int64_t first, int64_t last, float* dst) {
  for (int64_t j = first; j < last; j += panel) {
    table.gemm_pack_panel(depth, std::min(panel, last - j), panel, x + j * stride, 1, stride,
                          dst + j * depth);
  }
}

}  // namespace attn::kernels::driver
