// SPDX-License-Identifier: Apache-2.0
//
// Weights (batch, heads, queries, keys) that a type makes for some keys at a time, and what all of them tell together, in
// memory that is linear in queries and keys but for the part of the map that is asked for.
#pragma once

#include <attn/sdk/abi.h>

#include <memory>

#include "core/threads/observer.hpp"
#include "core/threads/parallel.hpp"

namespace attn::engine {

class ObservedKeys {
 public:
  virtual ~ObservedKeys() = default;
  // Weights of the keys that follow those before; all values of a row of them in order.
  virtual void add(const attn_view& some, Parallel& parallel) = 0;
  // Whether all keys were given.
  [[nodiscard]] virtual bool complete() const = 0;
  // To the observer.
  virtual void give() = 0;
};

// whole: the shape and kind of all weights; its values are not read.
[[nodiscard]] std::unique_ptr<ObservedKeys> observed_keys(Observer& observer,
                                                          const attn_view& whole);

}  // namespace attn::engine
