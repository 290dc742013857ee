// SPDX-License-Identifier: Apache-2.0
#include "host/check/library/elf.hpp"

#include <elf.h>

#include <cstring>
#include <fstream>
#include <iterator>

#include "core/error/error.hpp"
#include "host/library/loader/elf_file.hpp"

namespace attn::check {
namespace {

using Bytes = std::vector<std::byte>;

// A section, empty where there is none.
Bytes section(const loader::ElfFile& file, const char* name) {
  auto found = file.section(name);
  if (const auto* refusal = std::get_if<loader::Refusal>(&found)) throw Failure(refusal->text());
  auto& bytes = std::get<std::optional<Bytes>>(found);
  return bytes ? std::move(*bytes) : Bytes{};
}

template <class T>
std::vector<T> entries(const Bytes& bytes) {
  std::vector<T> out(bytes.size() / sizeof(T));
  if (!out.empty()) std::memcpy(out.data(), bytes.data(), out.size() * sizeof(T));
  return out;
}

std::string text_at(const Bytes& strings, uint64_t offset) {
  std::string out;
  for (; offset < strings.size() && strings[offset] != std::byte{0}; ++offset)
    out += static_cast<char>(strings[offset]);
  return out;
}

bool has_executable_stack(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  Elf64_Ehdr header{};
  in.read(reinterpret_cast<char*>(&header), sizeof header);
  in.seekg(static_cast<std::streamoff>(header.e_phoff));
  bool executable = false;
  for (int i = 0; i < header.e_phnum && in; ++i) {
    Elf64_Phdr segment{};
    if (!in.read(reinterpret_cast<char*>(&segment), sizeof segment)) break;
    if (segment.p_type == PT_GNU_STACK) executable = (segment.p_flags & PF_X) != 0;
  }
  return executable;
}

}  // namespace

ElfFacts read_elf(const std::string& path) {
  loader::ElfFile file;
  if (const auto refusal = file.open(path)) throw Failure(refusal->text());
  ElfFacts facts;
  const Bytes strings = section(file, ".dynstr");
  for (const Elf64_Dyn& d : entries<Elf64_Dyn>(section(file, ".dynamic"))) {
    if (d.d_tag == DT_NULL) break;
    if (d.d_tag == DT_NEEDED) facts.needed.push_back(text_at(strings, d.d_un.d_val));
    if (d.d_tag == DT_TEXTREL || (d.d_tag == DT_FLAGS && (d.d_un.d_val & DF_TEXTREL)))
      facts.text_relocations = true;
  }
  for (const Elf64_Sym& s : entries<Elf64_Sym>(section(file, ".dynsym"))) {
    const auto bind = ELF64_ST_BIND(s.st_info);
    const auto visibility = ELF64_ST_VISIBILITY(s.st_other);
    if (s.st_name == 0 || bind == STB_LOCAL || visibility == STV_HIDDEN) continue;
    facts.symbols.push_back({.name = text_at(strings, s.st_name),
                             .defined = s.st_shndx != SHN_UNDEF,
                             .weak = bind == STB_WEAK,
                             .unique = bind == STB_GNU_UNIQUE});
  }
  facts.build_id = file.build_id();
  facts.executable_stack = has_executable_stack(path);
  return facts;
}

}  // namespace attn::check
