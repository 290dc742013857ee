// SPDX-License-Identifier: Apache-2.0
#include "core/cpu/quota.hpp"

namespace attn::cpu {

std::optional<double> quota(const std::string&) { return std::nullopt; }

}  // namespace attn::cpu
