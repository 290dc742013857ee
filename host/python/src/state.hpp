// SPDX-License-Identifier: Apache-2.0
//
// A state of a layer in Python: one call at a time, which is checked here.
#pragma once

#include <attn/attention.hpp>

#include <atomic>
#include <memory>

#include "host/python/src/hooks.hpp"

namespace attn::python {

struct PyState {
  std::unique_ptr<State> state;  // empty once closed
  std::atomic<bool> busy{false};
};

// The state for the time of one call. Throws InvalidArgument for a closed state, Failure for one that another call is
// using.
class StateUse {
 public:
  explicit StateUse(PyState& state);
  ~StateUse() { owner_.busy.store(false); }
  StateUse(const StateUse&) = delete;
  StateUse& operator=(const StateUse&) = delete;
  [[nodiscard]] State& operator*() const { return *owner_.state; }
  [[nodiscard]] State* operator->() const { return owner_.state.get(); }

 private:
  PyState& owner_;
};

void register_state(nb::module_& m);

}  // namespace attn::python
