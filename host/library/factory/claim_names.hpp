// SPDX-License-Identifier: Apache-2.0
//
// Names of the kinds of claims that this library knows.
#pragma once

#include <attn/sdk/abi.h>

#include <string_view>

namespace attn::host {

inline constexpr std::string_view kClaimNames[] = {"",
                                                   "batch_independent",
                                                   "causal",
                                                   "reaches",
                                                   "mask_respected",
                                                   "mask_neutral",
                                                   "equivariant",
                                                   "invariant",
                                                   "position_sensitive",
                                                   "decode_equals_prefill",
                                                   "inert",
                                                   "linear",
                                                   "homogeneous",
                                                   "deterministic"};
static_assert(std::size(kClaimNames) == ATTN_CLAIM_DETERMINISTIC + 1);

// Empty: a kind of a later border.
constexpr std::string_view claim_name(uint32_t kind) {
  return kind < std::size(kClaimNames) ? kClaimNames[kind] : std::string_view();
}

}  // namespace attn::host
