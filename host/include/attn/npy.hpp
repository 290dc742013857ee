// SPDX-License-Identifier: Apache-2.0
//
// Reading and writing npy files: attn::read_npy, attn::write_npy.
#pragma once

#include "core/weights/npy.hpp"  // IWYU pragma: export

namespace attn {
using weights::read_npy;
using weights::write_npy;
}  // namespace attn
