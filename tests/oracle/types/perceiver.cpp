// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/types/types.hpp"

namespace attn::oracle {

void perceiver(Run& run) {
  cross_attention(run, "cross_attention/", run.need("query_input"), run.input("kv_input"), false,
                  run.flag("use_bias", true));
}

}  // namespace attn::oracle
