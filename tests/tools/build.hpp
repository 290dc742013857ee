// SPDX-License-Identifier: Apache-2.0
//
// What differs between builds, from a file of its own: the tests themselves are the same code in all of them, compiled
// once for the release and for AddressSanitizer.
#pragma once

#include <string>

namespace attn::test {

extern const char* const build_directory;
// A file or directory below it.
inline std::string built(const std::string& path) {
  return std::string(build_directory) + "/" + path;
}
// Whether the library runs under a sanitizer: everything takes several times as long, and a signal of a child ends as
// an exit status.
extern const bool sanitized, sanitized_for_threads;

}  // namespace attn::test
