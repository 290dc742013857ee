// SPDX-License-Identifier: Apache-2.0
//
// Plugin files, threads, and what decides how calls run here, as functions of the module.
#pragma once

#include "host/python/src/hooks.hpp"

namespace attn::python {

void register_plugins(nb::module_& m);

}  // namespace attn::python
