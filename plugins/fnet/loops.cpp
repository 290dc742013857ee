// SPDX-License-Identifier: Apache-2.0
//
// Which loops run: those of the CPU's level in float, scalar ones in double and at the level "reference".
#include <cstring>

#include "kernels/passes.hpp"

namespace attn::fnet {
namespace {

#include "kernels/passes.inl.hpp"

}  // namespace

namespace sse2 {
extern const Loops<float> kFloatLoops;
}
namespace avx2 {
extern const Loops<float> kFloatLoops;
}
namespace avx512 {
extern const Loops<float> kFloatLoops;
}

template <>
const Loops<float>& loops<float>(const char* level) {
  if (std::strcmp(level, "avx512") == 0) return avx512::kFloatLoops;
  if (std::strcmp(level, "avx2") == 0) return avx2::kFloatLoops;
  if (std::strcmp(level, "sse2") == 0) return sse2::kFloatLoops;
  return kLoops<float, 4>;
}
template <>
const Loops<double>& loops<double>(const char*) {
  return kLoops<double, 8>;
}

}  // namespace attn::fnet
