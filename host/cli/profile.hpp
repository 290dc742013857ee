// SPDX-License-Identifier: Apache-2.0
//
// The profile of a call as a table or as JSON, and what a machine could do at best.
#pragma once

#include <attn/attention.hpp>

#include <string>
#include <vector>

#include "core/kernels/limit.hpp"
#include "host/cli/print.hpp"

namespace attn::cli {

struct Cost {
  double flops = 0, bytes = 0, seconds = 0;
};
[[nodiscard]] Cost total(const std::vector<OperatorTime>& profile);

// What an operator cannot do without; its bytes come from the level that they fit, as if the operator before had left
// them there.
[[nodiscard]] kernels::Work work_of(const OperatorTime& op);

// machine: also the least time of each operator, and what bounds it; nullptr: not measured.
[[nodiscard]] Json profile_json(const std::vector<OperatorTime>& profile,
                                const kernels::Machine* machine = nullptr);
[[nodiscard]] Table profile_table(const std::vector<OperatorTime>& profile,
                                  const kernels::Machine* machine);
// seconds: of the whole call; peak_bytes: working memory.
[[nodiscard]] std::string profile_text(const std::vector<OperatorTime>& profile, double seconds,
                                       size_t peak_bytes,
                                       const kernels::Machine* machine = nullptr);

// "FMA peak 100.0 GFLOP/s; GB/s of reads: L2 200.0, ...; of copies: ..."
[[nodiscard]] std::string machine_text(const kernels::Machine& machine);

// To six digits, for results in JSON.
[[nodiscard]] double rounded(double x);

}  // namespace attn::cli
