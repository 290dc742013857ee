// SPDX-License-Identifier: Apache-2.0
//
// A recorded call, and its backward pass.
#pragma once

#include "host/python/src/call.hpp"

#include <atomic>

namespace attn::python {

// Keeps the inputs and the layer of the call. backward() takes it once; one that is refused leaves it as it is.
struct PyTape {
  nb::object layer;
  std::unique_ptr<Call> call;
  std::atomic<bool> busy{false};
};

// (outputs, tape)
[[nodiscard]] nb::object record(nb::object layer, const nb::args& args, const nb::kwargs& kwargs);

// ({input: gradient}, {weight: gradient}); cotangents by output, in their order or by name; None is zero.
[[nodiscard]] nb::object backward(nb::object layer, PyTape& tape, nb::args cotangents,
                                  const nb::kwargs& options);

void register_tape(nb::module_& m);

}  // namespace attn::python
