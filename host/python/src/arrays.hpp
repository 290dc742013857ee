// SPDX-License-Identifier: Apache-2.0
//
// Arrays of Python callers in, without a copy, and results out as the kind of array they came as.
//
// In: numpy through the buffer protocol; torch, jax, tensorflow and whatever else has __dlpack__ through DLPack; any
// strides, read-only or not. Memory stays where it is and is kept from going away while a Borrowed lives. Lists, devices
// that are not the CPU, and element types that the library does not have throw nb::type_error. All of it for a thread
// that holds the GIL.
#pragma once

#include <attn/tensor.hpp>

#include <nanobind/ndarray.h>

#include <string>

#include "host/python/src/hooks.hpp"

namespace attn::python {

// What an array came as, and so what results become. Numbers are those of attn/_arrays.py.
struct Origin {
  int framework = 0;            // 0: numpy
  attn_dtype dtype = ATTN_F32;  // of its elements, as the caller has them
};

class Borrowed {
 public:
  Borrowed() = default;
  ~Borrowed() { release(); }
  Borrowed(const Borrowed&) = delete;
  Borrowed& operator=(const Borrowed&) = delete;

  // where: says what it is, for errors: "multi_head_attention: input 'inputs'".
  template <class Where>
  void take(nb::handle array, Where&& where) {
    if (!take_numpy(array)) take_other(array, where());
  }
  void release() noexcept;

  [[nodiscard]] const ConstView& view() const { return view_; }
  [[nodiscard]] const Origin& origin() const { return origin_; }
  // Whether the array is still where it was: numpy lets its owner move it in spite of everybody.
  [[nodiscard]] bool in_place() const;

 private:
  bool take_numpy(nb::handle array, bool bfloat16 = false);
  void take_other(nb::handle array, const std::string& where);

  ConstView view_{};
  Origin origin_{};
  Py_buffer buffer_{};  // obj is null when there is none
  nb::ndarray<nb::ro> dlpack_{};
};

// Memory of a new numpy array (bfloat16 as uint16), and the array.
struct Fresh {
  nb::object array;
  void* data = nullptr;
};
[[nodiscard]] Fresh new_numpy(attn_dtype dtype, const Shape& shape);

// A copy of the view as the kind of array that `origin` tells; large ones are copied without the GIL.
[[nodiscard]] nb::object deliver(const ConstView& view, const Origin& origin);

// A numpy array over memory that `owner` keeps.
[[nodiscard]] nb::object numpy_over(const View& memory, nb::object owner);

}  // namespace attn::python
