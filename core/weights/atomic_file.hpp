// SPDX-License-Identifier: Apache-2.0
//
// A file that appears whole or not at all.
//
// Bytes go into a temporary file beside the target (same directory, ".NAME.<pid>-<n>.part"); commit() brings
// them to the disk and renames. Until then, and after any failure, an older file of that name is as it was;
// the temporary file is removed by the destructor. A symbolic link is followed, permissions of an older file
// are kept. One object: one thread.
// Errors: InvalidArgument for a target that cannot be written to (directory missing or not writable, no
// regular file); Failure with the system's own words when writing fails (disk full, file size limit).
#pragma once

#include <cstddef>
#include <string>

namespace attn::weights {

class AtomicFile {
 public:
  explicit AtomicFile(const std::string& path);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  void write(const void* bytes, size_t n);
  void commit();

 private:
  [[noreturn]] void fail(const std::string& action, int code);

  std::string path_;    // as the caller wrote it
  std::string target_;  // after symbolic links
  std::string temporary_;
  int descriptor_ = -1;
};

}  // namespace attn::weights
