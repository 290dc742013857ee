// SPDX-License-Identifier: Apache-2.0
//
// Memory of one context: regions of address space that take real memory only as it is touched. The first region is
// small; a call that needs more gets others, and the next reset() makes one of them all, so that a call that needs no
// more than an earlier one asks the system for nothing. Blocks are aligned to 64 bytes and never move; large regions
// sit on huge pages.
//
// Two ways to use it: blocks that are given back one by one (allocate, free), first fit with neighbours joined;
// or a stack that is emptied at once (mark, rewind). Not thread-safe. Throws Failure when all regions would exceed
// twice the memory of the machine or the system refuses.
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
  void rewind(size_t mark);

  [[nodiscard]] size_t peak() const { return peak_; }  // bytes, since construction
  [[nodiscard]] static size_t rounded(size_t bytes) { return (bytes + 63) / 64 * 64; }

 private:
  // Places are counted through all regions, with a gap between two of them: [begin, begin + size) is this one.
  struct Region {
    char* base;
    size_t begin, size;
    size_t committed;  // bytes that are readable and writable
    size_t highest;    // bytes in use at most
    size_t left_at;    // place where the next region took over
    [[nodiscard]] size_t end() const { return begin + size; }
  };
  struct Hole {
    size_t begin, end;
  };
  [[nodiscard]] char* at(size_t place) const;
  [[nodiscard]] size_t place_of(const void* block) const;
  // Moves top_ to a region with room for `need`.
  void advance(size_t need);
  void add_region(size_t need);
  static void commit(Region& region, size_t bytes);
  void retreat();

  std::vector<Region> regions_;
  size_t current_ = 0;     // region of top_
  size_t first_size_ = 0;  // of the first region, when it is made
  size_t top_ = 0;         // everything from here on is free
  size_t peak_ = 0;
  std::vector<Hole> holes_;  // free blocks below top_, ascending, never touching
};

}  // namespace attn::engine
