// SPDX-License-Identifier: Apache-2.0
//
// The loops in float for one instruction set; compiled once for each.
#include "passes.hpp"

namespace attn::fnet {
namespace ATTN_KERNEL_LEVEL {

#include "passes.inl.hpp"

#if defined(__AVX512F__)
extern const Loops<float> kFloatLoops = kLoops<float, 64>;
#elif defined(__AVX2__)
extern const Loops<float> kFloatLoops = kLoops<float, 32>;
#else
extern const Loops<float> kFloatLoops = kLoops<float, 16>;
#endif

}  // namespace ATTN_KERNEL_LEVEL
}  // namespace attn::fnet
