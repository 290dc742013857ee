// SPDX-License-Identifier: Apache-2.0
//
// Observables of calls (core/threads/observer.hpp): what a context is asked for, and what the last call gave. One
// thread at a time.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/engine/observe_keys.hpp"
#include "core/tensor/array.hpp"
#include "core/threads/fork.hpp"
#include "core/threads/observer.hpp"
#include "core/threads/parallel.hpp"

namespace attn::engine {

struct Observed {
  std::string
      label;  // the plugin's label of the operator, or the operator's name; of a type's own, its label or none
  std::string name;
  Array value;
};

class Observations final : public Observer {
 public:
  // names: none: nothing is observed.
  void ask(std::vector<std::string> names) { names_ = std::move(names); }
  [[nodiscard]] bool asked() const { return !names_.empty(); }
  [[nodiscard]] const std::vector<std::string>& names() const { return names_; }
  // Of the names, one that the last call does not have; nullptr: it has all, or need not.
  [[nodiscard]] const std::string* missing() const;
  bool optional = false;  // the last call need not have what is asked for
  // Whether all that is asked for is told by weights (batch, heads, queries, keys), and begins with their batch: a call
  // in slices can give it.
  [[nodiscard]] bool led_by_batch() const;
  // The slice of a call observes what the call does.
  void ask_as(const Observations& whole);

  void begin();
  // Of what is taken next.
  void set_label(const char* text) { label_ = text; }

  [[nodiscard]] bool wants(std::string_view name) override;
  // "map", weights (B, H, Q, K): the part that is asked for. The others that they tell are taken, too.
  void take(std::string_view name, const attn_view& values) override;
  // As a plugin gives it: weights that are called "map" tell the rest of what they tell, too, and so do those called
  // "map_keys": first the shape of all, then in order those of some keys, until all keys were there.
  void take_from_plugin(std::string_view name, const attn_view& values, Parallel& parallel);

  // What a slice has, of rows [first, first + rows) of the batch. [any-thread]
  void take_slice(const Observations& slice, int64_t first, int64_t rows, int64_t batch);

  // Gives away what was taken.
  [[nodiscard]] std::vector<Observed> release() { return std::exchange(taken_, {}); }
  // Names of all that the last call has, whether asked for or not, in their order.
  [[nodiscard]] const std::vector<std::string>& offered() const { return offered_; }

 private:
  void take_keys(const attn_view& values, Parallel& parallel);

  std::vector<std::string> names_, offered_;
  std::string label_;
  std::vector<Observed> taken_;
  std::unique_ptr<ObservedKeys> keys_;  // that are on their way, under this label
  std::string keys_label_;
  threads::Mutex slices_;
};

}  // namespace attn::engine
