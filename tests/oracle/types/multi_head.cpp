// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/types/types.hpp"

namespace attn::oracle {

void multi_head(Run& run) {
  cross_attention(run, "cross_attention/", run.need("inputs"), nullptr, true,
                  run.flag("use_bias", false));
}

}  // namespace attn::oracle
