// SPDX-License-Identifier: Apache-2.0
//
// Tries plugin files in a process of their own before they may enter this one.
//
// The helper opens one file, checks its table and reports on a pipe. A crash, an exception, an exit, a hang
// and an incomplete report are results. This side owns the deadline and kills the helper's process group.
// Nothing that the plugin prints is seen by anyone, except that its last words on standard error are quoted
// in the reason. [any-thread]
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "host/library/loader/refusal.hpp"

namespace attn::loader {

struct ProbeOptions {
  std::string program;  // path of attn-plugin-probe
  std::chrono::milliseconds deadline{5000};
};

struct ProbeFile {
  std::string path;
  int copy = -1;  // descriptor of a copy that is tried in its place; it is not one of the first ten
};

// The refusal, or nothing when the file is good. Kind not_probed: the helper itself could not do its work.
[[nodiscard]] std::optional<Refusal> probe_file(const ProbeFile& file, const ProbeOptions& options);

// Several at once, at most four at a time, so that files which hang do not add up.
[[nodiscard]] std::vector<std::optional<Refusal>> probe_files(const std::vector<ProbeFile>& files,
                                                              const ProbeOptions& options);

}  // namespace attn::loader
