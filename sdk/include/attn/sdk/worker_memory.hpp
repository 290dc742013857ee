// SPDX-License-Identifier: Apache-2.0
//
// Memory of the workers of OpCall::loop(), cut into arrays. What one worker needs is laid out by the same code twice:
// with an arena that only counts, then in each worker with one that has the memory.
//
//   struct Desk {
//     float *x, *y;
//     Desk(Arena& a, int64_t n) : x(a.take<float>(n)), y(a.take<float>(2 * n)) {}
//   };
//   const WorkerMemory memory(c, [&](Arena& a) { Desk(a, n); });
//   c.loop(rows, grain, [&](int64_t begin, int64_t end, int32_t worker) {
//     Arena arena = memory[worker];
//     const Desk desk(arena, n);
//   });
//
// Arrays begin at multiples of 64 bytes and hold anything. A layout must not touch its arrays: they are nullptr while
// it is counted.
#pragma once

#include <attn/sdk/operator.hpp>

namespace attn::sdk {

class Arena {
 public:
  // block: aligned to 64 bytes; nullptr: counts only.
  explicit Arena(void* block = nullptr) : block_(static_cast<char*>(block)) {}

  template <class T>
  T* take(int64_t n) {
    char* const p = block_ ? block_ + used_ : nullptr;
    used_ += (static_cast<size_t>(n) * sizeof(T) + 63) / 64 * 64;
    return reinterpret_cast<T*>(p);
  }
  [[nodiscard]] size_t used() const { return used_; }  // bytes

  // Bytes that a layout takes.
  template <class F>
  [[nodiscard]] static size_t measure(F&& layout) {
    Arena a;
    layout(a);
    return a.used();
  }

 private:
  char* block_;
  size_t used_ = 0;
};

class WorkerMemory {
 public:
  template <class F>
  WorkerMemory(const OpCall& c, F&& layout)
      : each_(Arena::measure(layout)),
        block_(static_cast<char*>(c.scratch(each_ * static_cast<size_t>(c.concurrency()) + 1))) {}
  // [any-thread]
  [[nodiscard]] Arena operator[](int32_t worker) const {
    return Arena(block_ + each_ * static_cast<size_t>(worker));
  }

 private:
  size_t each_;
  char* block_;
};

}  // namespace attn::sdk
