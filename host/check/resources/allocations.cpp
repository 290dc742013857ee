// SPDX-License-Identifier: Apache-2.0
#include "host/check/resources/allocations.hpp"

#include <dlfcn.h>
#include <link.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>

namespace attn::check {
namespace {

std::atomic<long> requests{0};
std::atomic<void*> last_caller{nullptr};

void count(void* caller) {
  requests.fetch_add(1, std::memory_order_relaxed);
  last_caller.store(caller, std::memory_order_relaxed);
}

void* counted_malloc(size_t n) {
  count(__builtin_return_address(0));
  return std::malloc(n);
}
void* counted_calloc(size_t n, size_t m) {
  count(__builtin_return_address(0));
  return std::calloc(n, m);
}
void* counted_realloc(void* p, size_t n) {
  count(__builtin_return_address(0));
  return std::realloc(p, n);
}
void* counted_aligned_alloc(size_t alignment, size_t n) {
  count(__builtin_return_address(0));
  return ::memalign(alignment, n);
}
int counted_posix_memalign(void** p, size_t alignment, size_t n) {
  count(__builtin_return_address(0));
  return ::posix_memalign(p, alignment, n);
}
void* counted_mmap(void* at, size_t n, int protection, int flags, int file, off_t offset) {
  count(__builtin_return_address(0));
  return ::mmap(at, n, protection, flags, file, offset);
}

struct Replacement {
  const char* name;
  void* function;
};
const Replacement kReplacements[] = {
    {"malloc", reinterpret_cast<void*>(counted_malloc)},
    {"calloc", reinterpret_cast<void*>(counted_calloc)},
    {"realloc", reinterpret_cast<void*>(counted_realloc)},
    {"aligned_alloc", reinterpret_cast<void*>(counted_aligned_alloc)},
    {"memalign", reinterpret_cast<void*>(counted_aligned_alloc)},
    {"posix_memalign", reinterpret_cast<void*>(counted_posix_memalign)},
    {"mmap", reinterpret_cast<void*>(counted_mmap)},
    {"mmap64", reinterpret_cast<void*>(counted_mmap)},
};

#if defined(__x86_64__)
bool is_import(uint64_t type) { return type == R_X86_64_JUMP_SLOT || type == R_X86_64_GLOB_DAT; }
#elif defined(__aarch64__)
bool is_import(uint64_t type) { return type == R_AARCH64_JUMP_SLOT || type == R_AARCH64_GLOB_DAT; }
#else
bool is_import(uint64_t) { return false; }
#endif

void replace_in(const ElfW(Rela) * table, size_t bytes, const ElfW(Sym) * symbols,
                const char* strings, ElfW(Addr) base) {
  for (size_t i = 0; i < bytes / sizeof(ElfW(Rela)); ++i) {
    if (!is_import(ELF64_R_TYPE(table[i].r_info))) continue;
    const char* name = strings + symbols[ELF64_R_SYM(table[i].r_info)].st_name;
    for (const Replacement& r : kReplacements) {
      if (std::strcmp(name, r.name) != 0) continue;
      auto* const slot = reinterpret_cast<void**>(base + table[i].r_offset);
      const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
      const uintptr_t begin = reinterpret_cast<uintptr_t>(slot) / page * page;
      if (::mprotect(reinterpret_cast<void*>(begin), page, PROT_READ | PROT_WRITE) == 0)
        *slot = r.function;
    }
  }
}

int replace_in_library(dl_phdr_info* info, size_t, void*) {
  const std::string name = info->dlpi_name ? info->dlpi_name : "";
  // The program itself has these functions; the C library and the linker are what they lead to.
  if (name.empty() || name.find("/libc.so") != std::string::npos ||
      name.find("/ld-linux") != std::string::npos || name.find("vdso") != std::string::npos)
    return 0;
  const ElfW(Dyn)* dynamic = nullptr;
  for (int i = 0; i < info->dlpi_phnum; ++i)
    if (info->dlpi_phdr[i].p_type == PT_DYNAMIC)
      dynamic = reinterpret_cast<const ElfW(Dyn)*>(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
  const ElfW(Rela)* plain = nullptr, *jumps = nullptr;
  size_t plain_bytes = 0, jump_bytes = 0;
  const ElfW(Sym)* symbols = nullptr;
  const char* strings = nullptr;
  for (; dynamic && dynamic->d_tag != DT_NULL; ++dynamic) {
    const ElfW(Addr) at = dynamic->d_un.d_ptr;
    switch (dynamic->d_tag) {
      case DT_RELA:
        plain = reinterpret_cast<const ElfW(Rela)*>(at);
        break;
      case DT_RELASZ:
        plain_bytes = dynamic->d_un.d_val;
        break;
      case DT_JMPREL:
        jumps = reinterpret_cast<const ElfW(Rela)*>(at);
        break;
      case DT_PLTRELSZ:
        jump_bytes = dynamic->d_un.d_val;
        break;
      case DT_SYMTAB:
        symbols = reinterpret_cast<const ElfW(Sym)*>(at);
        break;
      case DT_STRTAB:
        strings = reinterpret_cast<const char*>(at);
        break;
      default:
        break;
    }
  }
  if (!symbols || !strings) return 0;
  if (plain) replace_in(plain, plain_bytes, symbols, strings, info->dlpi_addr);
  if (jumps) replace_in(jumps, jump_bytes, symbols, strings, info->dlpi_addr);
  return 0;
}

}  // namespace

void watch_allocations() {
  ::dl_iterate_phdr(replace_in_library, nullptr);
  requests = 0;
}

long allocations() { return requests.load(); }

std::string last_allocator() {
  Dl_info info{};
  if (!::dladdr(last_caller.load(), &info) || !info.dli_fname) return "a library";
  const char* slash = std::strrchr(info.dli_fname, '/');
  return slash ? slash + 1 : info.dli_fname;
}

}  // namespace attn::check
