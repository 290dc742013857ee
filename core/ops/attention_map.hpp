// SPDX-License-Identifier: Apache-2.0
//
// Attention with the weights of some heads and queries, without computing those of the others. [call-thread]
#pragma once

#include <algorithm>

#include "core/ops/attention_views.hpp"

namespace attn::ops {

// Heads and queries that the map is of.
struct MapPart {
  int64_t head, heads, query, queries;
};

// The rows of the part alone, a key head at a time, into map; a: the whole call.
template <class T>
void part_of_map(const OpCall& c, const kernels::AttentionArgs<T>& a, const MapPart& part,
                 const attn_view& map) {
  if (part.heads == 0 || part.queries == 0) return;
  const int64_t group = a.heads / a.kv_heads, end = part.head + part.heads;
  const auto rows = static_cast<size_t>(a.batch * group * part.queries);
  T* const unused = parallel(c).scratch_array<T>(rows * static_cast<size_t>(a.value_dim) + 1);
  for (int64_t g = part.head / group; g * group < end; ++g) {
    const int64_t h = std::max(part.head, g * group), n = std::min(end, (g + 1) * group) - h;
    kernels::AttentionArgs<T> s = a;
    s.heads = n, s.kv_heads = 1, s.queries = part.queries;
    s.q.data = a.q.at(0, h, part.query);
    s.k.data = a.k.at(0, g, 0), s.v.data = a.v.at(0, g, 0);
    s.o = {unused, n * part.queries * a.value_dim, part.queries * a.value_dim, a.value_dim};
    s.offset = a.offset + part.query;
    s.first_head = a.first_head + h;
    if (a.mask.data) s.mask.data = a.mask.at(0, h, part.query);
    if (a.bias.data) s.bias.data = a.bias.at(0, h, part.query);
    if (a.sinks) s.sinks = a.sinks + h;
    s.map = scores4<T>(map);
    s.map.data = s.map.at(0, h - part.head, 0);
    s.lse = {};
    s.saved = nullptr;
    kernels::attention(s, parallel(c));
  }
}

// Forward with that part of the map. Numbers of dropout go by the place in the whole, so with it the whole exists.
template <class T>
void attention_with_part_of_map(const OpCall& c, kernels::AttentionArgs<T>& a, const MapPart& part,
                                const attn_view& map) {
  if (a.dropout == 0) {
    kernels::attention(a, parallel(c));
    return part_of_map(c, a, part, map);
  }
  attn_view whole = map;
  whole.shape[1] = a.heads, whole.shape[2] = a.queries;
  set_dense_strides(whole);
  whole.data = parallel(c).scratch_array<T>(static_cast<size_t>(size_of(whole)) + 1);
  a.map = scores4<T>(whole);
  kernels::attention(a, parallel(c));
  whole.data = a.map.at(0, part.head, part.query);
  whole.shape[1] = part.heads, whole.shape[2] = part.queries;
  copy_strided(whole, map);
}

}  // namespace attn::ops
