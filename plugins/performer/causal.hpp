// SPDX-License-Identifier: Apache-2.0
//
// Query n sees keys 0..n: one scan over the tokens in chunks, each a tile (tile.hpp). The sums hold
// the keys before the chunk. Heads run in parallel, the tokens of a head one after the other.
#pragma once

#include "tile.hpp"

namespace attn::performer {

// starts: (B, H, S + 1), the first token of each chunk, then S, for the gradient; nullptr: not needed.
template <class T>
void causal_forward(const Run<T>& run, int64_t* starts) {
  const sdk::OpCall& c = run.c;
  const Sizes& s = run.s;
  const attn_view *before = c.in(kState), *after = c.out(1);
  const SumsArray<T> states(c, s, c.concurrency());
  each_segment(run, s.tokens, [&](Tile<T>& tile, const Segment& all) {
    const Sums<T> state = states[all.worker];
    if (before)
      state.load(s, all.head, sdk::data<const T>(*before));
    else
      state.clear(s);
    int64_t* start = starts ? starts + all.head * (s.tokens + 1) : nullptr;
    for (int64_t at = 0; at < s.tokens;) {
      if (start) *start++ = at;
      const int64_t n = tile.load_keys(at, s.tokens - at, state);
      tile.load_queries(at, n, state);
      tile.write(at, n);
      tile.add_keys(n, state);
      at += n;
    }
    if (start) std::fill(start, starts + (all.head + 1) * (s.tokens + 1), s.tokens);
    if (after) state.store(s, all.head, sdk::data<T>(*after));
  });
}

// The backward scan of a head, by chunks in reverse order. It carries D (tile.hpp), the sum over the
// queries after the chunk, and needs the sums before each chunk, which it computes again: of C chunks
// with stride = ceil(sqrt(C)) the sums before every stride-th chunk are kept, and those between are
// computed for one group of `stride` chunks at a time.
template <class T>
struct ReverseScan {
  const Sizes& s;
  Tile<T>& tile;
  const int64_t* start;  // of each chunk
  const SumsArray<T>& memory;
  int64_t first, chunks, stride;  // first of 2 stride + 1 sums in memory

  // The sums before chunks c, c + step, ..., `count` of them from `slot` on, where the first one is.
  void expand(int64_t slot, int64_t count, int64_t c, int64_t step) const {
    for (int64_t i = 1; i < count; ++i) {
      const Sums<T> sums = memory[slot + i];
      sums.copy(s, memory[slot + i - 1]);
      for (const int64_t end = c + step; c < end; ++c)
        tile.add_keys(tile.load_keys(start[c], start[c + 1] - start[c], sums), sums);
    }
  }
  void run() const {
    const int64_t group = first + stride, groups = (chunks + stride - 1) / stride;
    const Sums<T> sent = memory[first + 2 * stride];
    sent.clear(s);
    memory[first].clear(s);
    expand(first, groups, 0, stride);
    for (int64_t c = chunks - 1; c >= 0; --c) {
      const int64_t begin = c / stride * stride;
      if (c == chunks - 1 || (c + 1) % stride == 0) {
        memory[group].copy(s, memory[first + c / stride]);
        expand(group, c - begin + 1, begin, 1);
      }
      const Sums<T> sums = memory[group + c - begin];
      const int64_t at = start[c], n = tile.load_keys(at, start[c + 1] - at, sums);
      sent.lower(s, sums.g);
      tile.load_queries(at, n, sums);
      tile.query_gradient(at, n, sums);
      tile.key_gradient(at, n, sent.u);
      tile.add_sent(n, sent.u);
    }
  }
};

template <class T>
void causal_backward(const Run<T>& run, const int64_t* starts) {
  const sdk::OpCall& c = run.c;
  const Sizes& s = run.s;
  const auto chunks = [&](int64_t head) {
    const int64_t* start = starts + head * (s.tokens + 1);
    return std::lower_bound(start, start + s.tokens, s.tokens) - start;
  };
  int64_t most = 1, stride = 1;
  for (int64_t i = 0; i < s.batch * s.heads; ++i) most = std::max(most, chunks(i));
  while (stride * stride < most) ++stride;
  const SumsArray<T> memory(c, s, (2 * stride + 1) * c.concurrency());
  each_segment(run, s.tokens, [&](Tile<T>& tile, const Segment& all) {
    const int64_t *start = starts + all.head * (s.tokens + 1),
                  first = all.worker * (2 * stride + 1);
    ReverseScan<T>{s, tile, start, memory, first, chunks(all.head), stride}.run();
  });
}

}  // namespace attn::performer
