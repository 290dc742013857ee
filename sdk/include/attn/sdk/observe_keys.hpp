// SPDX-License-Identifier: Apache-2.0
//
// For types that make weights from queries to keys only where somebody asks for them: what these tell, without holding
// them all.
#pragma once

#include <attn/sdk/functions.hpp>
#include <attn/sdk/layer.hpp>

#include <algorithm>
#include <array>

namespace attn::sdk {

// What c.observe("map", all weights) tells, of weights (batch, heads, queries, keys) of that shape, kind `dtype`:
// some(begin, end) makes those of keys [begin, end), no more than `step`. Only so many exist at a time, but in a call
// that is recorded, whose tape keeps them. To be called where c.observes_map().
template <class F>
void observe_by_keys(const Call& c, std::initializer_list<int64_t> shape, int32_t dtype,
                     int64_t step, F&& some) {
  const int64_t keys = *(shape.end() - 1);
  const float nothing = 0;
  // "map_keys" begins with the shape of all, as a view of one number; what follows has some keys, in order, until all
  // were there.
  const std::array<int64_t, 4> repeated{};
  c.observe("map_keys", convert(c.constant(ATTN_F32, {}, &nothing), dtype)
                            .view({shape.begin(), shape.size()}, repeated));
  for (int64_t begin = 0; begin < keys; begin += step)
    c.observe("map_keys", some(begin, std::min(keys, begin + step)));
}

}  // namespace attn::sdk
