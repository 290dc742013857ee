// SPDX-License-Identifier: Apache-2.0
//
// Rotary position embedding (Su et al. 2021, arXiv 2104.09864, eq. 15 and 34): pairs of components of a head turn by
// position * omega_i, i = 0 .. r/2 - 1, and are multiplied by an attention factor. A rule says which frequencies omega
// and which factor; cos and sin below have it in them. All is computed in double.
//
// Tables grow on demand, are shared by the whole process and never change or go away once published; finding one that
// is there takes no lock and allocates nothing. [any-thread]
#pragma once

#include <cstdint>
#include <span>

#include "core/kernels/rope.hpp"
#include "core/kinds/rotary.hpp"

namespace attn::kernels {

struct RopeRule {
  double theta = 10000;
  int64_t r = 0;  // components that turn, an even number
  RopeScaling scaling = RopeScaling::none;
  double factor = 1,
         original = 0;   // how many times longer than the original_max_position_embeddings
  double attention = 1;  // multiplies cos and sin
  double fast = 0,
         slow = 0;       // yarn, llama3: from so many turns on as before, up to so many divided
  bool truncate = true;  // yarn: whole numbers of pairs between them
  std::span<const double> divisors{},
      long_divisors{};  // longrope, r/2 each: of short and of long calls
  // Pairs by the axis of their positions: sections[a] pairs turn by axis a; empty: all by one.
  std::span<const int64_t> sections{};
  RopeSections arrangement = RopeSections::blocks;

  // How many axes; which one pair i turns by.
  [[nodiscard]] int64_t axes() const {
    return sections.empty() ? 1 : static_cast<int64_t>(sections.size());
  }
  [[nodiscard]] int64_t axis_of(int64_t pair) const;
  // The rule of a call whose positions are below `positions`, without scaling by length.
  [[nodiscard]] RopeRule of_call(int64_t positions) const;
  // Whether of_call() is one of a few for all calls, so that tables of it are worth keeping.
  [[nodiscard]] bool repeats(int64_t positions) const {
    return scaling != RopeScaling::dynamic || static_cast<double>(positions) <= original;
  }
};

// omega_i of a rule without scaling by length, i = 0 .. r/2 - 1.
void rope_frequencies(const RopeRule& rule, double* omega);

template <class T>
struct RotaryTable {
  int64_t positions;
  const T* cos;
  const T* sin;
};

inline constexpr int64_t kMostRotaryPositions = int64_t{1} << 20;
inline constexpr int64_t kMostRotaryEntries = int64_t{1} << 26;

// cos and sin (positions, r/2) of a rule without scaling by length, for 0 .. at least `positions` - 1. nullptr: too long
// to keep (kMostRotaryPositions); use rotary_angles. Throws std::bad_alloc.
template <class T>
[[nodiscard]] const RotaryTable<T>* rotary_table(const RopeRule& rule, int64_t positions);

// The same numbers of one position, r/2 each, for frequencies that were computed before.
template <class T>
void rotary_angles(const RopeRule& rule, const double* omega, int64_t position, T* cos, T* sin);

}  // namespace attn::kernels
