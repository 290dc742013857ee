// SPDX-License-Identifier: Apache-2.0
//
// What a claim's functions are given, and the memory behind it.
#pragma once

#include <attn/claims.hpp>

#include <deque>
#include <vector>

#include "core/schema/validate.hpp"
#include "host/library/layer/arguments.hpp"

namespace attn {

struct ClaimCall::Impl {
  explicit Impl(const Attention& layer);  // of its config; arguments and inputs are still to be set
  [[nodiscard]] bool holds(const attn_claim& claim) const;

  const attn_type& type;
  std::string plugin;  // its file
  schema::ValidatedConfig config;
  host::CheckedArguments arguments{};
  std::deque<std::vector<int64_t>> lists{};
  std::vector<attn_shape> inputs{};
  attn_claim_call call{};
};

}  // namespace attn
