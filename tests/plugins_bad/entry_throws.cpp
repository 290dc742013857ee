// SPDX-License-Identifier: Apache-2.0
//
// The entry function throws.
#include <attn/sdk/abi.h>

const attn_plugin* attn_plugin_v1(void) { throw 42; }
