// SPDX-License-Identifier: Apache-2.0
//
// Rotary position embedding (Su et al. 2021, arXiv 2104.09864, eq. 15 and 34) of interleaved pairs: pair
// (x[2i], x[2i+1]) of position m turns by the angle m * theta^(-2i/r), i = 0 .. r/2 - 1.
//
// rope_table<T> gives cos and sin of these angles, (positions, r/2) each, for positions 0 .. at least
// `positions` - 1. Angles are computed in double. Tables grow on demand, are shared by the whole
// process and never change or go away once published; finding one that is there takes no lock and
// allocates nothing. nullptr: too long to keep (kMostPositions); use rope_angles. Throws
// std::bad_alloc. [any-thread]
#pragma once

#include <cstdint>

namespace attn::kernels {

template <class T>
struct RopeTable {
  int64_t positions;
  const T* cos;
  const T* sin;
};

inline constexpr int64_t kMostPositions = int64_t{1} << 20;
inline constexpr int64_t kMostRopeEntries = int64_t{1} << 26;

template <class T>
[[nodiscard]] const RopeTable<T>* rope_table(double theta, int64_t r, int64_t positions);

// The same numbers for positions first .. first + n - 1, into (n, r/2) arrays.
template <class T>
void rope_angles(double theta, int64_t r, int64_t first, int64_t n, T* cos, T* sin);

}  // namespace attn::kernels
