// SPDX-License-Identifier: Apache-2.0
//
// Bytes to read at given places: a regular file, or memory of the caller.
//
// A file is read with pread into memory of the reader, never mapped: a file that shrinks while it is read
// is an error then, and not a signal. The size is taken once, when it is opened.
// Owns the file descriptor; memory must outlive the source. Reading is [any-thread].
// Errors: InvalidArgument for a path that cannot be opened or is no regular file, and for a read beyond
// the end; Failure when the operating system cannot read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace attn::weights {

class InputFile {
 public:
  explicit InputFile(const std::string& path);
  InputFile(const void* bytes, size_t size, std::string name);  // name: for messages
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&& other) noexcept;
  ~InputFile();

  [[nodiscard]] uint64_t size() const noexcept { return size_; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  // Exactly n bytes from offset on, or an error that says what (`part`) could not be read.
  void read(uint64_t offset, void* out, size_t n, const std::string& part) const;

 private:
  int descriptor_ = -1;
  const unsigned char* memory_ = nullptr;
  uint64_t size_ = 0;
  std::string name_;
};

}  // namespace attn::weights
