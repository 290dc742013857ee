// SPDX-License-Identifier: Apache-2.0
//
// Which entries of the score matrices take part in the pursuit. K is the keep mask seen as (B, H, Q, K). A token is
// absent in a head whose whole key column of K is empty; when that is true of all of them, none is. Rows that keep
// nothing along the normalised axes then keep everything, and what takes part is K among the tokens that are present.
#pragma once

#include <attn/sdk/plugin.hpp>

namespace rpc {

using namespace attn::sdk;

class Masks {
 public:
  // Refuses a mask that does not broadcast to (batch, heads, n, n), or that is constant along the normalised axes.
  static void check(const attn_view& mask, int64_t batch, int64_t heads, int64_t n,
                    std::span<const int64_t> axes);

  // mask may be nullptr: all takes part. Memory is that of the operator.
  Masks(const OpCall& c, const attn_view* mask, int64_t batch, int64_t heads, int64_t n,
        std::span<const int64_t> axes);

  // The present tokens of one head of one example, ascending, into list (n); how many.
  int64_t present(int64_t unit, int64_t* list) const;
  [[nodiscard]] bool kept(int64_t unit, int64_t i, int64_t j) const {
    return !keep_ || keep_[(unit * n_ + i) * n_ + j] != 0;
  }

 private:
  void fill(int64_t b, const bool normalised[3], uint8_t* any);

  int64_t heads_, n_;
  uint8_t *keep_ = nullptr, *present_ = nullptr;  // (B H, n, n) after the unmask; (B H, n)
};

}  // namespace rpc
