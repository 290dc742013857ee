/* SPDX-License-Identifier: Apache-2.0 */
/* init() is that of init_throws.cpp. */
#include <attn/sdk/abi.h>

int32_t fixture_init(const attn_engine* engine, attn_error* error);
#define FIXTURE_INIT fixture_init
#include "minimal.h"
