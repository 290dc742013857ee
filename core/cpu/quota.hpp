// SPDX-License-Identifier: Apache-2.0
//
// How much processor time the control group of this process may use (containers, systemd: CPUQuota).
#pragma once

#include <optional>
#include <string>

namespace attn::cpu {

// In CPUs, 1.5 for example: the least of the group and of those it lies in, by cpu.max (version 2) or cpu.cfs_quota_us
// (version 1). None: no limit, or no control groups. root: what stands before /proc and /sys, for tests.
[[nodiscard]] std::optional<double> quota(const std::string& root = "");

}  // namespace attn::cpu
