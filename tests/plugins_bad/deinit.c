/* SPDX-License-Identifier: Apache-2.0 */
/* Counts its init() and deinit() calls in the file that ATTN_FIXTURE_LOG names. */
#include <attn/sdk/abi.h>
#include <stdio.h>
#include <stdlib.h>

static void note(const char* text) {
  const char* path = getenv("ATTN_FIXTURE_LOG");
  FILE* file = path ? fopen(path, "a") : 0;
  if (!file) return;
  fputs(text, file);
  fclose(file);
}
static int32_t fixture_init(const attn_engine* engine, attn_error* error) {
  (void)engine;
  (void)error;
  note("init ");
  return ATTN_OK;
}
static void fixture_deinit(void) { note("deinit "); }
#define FIXTURE_INIT fixture_init
#define FIXTURE_DEINIT fixture_deinit
#include "minimal.h"
