// SPDX-License-Identifier: Apache-2.0
//
// attn/convert.hpp for host/python/attn/convert.py.
#pragma once

#include "host/python/src/hooks.hpp"

namespace attn::python {

void register_convert(nb::module_& m);

}  // namespace attn::python
