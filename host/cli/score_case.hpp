// SPDX-License-Identifier: Apache-2.0
//
// The plain operator of attention under a score program and a mask rule, for golden cases of the formats
// attn-score-golden-1 and refused.json (tests/goldens/score/README.md has both).
#pragma once

#include "host/cli/verify.hpp"

namespace attn::cli {

// Whether a file is of the format attn-score-golden-1.
[[nodiscard]] bool is_score_case(const SafetensorsFile& file);

void verify_score(const std::string& path, const VerifyOptions& options, VerifyReport& report);
// refused.json: programs that must be refused, at the stage that each names.
void verify_refused(const std::string& path, VerifyReport& report);

}  // namespace attn::cli
