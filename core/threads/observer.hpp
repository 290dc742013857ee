// SPDX-License-Identifier: Apache-2.0
//
// Observables: named tensors that a call gives beside its outputs to those who ask for them. Operators and types ask
// whether one is wanted, compute it, and hand it over. [call-thread]
#pragma once

#include <attn/sdk/abi.h>

#include <cstdint>
#include <string_view>

namespace attn {

// Which part of maps is wanted, from the first on; 0: all that follow.
struct ObservedPart {
  int64_t head = 0, heads = 0, query = 0, queries = 0, key = 0, keys = 0;
};

class Observer {
 public:
  int64_t top = 8;  // keys of each query
  ObservedPart part{};

  // Whether it is asked for; and notes that the call has it.
  [[nodiscard]] virtual bool wants(std::string_view name) = 0;
  // Values of one that is wanted; copied.
  virtual void take(std::string_view name, const attn_view& values) = 0;

 protected:
  ~Observer() = default;
};

}  // namespace attn
