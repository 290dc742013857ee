// SPDX-License-Identifier: Apache-2.0
#include "host/check/guarded.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "core/error/error.hpp"

namespace attn::check {
namespace {

size_t page() { return static_cast<size_t>(::sysconf(_SC_PAGESIZE)); }
size_t rounded(size_t n, size_t to) { return (n + to - 1) / to * to; }

}  // namespace

GuardedMemory::GuardedMemory(size_t bytes, Touching touching, size_t alignment)
    : mapped_(rounded(bytes, page()) + 2 * page()), bytes_(bytes) {
  pages_ = ::mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages_ == MAP_FAILED) throw Failure("no memory between guard pages");
  char* inner = static_cast<char*>(pages_) + page();
  const size_t usable = mapped_ - 2 * page();
  if (usable && ::mprotect(inner, usable, PROT_READ | PROT_WRITE) != 0)
    throw Failure("no memory between guard pages");
  data_ = touching == Touching::begin ? inner : inner + (usable - rounded(bytes, alignment));
}

GuardedMemory::GuardedMemory(GuardedMemory&& other) noexcept
    : pages_(std::exchange(other.pages_, nullptr)),
      mapped_(other.mapped_),
      bytes_(other.bytes_),
      data_(other.data_) {}

GuardedMemory::~GuardedMemory() {
  if (pages_) ::munmap(pages_, mapped_);
}

void GuardedMemory::make_read_only() {
  if (mapped_ > 2 * page())
    ::mprotect(static_cast<char*>(pages_) + page(), mapped_ - 2 * page(), PROT_READ);
}

GuardedTensor::GuardedTensor(const ConstView& from, Touching touching)
    : memory_(static_cast<size_t>(from.size()) * dtype_size(from.dtype), touching),
      view_(memory_.data(), from.dtype, from.shape) {
  const Array dense = Array::copy_of(from);
  if (dense.bytes()) std::memcpy(memory_.data(), dense.raw(), memory_.size());
}

}  // namespace attn::check
