// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace arrays {

// y += factor * x over n floats.
using AddScaled = void (*)(long n, float factor, const float* x, float* y);

namespace sse2 {
void add_scaled(long n, float factor, const float* x, float* y);
}
namespace avx2 {
void add_scaled(long n, float factor, const float* x, float* y);
}
namespace avx512 {
void add_scaled(long n, float factor, const float* x, float* y);
}

}  // namespace arrays
