// SPDX-License-Identifier: Apache-2.0
#include <elf.h>
#include <sys/wait.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <cstring>
#include <random>

#include "tests/loader/fixtures.hpp"
#include "tests/tools/build.hpp"

using namespace attn::loader;
using namespace attn::loader::test;

namespace {

// The word for the refusal; "good" when there is none.
std::string verdict(const std::string& path) {
  const auto note = read_note(path, true);
  const auto* refusal = std::get_if<Refusal>(&note);
  if (refusal == nullptr) return "good";
  // Every refusal says what, what was expected and what to do.
  CHECK(!refusal->problem.empty());
  CHECK(!refusal->expected.empty());
  CHECK(!refusal->hint.empty());
  return name(refusal->kind);
}

}  // namespace

TEST_CASE("elf_note: metadata of a plugin is read without opening it") {
  const auto read = read_note(fixture("good"), true);
  REQUIRE(std::holds_alternative<PluginNote>(read));
  const auto& note = std::get<PluginNote>(read);
  CHECK(note.name == "good");
  CHECK(note.version == "1.0.0");
  CHECK(note.types == std::vector<std::string>{"fixture.good"});
  CHECK(note.abi_major == ATTN_ABI_MAJOR);
  CHECK(note.build_id.size() == 40);
  CHECK(note.hash != 0);
  CHECK(note.identity.size == fs::file_size(fixture("good")));
  // What attn_add_plugin() wrote.
  CHECK(!note.revision.empty());
  CHECK((note.dirty == "yes" || note.dirty == "no" || note.dirty == "unknown"));
  CHECK(note.compiler.find(' ') != std::string::npos);
  CHECK(!note.uses_origin);
}

TEST_CASE("elf_note: what is not a plugin is told apart") {
  const TempDir dir;
  write_file(dir / "text.so", "this is no library\n");
  write_file(dir / "empty.so", "");
  write_file(dir / "one.so", "\x7f");
  write_file(dir / "magic.so",
             "\x7f"
             "ELF");
  fs::create_directory(dir / "directory.so");
  fs::create_symlink("loop.so", dir / "loop.so");
  fs::create_symlink("nothing", dir / "dangling.so");
  CHECK(verdict(dir / "text.so") == "not_elf");
  CHECK(verdict(dir / "empty.so") == "not_elf");
  CHECK(verdict(dir / "one.so") == "truncated");
  CHECK(verdict(dir / "magic.so") == "truncated");
  CHECK(verdict(dir / "directory.so") == "not_a_file");
  CHECK(verdict(dir / "loop.so") == "not_a_file");
  CHECK(verdict(dir / "dangling.so") == "unreadable");
  CHECK(verdict(dir / "absent.so") == "unreadable");
  CHECK(verdict("/dev/null") == "not_a_file");
  CHECK(verdict(attn::test::built("bin/attn")) == "not_a_plugin");
  CHECK(verdict(fixture("other_library")) == "not_a_plugin");
  CHECK(verdict(fixture("abi_major")) == "abi_major");
  CHECK(verdict(fixture("abi_minor")) == "abi_minor");
  CHECK(verdict(fixture("abi_newer")) == "good");  // built with a newer SDK, needs nothing newer
}

TEST_CASE("elf_note: a FIFO does not block") {
  const TempDir dir;
  REQUIRE(::mkfifo((dir / "fifo.so").c_str(), 0600) == 0);
  const auto start = std::chrono::steady_clock::now();
  CHECK(verdict(dir / "fifo.so") == "not_a_file");
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(1));
}

TEST_CASE("elf_note: a file that this user may not read") {
  const TempDir dir;
  const std::string path = dir.add("good");
  REQUIRE(::chmod(path.c_str(), 0) == 0);
  REQUIRE(::chmod(dir.path().c_str(), 0755) == 0);
  // Root may read everything, so a child reads under another user id.
  const pid_t child = ::fork();
  if (child == 0) {
    if (::geteuid() == 0 && ::setresuid(65534, 65534, 65534) != 0) ::_exit(2);
    const auto note = read_note(path, false);
    const auto* refusal = std::get_if<Refusal>(&note);
    ::_exit(refusal != nullptr && refusal->kind == RefusalKind::unreadable ? 0 : 1);
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}

TEST_CASE("elf_note: every truncation is refused") {
  const TempDir dir;
  const std::string whole = read_file(fixture("good"));
  const std::string path = dir / "cut.so";
  for (std::size_t size = 0; size < whole.size(); size += size < 4096 ? 61 : 509) {
    write_file(path, whole.substr(0, size));
    const std::string word = verdict(path);
    INFO("cut to " << size << " of " << whole.size());
    CHECK(word == (size == 0 ? "not_elf" : "truncated"));
  }
  write_file(path, whole.substr(0, whole.size() - 1));
  CHECK(verdict(path) == "truncated");
  write_file(path, whole);
  CHECK(verdict(path) == "good");
}

TEST_CASE("elf_note: another machine, word size or byte order") {
  const TempDir dir;
  const std::string whole = read_file(fixture("good"));
  const auto patched = [&](std::size_t offset, char value) {
    std::string copy = whole;
    copy[offset] = value;
    write_file(dir / "patched.so", copy);
    return verdict(dir / "patched.so");
  };
  CHECK(patched(offsetof(Elf64_Ehdr, e_machine), EM_ARM) == "other_machine");
  CHECK(patched(EI_CLASS, ELFCLASS32) == "other_machine");
  CHECK(patched(EI_DATA, ELFDATA2MSB) == "other_machine");
  CHECK(patched(offsetof(Elf64_Ehdr, e_type), ET_EXEC) == "not_elf");
}

TEST_CASE("elf_note: damaged tables never crash the reader") {
  const TempDir dir;
  const std::string whole = read_file(fixture("good"));
  Elf64_Ehdr header;
  std::memcpy(&header, whole.data(), sizeof header);
  std::mt19937_64 random(7);
  int refused = 0;
  for (int i = 0; i < 600; ++i) {
    std::string copy = whole;
    // The ELF header, the program headers or the section table, where offsets and sizes are.
    const std::size_t starts[] = {0, header.e_phoff, header.e_shoff};
    const std::size_t sizes[] = {sizeof header, header.e_phnum * sizeof(Elf64_Phdr),
                                 header.e_shnum * sizeof(Elf64_Shdr)};
    const std::size_t table = random() % 3;
    for (int k = 0; k < 8; ++k) {
      const std::size_t at = starts[table] + random() % sizes[table];
      copy[at] = static_cast<char>(random() % 4 == 0 ? 0xff : random());
    }
    write_file(dir / "damaged.so", copy);
    refused += verdict(dir / "damaged.so") != "good";
  }
  CHECK(refused > 150);
}

TEST_CASE("elf_note: the hash finds one changed byte of what is mapped, and no other") {
  const TempDir dir;
  const std::string whole = read_file(fixture("good"));
  const auto hash = [&](const std::string& content) {
    write_file(dir / "h.so", content);
    const auto note = read_note(dir / "h.so", true);
    return std::holds_alternative<PluginNote>(note) ? std::get<PluginNote>(note).hash : 0;
  };
  const uint64_t original = hash(whole);
  Elf64_Ehdr header;
  std::memcpy(&header, whole.data(), sizeof header);
  std::vector<Elf64_Phdr> segments(header.e_phnum);
  std::memcpy(segments.data(), whole.data() + header.e_phoff, segments.size() * sizeof segments[0]);
  std::size_t mapped = 0;
  for (const Elf64_Phdr& segment : segments) {
    if (segment.p_type != PT_LOAD) continue;
    for (const std::size_t at : {segment.p_filesz / 2, segment.p_filesz - 1}) {
      std::string copy = whole;
      copy[segment.p_offset + at] = static_cast<char>(copy[segment.p_offset + at] ^ 1);
      CHECK(hash(copy) != original);
      ++mapped;
    }
  }
  CHECK(mapped > 4);
  CHECK(hash(whole + "appended") == original);
}
