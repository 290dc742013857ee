// SPDX-License-Identifier: Apache-2.0
//
// What a weight or an output is charged for: a penalty chosen by name, with its options, as plain
// data.
//
// Written by the schema (which checks names, keys and ranges), read by
// core/weights/regularizers.hpp. Each kind reads only the members named beside it. Plain values, no
// ownership. [any-thread]
#pragma once

namespace attn::schema {

enum class RegularizerKind {
  kNone,       // nothing: penalty 0
  kL1,         // l1
  kL2,         // l2
  kL1L2,       // l1, l2
  kOrthogonal  // factor, mode; rank 2 only
};

enum class OrthogonalMode { kRows, kColumns };

// The factors are finite; a user gives them >= 0, but penalties that the library itself attaches may
// reward (the slope of threshmax: l2 = -1e-4).
struct RegularizerSpec {
  RegularizerKind kind = RegularizerKind::kNone;
  double l1 = 0.01;
  double l2 = 0.01;
  double factor = 0.01;
  OrthogonalMode mode = OrthogonalMode::kRows;
};

}  // namespace attn::schema
