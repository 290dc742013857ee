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
constexpr size_t kSmallestReservation = size_t{1} << 30;

// Twice the memory of the machine, rounded up: more than a call could ever use.
size_t wanted_reservation() {
  const auto pages = static_cast<size_t>(std::max(1L, sysconf(_SC_PHYS_PAGES)));
  const auto page = static_cast<size_t>(std::max(4096L, sysconf(_SC_PAGESIZE)));
  size_t bytes = kSmallestReservation;
  while (bytes < 2 * pages * page) bytes *= 2;
  return bytes;
}

}  // namespace

Arena::Arena() { holes_.reserve(1024); }

Arena::~Arena() {
  if (base_) munmap(base_, reserved_);
}

void Arena::commit(size_t end) {
  if (!base_) {
    // Address space only: no memory is promised until commit() makes a part of it writable.
    for (reserved_ = wanted_reservation(); reserved_ >= kSmallestReservation; reserved_ /= 2) {
      void* p =
          mmap(nullptr, reserved_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (p != MAP_FAILED) {
        base_ = static_cast<char*>(p);
        break;
      }
    }
    if (!base_) throw Failure("no address space for working memory; raise the limit (ulimit -v)");
  }
  if (end <= committed_) return;
  if (end > reserved_)
    throw Failure("a call needs more than " + std::to_string(reserved_ >> 30) +
                  " GiB of working memory; use smaller inputs");
  // Grow by half at least, so that a slowly growing call does not ask the system every time.
  size_t to = std::max(end, committed_ + committed_ / 2);
  to = std::min(reserved_, (to + kHugePage - 1) / kHugePage * kHugePage);
  if (mprotect(base_, to, PROT_READ | PROT_WRITE) != 0) {
    to = std::min(reserved_, (end + kHugePage - 1) / kHugePage * kHugePage);
    if (mprotect(base_, to, PROT_READ | PROT_WRITE) != 0)
      throw Failure("not enough memory: a call needs " + std::to_string(end >> 20) + " MiB");
  }
  if (to > kHugePage) (void)madvise(base_, to, MADV_HUGEPAGE);  // advice: may be refused
  committed_ = to;
}

void* Arena::allocate(size_t bytes) {
  const size_t need = std::max<size_t>(64, rounded(bytes));
  if (need < bytes) throw Failure("not enough memory: a tensor is larger than the address space");
  for (auto hole = holes_.begin(); hole != holes_.end(); ++hole) {
    if (hole->end - hole->begin < need) continue;
    char* p = base_ + hole->begin;
    hole->begin += need;
    if (hole->begin == hole->end) holes_.erase(hole);
    return p;
  }
  if (!base_ || need > committed_ - top_) {
    if (need > (size_t{1} << 62))
      throw Failure("not enough memory: a tensor is larger than the address space");
    commit(top_ + need);
  }
  char* p = base_ + top_;
  top_ += need;
  peak_ = std::max(peak_, top_);
  return p;
}

void Arena::free(void* block, size_t bytes) {
  const size_t begin = static_cast<size_t>(static_cast<char*>(block) - base_);
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
  if (!holes_.empty() && holes_.back().end == top_) {
    top_ = holes_.back().begin;
    holes_.pop_back();
  }
}

void Arena::reset() {
  holes_.clear();
  top_ = 0;
}

}  // namespace attn::engine
