// SPDX-License-Identifier: Apache-2.0
//
// Pictures of calls, for attn.plot.
#pragma once

#include <nanobind/nanobind.h>

namespace attn::python {

void register_picture(nanobind::module_& m);

}  // namespace attn::python
