// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace attn::weights {

// Writes all bytes; 0, or the error number. A limit of file sizes (RLIMIT_FSIZE) is the error EFBIG and raises no
// SIGXFSZ, whose default ends the process, whatever the application does with that signal. [any-thread]
[[nodiscard]] int write_all(int descriptor, const void* bytes, size_t n) noexcept;

}  // namespace attn::weights
