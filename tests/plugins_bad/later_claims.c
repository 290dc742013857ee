/* SPDX-License-Identifier: Apache-2.0
 *
 * A plugin of a later border: its claims have a member more, and one of them is of a kind that nobody knows yet. */
#include <attn/sdk/abi.h>

typedef struct later_claim {
  attn_claim claim;
  const char* proof;
} later_claim;

static int32_t size_is_2(const attn_claim_call* call, const void* user) {
  (void)user;
  return call->values[0].u.i == 2;
}

static const later_claim causal = {.claim = {.struct_size = sizeof(later_claim),
                                             .kind = ATTN_CLAIM_CAUSAL,
                                             .condition = "size = 2",
                                             .holds = size_is_2},
                                   .proof = "by induction"};
static const later_claim unheard = {
    .claim = {.struct_size = sizeof(later_claim), .kind = 99, .subject = "everything"}};
static const attn_claim* const claims[] = {&causal.claim, &unheard.claim};
#define FIXTURE_CLAIMS claims

#include "minimal.h"
