// SPDX-License-Identifier: Apache-2.0
//
// Attention whose sequence is shared out over several ranks: who has which tokens, how keys and values travel,
// and how results over shards of the keys become one. For sharded_attention.cpp. [call-thread]
//
// Liu, Zaharia, Abbeel 2023 (arXiv 2310.01889): every rank keeps its queries and sees one shard of the keys after
// the other. A shard is one block of memory: all keys (B, G, n, D), then all values (B, G, n, Dv).
#pragma once

#include <cmath>
#include <cstring>
#include <span>
#include <utility>

#include "core/ops/attention_views.hpp"

namespace attn::ops::shards {

// Extents of a call of one rank.
struct Shared {
  int rank = 0, size = 1;
  std::span<const int64_t> bounds{};
  int64_t b = 0, h = 0, g = 0, d = 0, dv = 0;

  [[nodiscard]] int64_t begin(int shard) const { return bounds[static_cast<size_t>(shard)]; }
  [[nodiscard]] int64_t tokens(int shard) const {
    return bounds[static_cast<size_t>(shard) + 1] - begin(shard);
  }
  [[nodiscard]] int64_t own() const { return tokens(rank); }
  [[nodiscard]] int64_t total() const { return bounds.back(); }
  [[nodiscard]] int64_t longest() const {
    int64_t most = 0;
    for (int i = 0; i < size; ++i) most = std::max(most, tokens(i));
    return most;
  }
  // The rank that is `steps` places further round the ring.
  [[nodiscard]] int neighbour(int steps) const { return ((rank + steps) % size + size) % size; }
};

// Keys and values (or their gradients) of one shard, in one block.
template <class T>
struct Block {
  T* data = nullptr;

  static int64_t elements(const Shared& s, int64_t tokens) {
    return s.b * s.g * tokens * (s.d + s.dv);
  }
  [[nodiscard]] static uint64_t bytes(const Shared& s, int shard) {
    return static_cast<uint64_t>(elements(s, s.tokens(shard))) * sizeof(T);
  }
  [[nodiscard]] kernels::View4<T> keys(const Shared& s, int shard) const {
    const int64_t n = s.tokens(shard);
    return {data, s.g * n * s.d, n * s.d, s.d};
  }
  [[nodiscard]] kernels::View4<T> values(const Shared& s, int shard) const {
    const int64_t n = s.tokens(shard);
    return {data + s.b * s.g * n * s.d, s.g * n * s.dv, n * s.dv, s.dv};
  }
};

template <class T>
Block<T> new_block(const OpCall& c, const Shared& s) {
  const int64_t n = Block<T>::elements(s, s.longest());
  return {parallel(c).scratch_array<T>(static_cast<size_t>(n) + 1)};
}

// The two dense tensors of a block, in the place of the own k and v.
template <class T>
attn_view block_view(const Shared& s, const attn_view& like, kernels::View4<T> memory) {
  attn_view v = like;
  v.data = memory.data;
  v.shape[2] = s.own();
  set_dense_strides(v);
  return v;
}
template <class T>
void put_own(const OpCall& c, const Shared& s, const Block<T>& block, int key, int value) {
  copy_strided(*c.in(key), block_view(s, *c.in(key), block.keys(s, s.rank)));
  copy_strided(*c.in(value), block_view(s, *c.in(value), block.values(s, s.rank)));
}

// Ring: each shard goes to the next rank while it is worked on. body(shard, block) has the own shard first, then those
// of the ranks before; after(shard, coming), when nothing is on its way, may send what belongs to the shard after it.
template <class T, class F, class After>
void pass_round(const ProcessGroup& ranks, const Shared& s, Block<T> current, Block<T> next,
                F&& body, After&& after) {
  for (int step = 0; step < s.size; ++step) {
    const int shard = s.neighbour(-step), coming = s.neighbour(-step - 1);
    const bool more = step + 1 < s.size;
    if (more)
      ranks.start_sendrecv(s.neighbour(1), current.data, Block<T>::bytes(s, shard), s.neighbour(-1),
                           next.data, Block<T>::bytes(s, coming));
    body(shard, current);
    if (more) ranks.wait();
    after(shard, coming);
    std::swap(current, next);
  }
}

// The shards in order, each from its owner to all; own(block) puts the own one there.
template <class T, class Own, class F>
void pass_in_order(const ProcessGroup& ranks, const Shared& s, Block<T> current, Block<T> next,
                   Own&& own, F&& body) {
  const auto start = [&](int shard, Block<T> block) {
    if (shard == s.rank) own(block);
    ranks.start_broadcast(shard, block.data, Block<T>::bytes(s, shard));
  };
  start(0, current);
  ranks.wait();
  for (int shard = 0; shard < s.size; ++shard) {
    const bool more = shard + 1 < s.size;
    if (more) start(shard + 1, next);
    body(shard, current);
    if (!more) return;
    ranks.wait();
    std::swap(current, next);
  }
}

// ---- masks ---------------------------------------------------------------------------------------

// (B, own tokens) of every rank as (B, total).
inline KeepBytes gather_keys(const OpCall& c, const ProcessGroup& ranks, const Shared& s,
                             const attn_view& mask) {
  const KeepBytes own = keep_bytes(c, mask);
  const int64_t n = s.own(), total = s.total();
  const auto new_bytes = [&](int64_t count) {
    return parallel(c).scratch_array<uint8_t>(static_cast<size_t>(count) + 1);
  };
  uint8_t* sent = new_bytes(s.b * n);
  for (int64_t b = 0; b < s.b; ++b)
    std::copy_n(own.data + (own.shape[0] == 1 ? 0 : b) * n, n, sent + b * n);
  auto* counts = parallel(c).scratch_array<uint64_t>(static_cast<size_t>(s.size));
  for (int i = 0; i < s.size; ++i) counts[i] = static_cast<uint64_t>(s.b * s.tokens(i));
  uint8_t* received = new_bytes(s.b * total);
  ranks.all_gather(sent, received, counts);
  KeepBytes all{new_bytes(s.b * total), {s.b, 1, 1, total}};
  for (int i = 0; i < s.size; ++i)
    for (int64_t b = 0; b < s.b; ++b)
      std::copy_n(received + s.b * s.begin(i) + b * s.tokens(i), s.tokens(i),
                  all.data + b * total + s.begin(i));
  return all;
}

// The rows of the own queries over all keys. A row that keeps nothing keeps everything: decided here once, because
// no shard alone determines it.
inline kernels::Scores4<const uint8_t> own_rows(const OpCall& c, const ProcessGroup& ranks,
                                                const Shared& s, const attn_view* mask) {
  if (mask == nullptr) return {};
  const KeepBytes keep = mask->rank == 2 ? gather_keys(c, ranks, s, *mask) : keep_bytes(c, *mask);
  const int64_t n = keep.shape[3];
  for (int64_t r = 0; r < keep.rows(); ++r) {
    uint8_t* row = keep.data + r * n;
    if (std::memchr(row, 1, static_cast<size_t>(n)) == nullptr) std::fill_n(row, n, uint8_t{1});
  }
  return keep.scores();
}

// ---- merging -------------------------------------------------------------------------------------

// Sums over the keys seen so far, for the own rows.
template <class T>
struct Running {
  T* state;             // maximum and sum of each row (b, h, i), dense
  kernels::View4<T> o;  // weighted values, not yet divided by the sum
};

// Rows [first, first + count) of every head from a result over further keys: `part` maximum and sum and `o` of each
// (b, h, row), dense. A sum of 0: none of the keys is for that row.
template <class T>
void merge(const OpCall& c, const Shared& s, const Running<T>& to, int64_t first, int64_t count,
           const T* part, const T* o) {
  // What makes an exponent of 2 of the kernels' maxima, and of those of the reference.
  const T unit = use_kernels<T>() ? T(kernels::kSoftmaxUnit) : T(1.4426950408889634074);
  parallel(c).loop(s.b * s.h * count, 64, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t unit_row = r / count, i = first + r % count;
      const T max = part[2 * r], sum = part[2 * r + 1];
      if (sum == 0) continue;
      T* state = to.state + 2 * (unit_row * s.own() + i);
      const bool empty = state[1] == 0;
      const T top = empty || max > state[0] ? max : state[0];
      const T before = empty ? T(0) : std::exp2((state[0] - top) * unit);
      const T factor = std::exp2((max - top) * unit);
      T* out = to.o.at(unit_row / s.h, unit_row % s.h, i);
      const T* in = o + r * s.dv;
      for (int64_t e = 0; e < s.dv; ++e) out[e] = out[e] * before + in[e] * sum * factor;
      state[0] = top;
      state[1] = state[1] * before + sum * factor;
    }
  });
}

template <class T>
void begin_rows(const OpCall& c, const Shared& s, const Running<T>& to) {
  parallel(c).loop(s.b * s.h * s.own(), 64, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t unit = r / s.own();
      to.state[2 * r] = to.state[2 * r + 1] = 0;
      std::fill_n(to.o.at(unit / s.h, unit % s.h, r % s.own()), s.dv, T(0));
    }
  });
}

template <class T>
void finish_rows(const OpCall& c, const Shared& s, const Running<T>& to) {
  parallel(c).loop(s.b * s.h * s.own(), 64, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t unit = r / s.own();
      const T sum = to.state[2 * r + 1];
      T* o = to.o.at(unit / s.h, unit % s.h, r % s.own());
      for (int64_t e = 0; e < s.dv; ++e) o[e] /= sum;
    }
  });
}

}  // namespace attn::ops::shards
