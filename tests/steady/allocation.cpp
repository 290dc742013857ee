// SPDX-License-Identifier: Apache-2.0
//
// Counts every request for memory of the whole process: this program's malloc, operator new and mmap are the
// ones that libattn.so is bound to.
#include "tests/steady/allocation.hpp"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>

namespace {
std::atomic<long> requests{0};
}

long allocation_requests() { return requests.load(); }

extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);

void* malloc(size_t n) {
  ++requests;
  return __libc_malloc(n);
}
void* calloc(size_t n, size_t m) {
  ++requests;
  return __libc_calloc(n, m);
}
void* realloc(void* p, size_t n) {
  ++requests;
  return __libc_realloc(p, n);
}
void* aligned_alloc(size_t alignment, size_t n) {
  ++requests;
  return __libc_memalign(alignment, n);
}
void* memalign(size_t alignment, size_t n) {
  ++requests;
  return __libc_memalign(alignment, n);
}
int posix_memalign(void** p, size_t alignment, size_t n) {
  ++requests;
  *p = __libc_memalign(alignment, n);
  return *p ? 0 : ENOMEM;
}
void* mmap(void* at, size_t n, int protection, int flags, int file, off_t offset) noexcept {
  ++requests;
  return reinterpret_cast<void*>(syscall(SYS_mmap, at, n, protection, flags, file, offset));
}
}
