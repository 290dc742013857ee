// SPDX-License-Identifier: Apache-2.0
//
// A program together with the extents and tables of one call: proved to stay inside its tables and inside 32 bits, and
// asked by rows and tiles. Plain; memory belongs to the caller. [any-thread]
#pragma once

#include "core/program/program.hpp"

namespace attn::program {

// A captured tensor, dense: numbers of the kind of the call, or int32.
struct Table {
  const void* data = nullptr;
  int rank = 0;
  int64_t shape[kMostAxes] = {}, stride[kMostAxes] = {};
  // Of whole numbers: the extremes of runs of kRun elements of the last axis, (shape without the last, runs), and of
  // all. known: false where only the shape is, as before a call.
  static constexpr int64_t kRun = 32;
  bool known = true;
  int64_t runs = 0;
  int32_t *low = nullptr, *high = nullptr;
  int64_t least = 0, most = 0;

  [[nodiscard]] int64_t size() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= shape[i];
    return n;
  }
  [[nodiscard]] int64_t rows() const {  // of the last axis
    return rank == 0 ? 1 : size() / (shape[rank - 1] > 0 ? shape[rank - 1] : 1);
  }
  [[nodiscard]] int64_t count_runs() const {
    return rank == 0 ? 1 : (shape[rank - 1] + kRun - 1) / kRun;
  }
  // Fills low and high, which have rows() * count_runs() elements.
  void find_extremes(int32_t* low_of_runs, int32_t* high_of_runs);
};

struct Call {
  const Program* program = nullptr;
  Code score, rest, back;   // of the program
  int64_t extents[4] = {};  // B, H, Q, K
  Table table[kMostTables];
};

// Where an expression is computed: q is a position.
struct Point {
  int64_t b, h, q, k;
};
// All points between two, ends included.
struct Box {
  int64_t b[2], h[2], q[2], k[2];
};

// A number of either kind; a truth value is 0 or 1.
template <class T>
union Slot {
  int64_t i;
  T f;
};

// Computes all steps; T: float or double, the kind of the tables. Nothing is checked: prove() came first.
template <class T>
void compute(const Steps& steps, const Call& call, const Point& at, T score, Slot<T>* slots);

// The numbers of a row that code needs.
void compute_row(const Code& code, const Call& call, int64_t b, int64_t h, int64_t q,
                 Slot<float>* slots);

// A call of a program without tables and extents yet.
[[nodiscard]] Call call_of(const Program& program);

// Programs have at most kMostSteps steps once derived and lowered.
inline constexpr size_t kMostSteps = 4 * kMostDerived;

// Whether the whole rule lets row (b, h, q) see key k.
template <class T>
[[nodiscard]] bool sees(const Call& call, const Point& at);

// Keys [begin, end) that the bounds of the rule leave of [begin, end).
struct Keys {
  int64_t begin, end;
};
[[nodiscard]] Keys bounded(const Call& call, int64_t b, int64_t h, int64_t q, Keys keys);
// At least all keys that they leave to some row of the box.
[[nodiscard]] Keys bounded(const Call& call, const Box& rows, Keys keys);

// What the rest of the rule, without bounds, says of the keys of a box.
enum class Seen : uint8_t { none, some, all };
[[nodiscard]] Seen seen(const Call& call, const Box& box);

// Throws InvalidArgument unless every index of the texts lies in its table, every divisor is at least 1 and every whole
// number within 32 bits, for all points of the box. What hangs on tables that are not known yet is not looked at.
void prove(const Call& call, const Box& all);

}  // namespace attn::program
