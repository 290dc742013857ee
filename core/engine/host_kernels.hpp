// SPDX-License-Identifier: Apache-2.0
//
// The kernels that plugins may call inside their operators: the border's attn_kernels, filled once with functions that
// choose the current level themselves.
#pragma once

#include <attn/sdk/abi.h>

namespace attn::engine {
extern const attn_kernels kHostKernels;
}
