// SPDX-License-Identifier: Apache-2.0
//
// How calls cut their work, and whether they take what `attn tune` measured on this machine (host/docs/speed.md). Off by
// default. Results differ from those of the automatic plan by rounding alone, and are the same bits for one plan and any
// number of threads. [one thread per context]
#pragma once

#include "attention.hpp"
#include "core/engine/plan.hpp"

namespace attn {

// For the next calls of ctx, and their backward passes. Calls of several ranks, and deterministic ones, stay automatic.
void use_plan(Context& ctx, const Plan& plan);
// Instead of it the plan that is remembered for such a call, where one is. The file is read once a process.
void use_tuned(Context& ctx, bool on);

// Of the last call, and whether it is one that is remembered.
[[nodiscard]] Plan plan_of(const Context& ctx);
[[nodiscard]] bool is_tuned(const Context& ctx);

}  // namespace attn
