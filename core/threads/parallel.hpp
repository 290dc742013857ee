// SPDX-License-Identifier: Apache-2.0
//
// What operators and kernels run on: a parallel loop and scratch memory, for the duration of one
// operator.
//
// A loop over n items is cut into pieces of `grain`; workers take pieces from a shared counter, so
// a slow core does not hold up the rest. Which worker takes which piece is not determined: a body
// may use `worker` to choose scratch memory and for nothing else. [call-thread]
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace attn {

struct Notes;  // core/threads/notes.hpp

class Parallel {
 public:
  using Body = void (*)(void* user, int64_t begin, int64_t end, int worker);

  virtual ~Parallel() = default;

  // Upper bound of `worker` + 1.
  [[nodiscard]] virtual int concurrency() const noexcept = 0;
  // Runs body over [0, n). A loop inside a loop runs on the calling thread. body must not throw.
  virtual void run(int64_t n, int64_t grain, Body body, void* user) = 0;
  // Aligned to 64 bytes, uninitialised, valid until the operator returns; throws Failure when there
  // is none. Not to be called from inside a body.
  [[nodiscard]] virtual void* scratch(size_t bytes) = 0;
  // Scratch taken between mark() and rewind() is given back by the latter, for operators that run kernels many
  // times. By default all of it is kept until the operator returns.
  [[nodiscard]] virtual size_t mark() const { return 0; }
  virtual void rewind(size_t) {}

  // Products may round their operands to bfloat16: the caller asks for it, and this is no pass that is recorded.
  bool bfloat16 = false;
  // Where kernels tell which of their ways they take; nullptr: nobody asks. Not for bodies.
  Notes* notes = nullptr;

  // body(begin, end, worker)
  template <class F>
  void loop(int64_t n, int64_t grain, F&& body) {
    using G = std::remove_reference_t<F>;
    run(
        n, grain,
        [](void* user, int64_t begin, int64_t end, int worker) {
          (*static_cast<G*>(user))(begin, end, worker);
        },
        const_cast<void*>(static_cast<const void*>(&body)));
  }
  template <class T>
  [[nodiscard]] T* scratch_array(size_t n) {
    return static_cast<T*>(scratch(n * sizeof(T)));
  }
};

}  // namespace attn
