// SPDX-License-Identifier: Apache-2.0
#include "host/library/loader/sealed_copy.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace attn::loader {
namespace {

// Kernels from 6.3 on want to be told that the memory may be executed; older ones do not know the flag.
constexpr unsigned kExecutable = 0x0010;

int new_memory(const std::string& path) {
  const std::string name = path.substr(path.rfind('/') + 1).substr(0, 200);
  constexpr unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  int fd = ::memfd_create(name.c_str(), flags | kExecutable);
  if (fd < 0 && errno == EINVAL) fd = ::memfd_create(name.c_str(), flags);
  return fd;
}

bool copy_all(int from, int to, uint64_t bytes) {
  while (bytes > 0) {
    const ssize_t n = ::sendfile(to, from, nullptr, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes -= static_cast<uint64_t>(n);
  }
  return true;
}

// Some systems forbid it for memory that is no file.
bool may_run(int memory) {
  void* page = ::mmap(nullptr, 1, PROT_READ | PROT_EXEC, MAP_PRIVATE, memory, 0);
  return page != MAP_FAILED && ::munmap(page, 1) == 0;
}

}  // namespace

Checked<SealedCopy> SealedCopy::make(const std::string& path, const FileIdentity& seen) {
  const Refusal changed{RefusalKind::changed, "was replaced while it was being read",
                        "a file that stays as it is while it is read", "look again"};
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  FileIdentity now;
  if (file.get() < 0 || !identify(file.get(), &now) || !(now == seen)) return changed;
  SealedCopy copy;
  copy.memory_.reset_high(Descriptor(new_memory(path)).get());
  const int memory = copy.descriptor();
  const bool copied = memory >= 0 && copy_all(file.get(), memory, seen.size);
  if (!identify(file.get(), &now) || !(now == seen)) return changed;
  constexpr int kSeals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  if (!copied || ::fcntl(memory, F_ADD_SEALS, kSeals) != 0 || !may_run(memory) ||
      ::access(copy.path().c_str(), R_OK) != 0) {
    return SealedCopy();
  }
  return copy;
}

std::string SealedCopy::path() const {
  return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(descriptor());
}

}  // namespace attn::loader
