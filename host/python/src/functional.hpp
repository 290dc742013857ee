// SPDX-License-Identifier: Apache-2.0
//
// The plain functions of attn/functional.hpp for Python: arrays of any package in, without a copy, results as arrays of
// the package that `query` (`input`, `dy`) is of. They run without the GIL.
//
//   scaled_dot_product_attention(arguments) -> results in their order, a tuple where there are several
//   scaled_dot_product_attention_backward(arguments, wanted) -> {input: gradient}
//   rotary_embedding(arguments), rotary_embedding_backward(arguments) -> result
//
// arguments: a dict with every argument of the Python function. wanted: names of inputs; None: all that are given and
// have a gradient. An argument of the wrong Python type throws nb::type_error, every other fault InvalidArgument.
#pragma once

#include "host/python/src/hooks.hpp"

namespace attn::python {

void register_functional(nb::module_& m);

}  // namespace attn::python
