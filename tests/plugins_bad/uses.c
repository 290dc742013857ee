/* SPDX-License-Identifier: Apache-2.0 */
/* Uses operators: FIXTURE_FIRST and FIXTURE_SECOND, with at least FIXTURE_ATTRS attributes. */
#include <attn/sdk/abi.h>

#ifndef FIXTURE_ATTRS
#define FIXTURE_ATTRS 0
#endif
static const attn_op_ref *first, *second;
static const attn_op_use use_first = {.struct_size = sizeof(attn_op_use),
                                      .version = 1,
                                      .min_attrs = FIXTURE_ATTRS,
                                      .name = FIXTURE_FIRST,
                                      .slot = &first};
static const attn_op_use use_second = {
    .struct_size = sizeof(attn_op_use), .version = 7, .name = FIXTURE_SECOND, .slot = &second};
static const attn_op_use* const uses[] = {&use_first, &use_second};
#define FIXTURE_USES uses

/* Both slots must be filled before this runs. */
static int32_t fixture_init(const attn_engine* engine, attn_error* error) {
  (void)engine;
  (void)error;
  return first != 0 && second != 0 ? ATTN_OK : ATTN_INTERNAL;
}
#define FIXTURE_INIT fixture_init
#include "minimal.h"
