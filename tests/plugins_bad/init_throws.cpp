// SPDX-License-Identifier: Apache-2.0
//
// init() lets an exception out, which no plugin may do.
#include <attn/sdk/abi.h>

#include <stdexcept>

extern "C" int32_t fixture_init(const attn_engine*, attn_error*) {
  throw std::runtime_error("thrown by init");
}
