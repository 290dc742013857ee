// SPDX-License-Identifier: Apache-2.0
//
// How much the arrays of the engine hold, and so what the table of a plugin may declare.
#pragma once

#include <cstdint>

namespace attn::engine {

// Inputs, outputs or saved tensors of one type; outputs or saved tensors of one operator.
inline constexpr uint32_t kMaxPorts = 16;
// Inputs of one call: those of the type, then the tables that its score program has each call bring.
inline constexpr uint32_t kMaxInputs = kMaxPorts + 8;
inline constexpr uint32_t kMaxOperands = 24;    // inputs of one operator
inline constexpr uint32_t kMaxAttributes = 32;  // of one operator
inline constexpr uint32_t kMaxArguments = 32;   // of the calls of one type

}  // namespace attn::engine
