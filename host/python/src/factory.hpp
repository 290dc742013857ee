// SPDX-License-Identifier: Apache-2.0
//
// The factory, the schemas and files of layers, as functions of the module.
#pragma once

#include "host/python/src/hooks.hpp"

namespace attn::python {

void register_factory(nb::module_& m);

}  // namespace attn::python
