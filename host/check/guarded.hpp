// SPDX-License-Identifier: Apache-2.0
//
// Memory between two pages that nobody may touch: what reads or writes past either end of it crashes at once.
#pragma once

#include <attn/tensor.hpp>

#include <cstddef>

namespace attn::check {

// Which end touches its page: the memory ends there, or begins there.
enum class Touching { end, begin };

class GuardedMemory {
 public:
  // alignment: of the first byte; with Touching::end up to alignment - 1 bytes lie between the end and the page.
  explicit GuardedMemory(size_t bytes, Touching touching = Touching::end, size_t alignment = 1);
  ~GuardedMemory();
  GuardedMemory(GuardedMemory&& other) noexcept;
  GuardedMemory& operator=(GuardedMemory&&) = delete;

  [[nodiscard]] void* data() const { return data_; }
  [[nodiscard]] size_t size() const { return bytes_; }
  // From now on a write crashes, too.
  void make_read_only();

 private:
  void* pages_ = nullptr;
  size_t mapped_ = 0, bytes_ = 0;
  void* data_ = nullptr;
};

// A dense copy of a tensor in such memory.
class GuardedTensor {
 public:
  explicit GuardedTensor(const ConstView& from, Touching touching = Touching::end);
  [[nodiscard]] View view() const { return view_; }
  void make_read_only() { memory_.make_read_only(); }

 private:
  GuardedMemory memory_;
  View view_;
};

}  // namespace attn::check
