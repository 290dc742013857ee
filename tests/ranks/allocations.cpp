// SPDX-License-Identifier: Apache-2.0
#include "tests/ranks/allocations.hpp"

#include <algorithm>
#include <cstdlib>
#include <new>

namespace {

thread_local int64_t t_left = -1;

void* allocate(size_t n, size_t alignment) {
  if (t_left == 0) throw std::bad_alloc();
  if (t_left > 0) --t_left;
  n = std::max<size_t>(n, 1);
  void* p = alignment ? std::aligned_alloc(alignment, (n + alignment - 1) / alignment * alignment)
                      : std::malloc(n);
  if (!p) throw std::bad_alloc();
  return p;
}

}  // namespace

int64_t& attn::test::allocations_left() { return t_left; }

void* operator new(size_t n) { return allocate(n, 0); }
void* operator new(size_t n, std::align_val_t a) { return allocate(n, static_cast<size_t>(a)); }
// The library's own would come from elsewhere under AddressSanitizer.
void* operator new(size_t n, const std::nothrow_t&) noexcept try {
  return allocate(n, 0);
} catch (const std::bad_alloc&) {
  return nullptr;
}
void* operator new(size_t n, std::align_val_t a, const std::nothrow_t&) noexcept try {
  return allocate(n, static_cast<size_t>(a));
} catch (const std::bad_alloc&) {
  return nullptr;
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t, const std::nothrow_t&) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, size_t, std::align_val_t) noexcept { std::free(p); }
