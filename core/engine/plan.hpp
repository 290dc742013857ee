// SPDX-License-Identifier: Apache-2.0
//
// How a call cuts its work, where several ways give the same results but for rounding. 0: automatic, by sizes and caches;
// `attn tune` measures whether another choice is faster (host/docs/speed.md). Results of one plan are the same bits for any
// number of threads.
#pragma once

#include <cstdint>

namespace attn {

struct Plan {
  // Rows of the batch that go through all operators at a time, where they may; those of the batch or more: all.
  int64_t slice_rows = 0;

  bool operator==(const Plan&) const = default;
};

}  // namespace attn
