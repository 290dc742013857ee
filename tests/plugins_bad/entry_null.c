/* SPDX-License-Identifier: Apache-2.0 */
/* The entry function has nothing to give. */
#include <attn/sdk/abi.h>

const attn_plugin* attn_plugin_v1(void) { return 0; }
