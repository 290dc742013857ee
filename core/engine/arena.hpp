// SPDX-License-Identifier: Apache-2.0
//
// Memory of one context. An arena reserves address space once and takes real memory only as it is touched,
// so it is one block however much it grows, and a call that needs no more than an earlier one asks the system
// for nothing. Blocks are aligned to 64 bytes; large arenas sit on huge pages.
//
// Two ways to use it: blocks that are given back one by one (allocate, free), first fit with neighbours joined;
// or a stack that is emptied at once (mark, reset). Not thread-safe. Throws Failure when the reservation is
// used up or the system refuses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace attn::engine {

class Arena {
 public:
  Arena();
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  [[nodiscard]] void* allocate(size_t bytes);
  void free(void* block, size_t bytes);  // bytes as asked for
  // Forgets every block.
  void reset();

  // Stack use: what is allocated after mark() goes with rewind(). Not to be mixed with free().
  [[nodiscard]] size_t mark() const { return top_; }
  void rewind(size_t mark) { top_ = mark; }

  [[nodiscard]] size_t peak() const { return peak_; }  // bytes, since construction
  [[nodiscard]] static size_t rounded(size_t bytes) { return (bytes + 63) / 64 * 64; }

 private:
  struct Hole {
    size_t begin, end;
  };
  void commit(size_t end);

  char* base_ = nullptr;
  size_t reserved_ = 0;   // address space
  size_t committed_ = 0;  // readable and writable
  size_t top_ = 0;        // everything from here on is free
  size_t peak_ = 0;
  std::vector<Hole> holes_;  // free blocks below top_, ascending, never touching
};

}  // namespace attn::engine
