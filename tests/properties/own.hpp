// SPDX-License-Identifier: Apache-2.0
//
// What is checked of the library's own types alone: against the oracle, and penalties by the names of their weights.
// The properties of all types are in host/check/mathematics.
#pragma once

#include "host/check/mathematics/checks.hpp"

namespace attn::properties {

using namespace check;  // NOLINT: one subject

void check_forward(Trial& t);    // against the oracle; statistics of training
void check_penalties(Trial& t);  // of regularizers

}  // namespace attn::properties
