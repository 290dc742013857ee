// SPDX-License-Identifier: Apache-2.0
//
// What looks at a plugin file without opening it, on changed ELF headers, tables and metadata. Nothing here runs
// code of such a file.
#include <attn/sdk/abi.h>
#include <elf.h>

#include <cstddef>

#include "core/weights/safetensors_header.hpp"
#include "host/library/loader/elf_note.hpp"
#include "tests/fuzz/fuzz.hpp"
#include "tests/tools/build.hpp"

namespace attn::fuzz {

namespace {

// The header, the program headers, the section headers, and of the metadata what is not padding.
std::vector<Range> headers(const std::string& file) {
  Elf64_Ehdr h;
  REQUIRE(file.size() > sizeof h);
  std::memcpy(&h, file.data(), sizeof h);
  const size_t note = file.find(ATTN_NOTE_MAGIC);
  REQUIRE(note != std::string::npos);
  return {{0, sizeof h},
          {h.e_phoff, h.e_phnum * sizeof(Elf64_Phdr)},
          {h.e_shoff, h.e_shnum * sizeof(Elf64_Shdr)},
          {note, offsetof(attn_note, name)},
          {note + offsetof(attn_note, name), 16},
          {note + offsetof(attn_note, version), 8},
          {note + offsetof(attn_note, types), 16}};
}

void check_text(const std::string& text) {
  if (!weights::is_utf8(text)) throw Finding("text that is not UTF-8: " + printed(text));
  for (const char c : text)
    if (static_cast<unsigned char>(c) < 0x20) throw Finding("control characters");
}

}  // namespace

TEST_CASE("fuzz: plugin files") {
  const std::string file = contents(test::built("lib/attn/plugins/multi_head.so"));
  const ScratchFile scratch(".so");
  fuzz(
      {file},
      [&](const std::string& bytes) {
        scratch.write(bytes);
        loader::PluginNote partial;
        const auto result = loader::read_note(scratch.path(), true, &partial);
        const auto* note = std::get_if<loader::PluginNote>(&result);
        for (const loader::PluginNote* n :
             {note, static_cast<const loader::PluginNote*>(&partial)}) {
          if (!n) continue;
          check_text(n->name);
          check_text(n->version);
          for (const std::string& type : n->types) check_text(type);
          for (const auto& text : {n->revision, n->dirty, n->compiler, n->flags}) check_text(text);
        }
        if (note) return;
        const auto& refusal = std::get<loader::Refusal>(result);
        check_text(refusal.text());
        if (refusal.problem.empty() || refusal.expected.empty() || refusal.hint.empty())
          throw Finding("a refusal without its parts: " + refusal.text());
        throw InvalidArgument(refusal.text());
      },
      headers(file), 16);
}

}  // namespace attn::fuzz
