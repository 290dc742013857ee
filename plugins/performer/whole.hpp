// SPDX-License-Identifier: Apache-2.0
//
// Every query sees every key: the sums over all keys first, then each query by itself. Keys are summed
// in segments of fixed length that are added in order, so that the result does not depend on the
// number of threads, and one head occupies many threads.
#pragma once

#include "tile.hpp"

namespace attn::performer {

inline constexpr int64_t kSegment = 2048;  // tokens, a multiple of kTile

template <class T>
void add_keys(Tile<T>& tile, const Segment& part, const Sums<T>& sums) {
  for (int64_t at = part.begin; at < part.end; at += kTile)
    tile.add_keys(tile.load_keys(at, part.end - at, sums), sums);
}

// The sums over all keys of each head.
template <class T>
SumsArray<T> sum_keys(const Run<T>& run) {
  const Sizes& s = run.s;
  const int64_t n = segments(s, kSegment), heads = s.batch * s.heads;
  const SumsArray<T> parts(run.c, s, heads * n), all(run.c, s, heads);
  each_segment(run, kSegment, [&](Tile<T>& tile, const Segment& part) {
    parts[part.index].clear(s);
    add_keys(tile, part, parts[part.index]);
  });
  run.c.loop(heads, 1, [&](int64_t begin, int64_t end, int32_t) {
    for (int64_t i = begin; i < end; ++i) {
      all[i].copy(s, parts[i * n]);
      for (int64_t k = 1; k < n; ++k) all[i].add(s, parts[i * n + k]);
    }
  });
  return all;
}

// saved: (B, H, features, d + 2), the sums over all keys for the gradient; nullptr: not needed.
template <class T>
void whole_forward(const Run<T>& run, T* saved) {
  const Sizes& s = run.s;
  // Sums over a single segment are used at once: one for each worker is enough.
  const bool single = segments(s, kSegment) == 1;
  const SumsArray<T> all = single ? SumsArray<T>(run.c, s, run.c.concurrency()) : sum_keys(run);
  each_segment(run, kSegment, [&](Tile<T>& tile, const Segment& part) {
    const Sums<T> sums = all[single ? part.worker : part.head];
    if (single) {
      sums.clear(s);
      add_keys(tile, part, sums);
    }
    for (int64_t at = part.begin; at < part.end; at += kTile) {
      const int64_t n = std::min(kTile, part.end - at);
      tile.load_queries(at, n, sums);
      tile.write(at, n);
    }
    if (saved && part.begin == 0) sums.store(s, part.head, saved);
  });
}

template <class T>
void whole_backward(const Run<T>& run, const T* saved) {
  const Sizes& s = run.s;
  const int64_t n = segments(s, kSegment), heads = s.batch * s.heads;
  // Of `sent` only u is used: D (tile.hpp) of each segment, then of all in the first one.
  const SumsArray<T> all(run.c, s, heads), sent(run.c, s, heads * n);
  for (int64_t i = 0; i < heads; ++i) all[i].load(s, i, saved);
  each_segment(run, kSegment, [&](Tile<T>& tile, const Segment& part) {
    const Sums<T> sums = all[part.head], own = sent[part.index];
    own.clear(s);
    for (int64_t at = part.begin; at < part.end; at += kTile) {
      const int64_t tokens = std::min(kTile, part.end - at);
      tile.load_queries(at, tokens, sums);
      tile.query_gradient(at, tokens, sums);
      tile.add_sent(tokens, own.u);
    }
  });
  if (!run.c.din(kKey) && !run.c.din(kValue)) return;
  run.c.loop(heads, 1, [&](int64_t begin, int64_t end, int32_t) {
    for (int64_t i = begin; i < end; ++i)
      for (int64_t k = 1; k < n; ++k)
        for (int64_t x = 0; x < s.features * s.wide; ++x) sent[i * n].u[x] += sent[i * n + k].u[x];
  });
  each_segment(run, kSegment, [&](Tile<T>& tile, const Segment& part) {
    for (int64_t at = part.begin; at < part.end; at += kTile) {
      // The sums have the exponents of all keys: none is raised.
      const int64_t tokens = tile.load_keys(at, part.end - at, all[part.head]);
      tile.key_gradient(at, tokens, sent[part.head * n].u);
    }
  });
}

}  // namespace attn::performer
