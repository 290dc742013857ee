// SPDX-License-Identifier: Apache-2.0
//
// The file as it lies there: nothing of it runs.
#include <algorithm>
#include <array>
#include <cctype>

#include "host/check/child.hpp"
#include "host/check/library/elf.hpp"
#include "host/check/library/lists.hpp"
#include "host/check/subject.hpp"
#include "host/library/loader/elf_note.hpp"

namespace attn::check {
namespace {

std::string list(const std::vector<std::string>& words, size_t most = 5) {
  std::string text;
  for (size_t i = 0; i < words.size() && i < most; ++i)
    text += (i ? ", " : "") + one_line(words[i], 80);
  if (words.size() > most) text += " and " + std::to_string(words.size() - most) + " more";
  return text;
}

loader::PluginNote note_of(Subject& s) {
  auto read = loader::read_note(s.file(), false);
  if (const auto* refusal = std::get_if<loader::Refusal>(&read)) throw Failure(refusal->text());
  return std::get<loader::PluginNote>(std::move(read));
}

Outcome metadata(Subject& s) {
  const loader::PluginNote note = note_of(s);
  if (note.name.empty() || note.version.empty())
    return failed(
        "the file's metadata has no name or no version; ATTN_PLUGIN or ATTN_NOTE writes both");
  const bool digit = std::any_of(note.version.begin(), note.version.end(),
                                 [](unsigned char c) { return std::isdigit(c) != 0; });
  if (!digit)
    return failed("the version is no version; expected numbers such as 1.0.0", note.version);
  return passed(note.name + " " + note.version + ", " + list(note.types));
}

Outcome exports(Subject& s) {
  std::vector<std::string> others;
  bool entry = false;
  for (const DynamicSymbol& symbol : read_elf(s.file()).symbols) {
    if (!symbol.defined) continue;
    if (symbol.name == "attn_plugin_v1")
      entry = true;
    else
      others.push_back(symbol.name);
  }
  if (!entry)
    return failed(
        "the file does not export attn_plugin_v1; end one of its sources with ATTN_PLUGIN(...)");
  if (others.empty()) return passed();
  return failed(
      "the file exports more than attn_plugin_v1, which other libraries of the process could take "
      "for "
      "theirs; build it with attn_add_plugin(), which hides the rest",
      list(others));
}

Outcome needed_libraries(Subject& s) {
  constexpr std::array kSystem{"libstdc++.so.", "libm.so.",  "libgcc_s.so.",
                               "libc.so.",      "ld-linux",  "libpthread.so.",
                               "libdl.so.",     "librt.so.", "libatomic.so."};
  constexpr std::array kPools{"libgomp", "libomp", "libiomp5", "libtbb", "libopenblas", "libmkl"};
  const auto starts = [](const std::string& name, const auto& with) {
    return std::any_of(with.begin(), with.end(),
                       [&](const char* w) { return name.starts_with(w); });
  };
  std::vector<std::string> others, pools;
  for (const std::string& name : read_elf(s.file()).needed) {
    if (starts(name, kPools)) pools.push_back(name);
    if (!starts(name, kSystem)) others.push_back(name);
  }
  if (!pools.empty())
    return failed(
        "the file brings a pool of threads that does not know the host's, so that calls slow each "
        "other down; use attn_engine.parallel_for and the host's kernels",
        list(pools));
  if (std::any_of(others.begin(), others.end(),
                  [](const std::string& name) { return name.starts_with("libattn"); }))
    return failed(
        "the file is linked with the host's library, whose version it must not depend on; link it "
        "with "
        "the SDK alone",
        list(others));
  if (!others.empty())
    return warned(
        "the file needs libraries that users may not have; link them into it, or say so in its "
        "README",
        list(others));
  return passed();
}

Outcome undefined_symbols(Subject& s) {
  std::vector<std::string> host;
  for (const DynamicSymbol& symbol : read_elf(s.file()).symbols)
    if (!symbol.defined && symbol.name.find("4attn") != std::string::npos)
      host.push_back(symbol.name);
  if (host.empty()) return passed();
  return failed(
      "the file calls functions of the host by name; everything a plugin may call is in the "
      "attn_engine "
      "that it is handed",
      list(host));
}

Outcome unique_symbols(Subject& s) {
  std::vector<std::string> unique;
  for (const DynamicSymbol& symbol : read_elf(s.file()).symbols)
    if (symbol.unique) unique.push_back(symbol.name);
  if (unique.empty()) return passed();
  return failed(
      "the file has symbols that the whole process shares, so that two plugins see one object; "
      "build it "
      "with -fno-gnu-unique, as attn_add_plugin() does",
      list(unique));
}

Outcome build_id(Subject& s) {
  const std::string id = read_elf(s.file()).build_id;
  if (!id.empty()) return passed(id);
  return failed(
      "the file has no build id, by which hosts tell builds apart; link it with "
      "-Wl,--build-id=sha1");
}

Outcome protected_memory(Subject& s) {
  const ElfFacts facts = read_elf(s.file());
  if (facts.executable_stack)
    return failed(
        "the file asks for an executable stack; assemble its sources with -Wa,--noexecstack, and "
        "take "
        "no address of a nested function");
  if (facts.text_relocations)
    return failed("the file writes into its code while it is loaded; compile all of it with -fPIC");
  return passed();
}

}  // namespace

std::span<const Test> bytes_tests() {
  static constexpr Test kTests[] = {
      {.name = "metadata",
       .promise = "The file says name, version and types in its metadata, which is read without "
                  "running it.",
       .run = metadata,
       .group = Group::library,
       .of = Of::bytes},
      {.name = "exports_entry_alone",
       .promise = "The file exports attn_plugin_v1 and nothing else.",
       .run = exports,
       .group = Group::library,
       .of = Of::bytes},
      {.name = "needed_libraries",
       .promise = "The file needs the compiler's libraries alone.",
       .run = needed_libraries,
       .group = Group::library,
       .of = Of::bytes},
      {.name = "undefined_symbols",
       .promise = "The file calls no function of the host by name.",
       .run = undefined_symbols,
       .group = Group::library,
       .of = Of::bytes},
      {.name = "unique_symbols",
       .promise = "The file shares no objects with other libraries of the process.",
       .run = unique_symbols,
       .group = Group::library,
       .of = Of::bytes},
      {.name = "build_id",
       .promise = "The file has a build id.",
       .run = build_id,
       .group = Group::library,
       .of = Of::bytes},
      {.name = "protected_memory",
       .promise = "The file needs neither an executable stack nor writable code.",
       .run = protected_memory,
       .group = Group::library,
       .of = Of::bytes},
  };
  return kTests;
}

}  // namespace attn::check
