// SPDX-License-Identifier: Apache-2.0
#include "core/engine/arena.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "core/error/error.hpp"

namespace attn::engine {

namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kFirstRegion = size_t{256} << 20;
constexpr size_t kGap =
    64;  // between the places of two regions, so that blocks of both never touch

size_t whole_pages(size_t bytes) { return (bytes + kHugePage - 1) / kHugePage * kHugePage; }

// Twice the memory of the machine: more than a call could ever use.
size_t most_bytes() {
  const auto pages = static_cast<size_t>(std::max(1L, sysconf(_SC_PHYS_PAGES)));
  const auto page = static_cast<size_t>(std::max(4096L, sysconf(_SC_PAGESIZE)));
  return std::max(kFirstRegion, whole_pages(2 * pages * page));
}

}  // namespace

Arena::Arena() : first_size_(kFirstRegion) {
  regions_.reserve(32);
  holes_.reserve(1024);
}

Arena::~Arena() {
  for (const Region& r : regions_) munmap(r.base, r.size);
}

char* Arena::at(size_t place) const {
  size_t i = current_;
  while (place < regions_[i].begin) --i;
  return regions_[i].base + (place - regions_[i].begin);
}

size_t Arena::place_of(const void* block) const {
  const auto* p = static_cast<const char*>(block);
  size_t i = current_;
  while (p < regions_[i].base || p >= regions_[i].base + regions_[i].size) --i;
  return regions_[i].begin + static_cast<size_t>(p - regions_[i].base);
}

// Address space only: no memory is promised until commit() makes a part of it writable.
void Arena::add_region(size_t need) {
  size_t used = 0;
  for (const Region& r : regions_) used += r.size;
  const size_t most = most_bytes(), least = whole_pages(need);
  if (need > most || used + least > most)
    throw Failure("a call needs more than " + std::to_string(most >> 30) +
                  " GiB of working memory; use smaller inputs");
  size_t size = regions_.empty() ? first_size_ : 2 * regions_.back().size;
  size = std::min(std::max(size, least), most - used);
  for (;; size = std::max(size / 2, least)) {
    void* p = mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p != MAP_FAILED) {
      const size_t begin = regions_.empty() ? 0 : regions_.back().end() + kGap;
      regions_.push_back({static_cast<char*>(p), begin, size, 0, 0, begin});
      return;
    }
    if (size == least)
      throw Failure("no address space for working memory; raise the limit (ulimit -v)");
  }
}

void Arena::advance(size_t need) {
  if (regions_.empty()) {
    add_region(need);
    return;
  }
  for (size_t next = current_; regions_[next].end() - std::max(top_, regions_[next].begin) < need;)
    if (++next == regions_.size()) {
      add_region(need);
      break;
    }
  while (regions_[current_].end() - top_ < need) {
    regions_[current_].left_at = top_;
    top_ = regions_[++current_].begin;
  }
}

void Arena::commit(Region& r, size_t bytes) {
  // Grow by half at least, so that a slowly growing call does not ask the system every time.
  size_t to = std::min(r.size, whole_pages(std::max(bytes, r.committed + r.committed / 2)));
  if (mprotect(r.base, to, PROT_READ | PROT_WRITE) != 0) {
    to = std::min(r.size, whole_pages(bytes));
    if (mprotect(r.base, to, PROT_READ | PROT_WRITE) != 0)
      throw Failure("not enough memory: a call needs " + std::to_string(bytes >> 20) + " MiB");
  }
  if (to > kHugePage) (void)madvise(r.base, to, MADV_HUGEPAGE);  // advice: may be refused
  r.committed = to;
}

void* Arena::allocate(size_t bytes) {
  const size_t need = std::max<size_t>(64, rounded(bytes));
  if (need < bytes || need > (size_t{1} << 62))
    throw Failure("not enough memory: a tensor is larger than the address space");
  for (auto hole = holes_.begin(); hole != holes_.end(); ++hole) {
    if (hole->end - hole->begin < need) continue;
    char* p = at(hole->begin);
    hole->begin += need;
    if (hole->begin == hole->end) holes_.erase(hole);
    return p;
  }
  if (regions_.empty() || regions_[current_].end() - top_ < need) advance(need);
  Region& r = regions_[current_];
  const size_t begin = top_ - r.begin, end = begin + need;
  if (end > r.committed) commit(r, end);
  top_ += need;
  if (end > r.highest) {
    r.highest = end;
    size_t used = 0;
    for (const Region& x : regions_) used += x.highest;
    peak_ = std::max(peak_, used);
  }
  return r.base + begin;
}

void Arena::free(void* block, size_t bytes) {
  const size_t begin = place_of(block);
  const size_t end = begin + std::max<size_t>(64, rounded(bytes));
  auto next = std::lower_bound(holes_.begin(), holes_.end(), begin,
                               [](const Hole& h, size_t at) { return h.begin < at; });
  const bool joins_next = next != holes_.end() && next->begin == end;
  const bool joins_previous = next != holes_.begin() && std::prev(next)->end == begin;
  if (joins_previous && joins_next) {
    std::prev(next)->end = next->end;
    holes_.erase(next);
  } else if (joins_previous) {
    std::prev(next)->end = end;
  } else if (joins_next) {
    next->begin = begin;
  } else {
    holes_.insert(next, {begin, end});
  }
  retreat();
}

// Moves top_ to the end of the last block.
void Arena::retreat() {
  for (;;) {
    if (!holes_.empty() && holes_.back().end == top_) {
      top_ = holes_.back().begin;
      holes_.pop_back();
    } else if (current_ > 0 && top_ == regions_[current_].begin) {
      top_ = regions_[--current_].left_at;
    } else {
      return;
    }
  }
}

void Arena::rewind(size_t mark) {
  if (mark == 0) return reset();
  top_ = mark;
  while (top_ < regions_[current_].begin) --current_;
}

void Arena::reset() {
  holes_.clear();
  top_ = current_ = 0;
  if (regions_.size() < 2) return;
  first_size_ = 0;
  for (const Region& r : regions_) {
    first_size_ += r.size;
    munmap(r.base, r.size);
  }
  regions_.clear();
}

}  // namespace attn::engine
