// SPDX-License-Identifier: Apache-2.0
//
// Who else could change a plugin. What anyone may write is refused. Other owners, and groups that may write, are not:
// whoever names a directory, or is asked for its name, knows whose it is. [any-thread]
#pragma once

#include <optional>
#include <string>

#include "host/library/loader/refusal.hpp"

namespace attn::loader {

// How far the question goes. Symbolic links are followed; a link and what it leads to both count.
enum class Reach {
  itself,   // the file or directory: beside the library, where the library is trusted already
  parents,  // and the directories above, in which anyone could put another one in its place
};

// The reason, with the command that repairs it. Nothing for what is not there.
[[nodiscard]] std::optional<Refusal> writable_by_all(const std::string& path, Reach reach);

}  // namespace attn::loader
