// SPDX-License-Identifier: Apache-2.0
//
// Weights of a layer as arrays over the layer's own memory.
#pragma once

#include "host/python/src/layer.hpp"

namespace attn::python {

void register_weights(nb::class_<PyLayer>& layer);

}  // namespace attn::python
