// SPDX-License-Identifier: Apache-2.0
//
// What the binding calls in Python: handed over once, when the package is imported, so that no call looks for a module.
// For a thread that holds the GIL.
#pragma once

#include <nanobind/nanobind.h>
// All files see the same conversions: a cast that does not compiles to something else.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

namespace attn::python {

namespace nb = nanobind;

// Empty where the module is used without its package, as the build does to write the stubs.
struct Hooks {
  nb::object prepare;  // (object, what it is) -> (buffer or DLPack object, framework, bfloat16)
  nb::object deliver;  // (numpy array, framework, bfloat16) -> the caller's kind of array
  nb::object log;      // (level, text)
  nb::object invalid_argument;  // class of InvalidArgument
  nb::object failure;           // class of Failure
  nb::object empty;             // numpy.empty
  nb::object ndarray;           // numpy.ndarray, the type
};

[[nodiscard]] Hooks& hooks();

}  // namespace attn::python
