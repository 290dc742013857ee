// SPDX-License-Identifier: Apache-2.0
//
// Bounds-checked reading of an ELF64 shared library of this machine, by pread(). Owns its file descriptor.
// Every offset in the file is treated as hostile. [one thread per object]
#pragma once

#include <elf.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "host/library/loader/elf_note.hpp"

namespace attn::loader {

class ElfFile {
 public:
  ElfFile() = default;
  ~ElfFile();
  ElfFile(const ElfFile&) = delete;
  ElfFile& operator=(const ElfFile&) = delete;

  // Opens and checks header, program headers, section table. Each returns the reason when it fails; call
  // the others only after it succeeded.
  [[nodiscard]] std::optional<Refusal> open(const std::string& path);

  // The section of that name; empty optional: there is none. Refusal: it does not lie within the file.
  [[nodiscard]] Checked<std::optional<std::vector<std::byte>>> section(const char* name) const;

  // NT_GNU_BUILD_ID in hexadecimal, or "".
  [[nodiscard]] std::string build_id() const;

  // 64-bit hash of what the dynamic linker maps, without the ELF header: strip, which moves the section table, leaves it
  // as it is. Nothing when the file cannot be read to its end.
  [[nodiscard]] std::optional<uint64_t> hash() const;

  // Whether it looks for other libraries beside itself ($ORIGIN): a copy elsewhere would not find them.
  [[nodiscard]] bool uses_origin() const;

  [[nodiscard]] const FileIdentity& identity() const noexcept { return identity_; }

 private:
  [[nodiscard]] bool read(uint64_t offset, void* to, uint64_t bytes) const;
  [[nodiscard]] std::optional<Refusal> read_headers();
  [[nodiscard]] std::optional<Refusal> read_segments();
  [[nodiscard]] std::optional<Refusal> read_sections();

  int fd_ = -1;
  FileIdentity identity_;
  Elf64_Ehdr header_{};
  std::vector<Elf64_Phdr> segments_;
  std::vector<Elf64_Shdr> sections_;
  std::vector<char> section_names_;
};

}  // namespace attn::loader
