// SPDX-License-Identifier: Apache-2.0
//
// Opening files that people name: configurations, mappings, lists of workloads.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <string>

namespace attn::config {

using OpenFile = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

// For reading; null and errno when it cannot be opened. Pipes are welcome, as in `attn validate <(...)`, but a
// named one without a writer reads as empty instead of blocking.
inline OpenFile open_file(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (descriptor < 0) return {nullptr, &std::fclose};
  const int flags = ::fcntl(descriptor, F_GETFL);
  std::FILE* file = nullptr;
  if (flags >= 0 && ::fcntl(descriptor, F_SETFL, flags & ~O_NONBLOCK) == 0)
    file = ::fdopen(descriptor, "rb");
  if (!file) ::close(descriptor);
  return {file, &std::fclose};
}

}  // namespace attn::config
