// SPDX-License-Identifier: Apache-2.0
//
// Why a plugin file is not used. A value, not an exception: a bad file is an ordinary result of a scan.
//
// The path is kept by whoever holds the refusal; text() gives the other three parts of a message.
#pragma once

#include <string>
#include <utility>
#include <variant>

namespace attn::loader {

enum class RefusalKind {
  not_a_file,          // directory, FIFO, device, symlink loop
  unreadable,          // the operating system does not let us read it
  world_writable,      // anyone may change or replace it
  not_elf,             // no ELF header
  truncated,           // ends before what its own tables promise
  other_machine,       // another CPU, word size or byte order
  not_a_plugin,        // a library without attn metadata or without the entry function
  abi_major,           // built for another major version of the border
  abi_minor,           // needs a newer host
  cannot_open,         // the dynamic linker refuses: undefined symbol, missing dependency
  crashed,             // a signal while it was probed
  exited,              // ended the process while it was probed
  hung,                // not done before the deadline
  threw,               // a C++ exception came out of it
  printed,             // wrote to standard output while it was probed
  changes_arithmetic,  // sets rounding, denormals or traps while it is loaded or initialised
  bad_table,           // the table breaks a rule of the border
  metadata_mismatch,   // table and metadata disagree
  reserved_name,       // a name without a dot from a file that did not come with the library
  missing_operators,   // uses operators that no library provides
  duplicate,           // another file already provides one of its names
  init_failed,         // its own init() reported an error
  not_probed,          // the helper that tries unknown files could not be started
  locked,              // plugins.lock does not have it
  changed              // was replaced while it was being loaded, or since
};

struct Refusal {
  RefusalKind kind;
  std::string problem;   // what is wrong, without the path
  std::string expected;  // what would have been right
  std::string hint;      // what to do

  // "problem; expected ...; hint".
  [[nodiscard]] std::string text() const {
    std::string out = problem;
    if (!expected.empty()) out += "; expected " + expected;
    if (!hint.empty()) out += "; " + hint;
    return out;
  }
};

// Of a file that sets how its thread computes; when: "while it is loaded".
[[nodiscard]] Refusal changes_arithmetic(const std::string& when);

// The kind in words that stay the same for programs: "truncated", "missing_operators".
[[nodiscard]] const char* name(RefusalKind kind) noexcept;
// The inverse; false when no kind has that name.
[[nodiscard]] bool kind_from_name(const std::string& text, RefusalKind* out) noexcept;

// The text with every `from` in it made `to`.
[[nodiscard]] std::string replaced(std::string text, const std::string& from,
                                   const std::string& to);

// A value or the reason why there is none.
template <class T>
using Checked = std::variant<T, Refusal>;

}  // namespace attn::loader
