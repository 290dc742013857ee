// SPDX-License-Identifier: Apache-2.0
//
// Observables of weights from queries to keys: which ones there are, their memory, and their way to the observer. All
// have the kind of the weights (B, H, Q, K), but for top_keys, int64. [call-thread]
//
//   row_max, lse, entropy  (B, H, Q)      column_mass  (B, H, K)      distances  (B, H, Q + K - 1)
//   top_keys, top_weights  (B, H, Q, N)   map          (B, heads, queries, keys) of the part that is asked for
#pragma once

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>

#include "core/cpu/memory.hpp"
#include "core/error/error.hpp"
#include "core/kernels/attention_observe.hpp"
#include "core/ops/rows.hpp"
#include "core/tensor/array.hpp"
#include "core/threads/observer.hpp"

namespace attn::ops {

template <class T>
class ObservedWeights {
 public:
  // scores: row_max exists. softmax: lse, too. first, all: the queries are those from `first` on of `all`, which maps
  // and distances count; all = 0: they are all.
  ObservedWeights(Observer& observer, Parallel& parallel, int64_t b, int64_t h, int64_t q,
                  int64_t k, bool scores, bool softmax, int64_t first = 0, int64_t all = 0)
      : observer_(observer), parallel_(parallel) {
    if (all == 0) all = q;
    const int64_t top = std::clamp<int64_t>(observer.top, 1, std::max<int64_t>(k, 1));
    if (scores) ask("row_max", to.row_max, {b, h, q});
    if (scores && softmax) ask("lse", to.lse, {b, h, q});
    ask("entropy", to.entropy, {b, h, q});
    ask("column_mass", to.column_mass, {b, h, k});
    ask("distances", to.distances, {b, h, std::max<int64_t>(all + k - 1, 0)});
    to.top = top;
    const bool keys = observer.wants("top_keys"), weights = observer.wants("top_weights");
    if (keys || weights) {  // one is not known without the other
      to.top_keys = array<int64_t>(b * h * q * top);
      to.top_weights = array<T>(b * h * q * top);
      if (keys) given_[n_++] = {"top_keys", view(to.top_keys, ATTN_I64, {b, h, q, top})};
      if (weights) given_[n_++] = {"top_weights", view(to.top_weights, kDtype, {b, h, q, top})};
    }
    const ObservedPart& p = observer.part;
    const auto place = [](int64_t at, int64_t n) { return std::clamp<int64_t>(at, 0, n); };
    const auto count = [](int64_t n, int64_t rest) { return n > 0 ? std::min(n, rest) : rest; };
    kernels::MapSlice& m = to.slice;
    const int64_t query = place(p.query, all), end = query + count(p.queries, all - query);
    m.head = place(p.head, h), m.query = place(query - first, q), m.key = place(p.key, k);
    m.heads = count(p.heads, h - m.head);
    m.queries = place(end - first, q) - m.query;
    m.keys = count(p.keys, k - m.key);
    if (observer.wants("map")) check_room({b, m.heads, m.queries, m.keys});
    ask("map", to.map, {b, m.heads, m.queries, m.keys});
  }
  [[nodiscard]] bool any() const { return n_ > 0; }
  void give() const {
    for (int i = 0; i < n_; ++i) observer_.take(given_[i].name, given_[i].view);
  }

  kernels::AttentionObserved<T> to{};

 private:
  static constexpr int32_t kDtype = sizeof(T) == sizeof(float) ? ATTN_F32 : ATTN_F64;
  struct Given {
    const char* name;
    attn_view view;
  };
  template <class U>
  [[nodiscard]] U* array(int64_t n) const {
    return parallel_.scratch_array<U>(static_cast<size_t>(n) + 1);
  }
  static attn_view view(void* data, int32_t dtype, std::initializer_list<int64_t> shape) {
    attn_view v{};
    v.data = data;
    v.dtype = dtype;
    for (const int64_t n : shape) v.shape[v.rank++] = n;
    set_dense_strides(v);
    return v;
  }
  // A map that the memory cannot hold ends the process when it is written, not when it is asked for.
  static void check_room(std::initializer_list<int64_t> shape) {
    constexpr double kMega = 1e6, kSmall = 64 * kMega;  // smaller ones are not worth the question
    double bytes = sizeof(T);
    for (const int64_t n : shape) bytes *= static_cast<double>(n);
    if (bytes <= kSmall) return;
    const std::optional<int64_t> room = cpu::available_memory();
    if (!room || bytes <= static_cast<double>(*room)) return;
    throw InvalidArgument("observe: 'map' of shape " + Shape(shape).to_string() + " takes " +
                          std::to_string(std::llround(bytes / kMega)) + " MB, and " +
                          std::to_string(*room / static_cast<int64_t>(kMega)) +
                          " MB are available; expected a part of it that fits; ask for fewer "
                          "heads, queries or keys, or for what needs no map");
  }
  void ask(const char* name, T*& data, std::initializer_list<int64_t> shape) {
    if (!observer_.wants(name)) return;
    given_[n_] = {name, view(nullptr, kDtype, shape)};
    data = array<T>(size_of(given_[n_].view));
    given_[n_++].view.data = data;
  }

  Observer& observer_;
  Parallel& parallel_;
  Given given_[8]{};
  int n_ = 0;
};

}  // namespace attn::ops
