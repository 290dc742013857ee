// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

#include "tests/oracle/parts.hpp"

namespace attn::oracle {

// A place among the scores (row of the batch, head, query, key), and the score.
struct Place {
  int64_t b = 0, h = 0, q = 0, k = 0, H = 0, Q = 0, K = 0;
  double s = 0;
};

// The score program and the mask rule of the config; tables are weights under `site`/captures, or the problem's. The run
// outlives it.
class Program {
 public:
  Program(const Run& run, const std::string& site);
  [[nodiscard]] bool has_score() const { return score_ != nullptr; }
  [[nodiscard]] double score(const Place& p) const { return score_ ? score_(p) : p.s; }
  [[nodiscard]] bool sees(const Place& p) const { return !rule_ || rule_(p); }

 private:
  std::function<double(const Place&)> score_;
  std::function<bool(const Place&)> rule_;
};

}  // namespace attn::oracle
