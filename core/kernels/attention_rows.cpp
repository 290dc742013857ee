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
  } else if (a.dead == FullyMaskedRows::zero) {
    return {};
  }
  if (bias == nullptr) return f;
  // Keys at the ends that the bias removes are not looked at; when it removes all, there is no bias.
  const auto removed = [&](int64_t j) { return (f.mask && mask[j] == 0) || bias[j] == kNever; };
  begin = f.begin;
  end = f.end;
  while (begin < end && removed(begin)) ++begin;
  while (end > begin && removed(end - 1)) --end;
  if (begin == end) {
    f.bias = false;
  } else {
    f.begin = begin;
    f.end = end;
  }
  return f;
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

// unused[j] = 1 where no query of example b keeps and sees key j; whether there is one. None when no query keeps any.
bool find_unused(const AttentionArgs<float>& a, int64_t b, uint8_t* unused) {
  const int64_t length =
      a.lengths == nullptr ? a.keys : std::clamp<int64_t>(a.lengths[b], 0, a.keys);
  if (a.mask.data == nullptr) {
    std::fill_n(unused, length, uint8_t{0});
    std::fill_n(unused + length, a.keys - length, uint8_t{1});
    return length > 0 && length < a.keys;
  }
  std::fill_n(unused, a.keys, uint8_t{1});
  // The last query of a triangular mask keeps all keys: nothing is left to look for.
  for (int64_t h = a.mask.h != 0 ? a.heads : 1; h-- > 0;)
    for (int64_t i = a.mask.q != 0 ? a.queries : 1; i-- > 0;) {
      const uint8_t* mask = a.mask.at(b, h, i);
      const KeyRange seen = a.mask.q != 0 ? visible_keys(a, i) : KeyRange{0, a.keys};
      for (int64_t j = seen.begin; j < std::min(seen.end, length); ++j)
        unused[j] &= static_cast<uint8_t>(mask[j] ^ 1);
      if (std::memchr(unused, 1, static_cast<size_t>(a.keys)) == nullptr) return false;
    }
  return std::memchr(unused, 0, static_cast<size_t>(a.keys)) != nullptr;
}

bool all_finite(const float* x, int64_t n) {
  float zero = 0;
  for (int64_t i = 0; i < n; ++i) zero += x[i] * 0.0f;
  return zero == 0;
}

}  // namespace

AttentionArgs<float> with_finite_values(const AttentionArgs<float>& args, Parallel& parallel) {
  if (args.mask.data == nullptr && args.lengths == nullptr) return args;
  const int64_t batch = args.batch, keys = args.keys, dim = args.value_dim;
  uint8_t* unused = parallel.scratch_array<uint8_t>(static_cast<size_t>(batch * keys));
  uint8_t* spoilt = parallel.scratch_array<uint8_t>(static_cast<size_t>(batch));
  parallel.loop(batch, 8, [&](int64_t begin, int64_t end, int) {
    for (int64_t b = begin; b < end; ++b) {
      const uint8_t* own = unused + b * keys;
      spoilt[b] = 0;
      if (!find_unused(args, b, unused + b * keys)) continue;
      for (int64_t j = 0; j < keys && spoilt[b] == 0; ++j)
        for (int64_t g = 0; own[j] != 0 && g < args.kv_heads; ++g)
          if (!all_finite(args.v.at(b, g, j), dim)) spoilt[b] = 1;
    }
  });
  if (std::memchr(spoilt, 1, static_cast<size_t>(batch)) == nullptr) return args;
  float* copy =
      parallel.scratch_array<float>(static_cast<size_t>(batch * args.kv_heads * keys * dim));
  parallel.loop(batch * args.kv_heads, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t b = unit / args.kv_heads, g = unit % args.kv_heads;
      for (int64_t j = 0; j < keys; ++j) {
        float* to = copy + (unit * keys + j) * dim;
        if (spoilt[b] != 0 && unused[b * keys + j] != 0)
          std::fill_n(to, dim, 0.0f);
        else
          std::copy_n(args.v.at(b, g, j), dim, to);
      }
    }
  });
  AttentionArgs<float> a = args;
  a.v = {copy, args.kv_heads * keys * dim, keys * dim, dim};
  return a;
}

AttentionRule make_rule(const AttentionArgs<float>& a) {
  constexpr float kLog2e = 1.4426950408889634f;
  const bool softmax = a.probability.kind == Probability::softmax;
  AttentionRule rule{};
  rule.probability = a.probability;
  rule.unit = softmax ? kSoftmaxUnit : kLog2e;
  rule.scale = softmax ? a.scale * (kLog2e / kSoftmaxUnit) : a.scale;
  rule.bias_scale = softmax ? kLog2e / kSoftmaxUnit : 1.0f;
  rule.has_bias = a.bias.data != nullptr;
  rule.has_map = a.map.data != nullptr;
  rule.drop = a.dropout > 0;
  // At rate 1 the scale is 0 too, so that the last word makes no difference.
  rule.drop_threshold =
      static_cast<uint32_t>(std::min(std::ceil(a.dropout * 4294967296.0), 4294967295.0));
  rule.drop_scale = a.dropout < 1 ? static_cast<float>(1 / (1 - a.dropout)) : 0.0f;
  rule.seed = a.seed;
  rule.stream = a.stream;
  rule.part = a.part;
  return rule;
}

AttentionArgs<float> with_contiguous_masks(const AttentionArgs<float>& args, Parallel& parallel) {
  AttentionArgs<float> a = args;
  if (a.mask.data != nullptr && a.mask.k != 1) make_contiguous<uint8_t>(a.mask, args, parallel);
  if (a.bias.data != nullptr && a.bias.k == 0 && a.keys > 1) {
    a.bias.data = nullptr;
  } else if (a.bias.data != nullptr && a.bias.k != 1) {
    make_contiguous<float>(a.bias, args, parallel);
  }
  return a;
}

KeyRange all_visible_keys(const AttentionArgs<float>& a, int64_t b) {
  if (a.queries == 0) return {0, 0};
  // Both ends grow with the query.
  KeyRange range{visible_keys(a, 0).begin, visible_keys(a, a.queries - 1).end};
  const bool structure = a.causal || a.window > 0 || a.block > 0;
  if (a.lengths != nullptr && a.mask.data == nullptr && !structure) {
    const int64_t length = a.lengths[b];
    if (length > 0 || a.dead == FullyMaskedRows::zero)
      range.end = std::clamp<int64_t>(length, 0, range.end);
  }
  range.end = std::max(range.begin, range.end);
  return range;
}

void fill_rows(const AttentionArgs<float>& a, const AttentionGrads<float>* grads, int64_t b,
               int64_t g, int64_t begin, int64_t end, AttentionRow* row) {
  const int64_t group = a.heads / a.kv_heads, saved = saved_per_row(a.probability.kind);
  int64_t h = g * group + begin / a.queries, i = begin % a.queries;
  const bool same =
      a.bias.data == nullptr && a.mask.q == 0 && !a.causal && a.window == 0 && a.block == 0;
  while (begin < end) {  // the rows of one head after another
    const int64_t count = std::min(a.queries - i, end - begin);
    const int64_t first = (b * a.heads + h) * a.queries + i;
    Facts f;
    KeyRange visible{};
    for (int64_t r = 0; r < count; ++r, ++row, ++i) {
      const uint8_t* mask = a.mask.data == nullptr ? nullptr : a.mask.at(b, h, i);
      const float* bias = a.bias.data == nullptr ? nullptr : a.bias.at(b, h, i);
      if (r == 0 || !same) {
        visible = visible_keys(a, i);
        f = facts(a, b, visible, mask, bias);
      }
      row->q = a.q.at(b, h, i);
      row->o = a.o.at(b, h, i);
      row->begin = f.begin;
      row->end = f.end;
      row->visible = visible.end - visible.begin;
      row->mask = f.mask ? mask : nullptr;
      row->bias = f.bias ? bias : nullptr;
      row->index = dropout_index(a, b, h, i);
      row->map = a.map.data == nullptr ? nullptr : a.map.at(b, h, i);
      row->saved = a.saved == nullptr ? nullptr : a.saved + (first + r) * saved;
      row->dbias = nullptr;
      if (grads != nullptr) {
        row->dout = grads->dout.data == nullptr ? nullptr : grads->dout.at(b, h, i);
        row->dmap = grads->dmap.data == nullptr ? nullptr : grads->dmap.at(b, h, i);
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

void pack_panels(const KernelTable& table, int64_t panel, const float* x, int64_t stride,
                 int64_t depth, int64_t first, int64_t last, float* dst) {
  for (int64_t j = first; j < last; j += panel) {
    table.gemm_pack_panel(depth, std::min(panel, last - j), panel, x + j * stride, 1, stride,
                          dst + j * depth);
  }
}

}  // namespace attn::kernels::driver
