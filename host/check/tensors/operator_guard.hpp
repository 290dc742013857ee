// SPDX-License-Identifier: Apache-2.0
//
// Stands between the engine and the operators of a plugin: every run gets copies of its tensors that lie between guard
// pages, and scratch memory of the same kind; what it writes goes back to where the engine wants it. An operator that
// reads or writes past an end crashes there.
//
// One at a time in a process; operators stay as they are afterwards.
#pragma once

#include <attn/sdk/abi.h>

#include <cstddef>
#include <string>

#include "host/check/guarded.hpp"

namespace attn::check {

class OperatorGuard {
 public:
  OperatorGuard(const attn_plugin& plugin, Touching touching);
  ~OperatorGuard();
  OperatorGuard(const OperatorGuard&) = delete;
  OperatorGuard& operator=(const OperatorGuard&) = delete;

  // Elements of results that an operator leaves as they were are a problem from here on.
  void look_for_gaps();

  // Inputs and their gradients lie at strides that no dense tensor has, from here on.
  void spread();

  [[nodiscard]] size_t operators() const;     // that are watched
  [[nodiscard]] size_t calls() const;         // of forward and vjp
  [[nodiscard]] std::string problem() const;  // the first; empty: none
};

}  // namespace attn::check
