// SPDX-License-Identifier: Apache-2.0
//
// A copy of a plugin file in memory that nobody can change any more: what was checked and tried is what runs. It is
// also why a file can be replaced while it is in use: the dynamic linker knows libraries by path and inode, and gives
// the old code for the same path; and a file overwritten in place would change under code that runs.
//
// The copy is a memfd, sealed, opened by the name /proc/PID/fd/N. Once it is loaded its descriptor stays open, so that
// a debugger finds the symbols under that name. [one thread per object]
#pragma once

#include <string>

#include "host/library/loader/descriptor.hpp"
#include "host/library/loader/elf_note.hpp"
#include "host/library/loader/refusal.hpp"

namespace attn::loader {

class SealedCopy {
 public:
  // Of the file in the state that was seen, else a refusal. Empty where the system has no such memory, not enough, or
  // none that may run: the file is then used where it lies.
  [[nodiscard]] static Checked<SealedCopy> make(const std::string& path, const FileIdentity& seen);

  [[nodiscard]] explicit operator bool() const noexcept { return descriptor() >= 0; }
  [[nodiscard]] int descriptor() const noexcept { return memory_.get(); }
  [[nodiscard]] std::string path() const;
  // Leaves it open until the process ends.
  void keep() noexcept { (void)memory_.release(); }

 private:
  Descriptor memory_;
};

}  // namespace attn::loader
