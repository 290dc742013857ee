// SPDX-License-Identifier: Apache-2.0
//
// Shape, View, ConstView, Array and the element kinds: the tensors that go into a layer and come
// out.
#pragma once

#include "core/tensor/array.hpp"  // IWYU pragma: export
