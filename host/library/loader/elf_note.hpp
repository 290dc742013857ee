// SPDX-License-Identifier: Apache-2.0
//
// What a plugin file says about itself, read before any code of it runs.
//
// The file is read with pread() within checked bounds and never mapped, so no content of it, however
// damaged, can crash or block the reader: a FIFO is not opened for reading, a truncated file is refused
// because the dynamic linker would die of SIGBUS on it. Little-endian ELF64 of this machine only.
// [any-thread]
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "host/library/loader/refusal.hpp"

namespace attn::loader {

// Tells two states of a file apart. Times in nanoseconds since 1970.
struct FileIdentity {
  uint64_t device = 0, inode = 0, size = 0;
  int64_t mtime_ns = 0, ctime_ns = 0;
  friend bool operator==(const FileIdentity&, const FileIdentity&) = default;
};

struct PluginNote {
  FileIdentity identity;
  uint64_t hash = 0;     // of what is mapped of the file: finds a damaged copy
  std::string build_id;  // hexadecimal; empty: the file has none
  uint16_t abi_major = 0, abi_minor_built = 0, abi_minor_needed = 0;
  std::string name, version;
  std::vector<std::string> types;
  // What attn_add_plugin() wrote: commit of the sources; "yes" when they were changed since, else "no"; compiler and flags.
  // Empty: it was built another way.
  std::string revision, dirty, compiler, flags;
  bool uses_origin = false;  // it has to be opened where it lies

  // Names the code: equal for files of which the same is mapped. Needs the hash.
  [[nodiscard]] std::string code() const;
};

// Whether this host can use a plugin with these numbers; also applied to the table once it is open.
[[nodiscard]] Checked<bool> check_abi(uint16_t major, uint16_t minor_built, uint16_t minor_needed);

// Everything but the hash, which costs a pass over the file and is left at 0 unless asked for. A file for
// another ABI is refused here; *partial, when given, then still receives what could be read, so that a
// message can say which types the file would have had.
[[nodiscard]] Checked<PluginNote> read_note(const std::string& path, bool with_hash,
                                            PluginNote* partial = nullptr);

// Follows symbolic links. False when the file is not there.
[[nodiscard]] bool identify(const std::string& path, FileIdentity* out);
[[nodiscard]] bool identify(int descriptor, FileIdentity* out);

}  // namespace attn::loader
