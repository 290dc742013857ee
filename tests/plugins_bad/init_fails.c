/* SPDX-License-Identifier: Apache-2.0 */
/* init() reports an error. */
#include <attn/sdk/abi.h>
#include <string.h>

static int32_t fixture_init(const attn_engine* engine, attn_error* error) {
  (void)engine;
  error->code = ATTN_UNSUPPORTED;
  strcpy(error->where, "fixture");
  strcpy(error->message, "this plugin wants a full moon");
  return ATTN_UNSUPPORTED;
}
#define FIXTURE_INIT fixture_init
#include "minimal.h"
