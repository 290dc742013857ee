// SPDX-License-Identifier: Apache-2.0
//
// Remembers between processes what the probe found out about plugin files.
//
// A verdict counts as long as path, size, times, build id and what is mapped are the same; a bad one for a day at most (a
// hang: ten minutes), because what made it bad may lie outside the file. Verdicts that depend on other
// files (missing dependencies) are not kept. The file is replaced as a whole; a damaged one, or one that others may write,
// is ignored. Losing it costs time and nothing else. [one thread per object; any number of processes]
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "host/library/loader/elf_note.hpp"
#include "host/library/loader/refusal.hpp"

namespace attn::loader {

class VerdictCache {
 public:
  // An empty path: nothing is remembered. now: seconds since 1970.
  VerdictCache(std::string path, int64_t now);

  struct Verdict {
    std::optional<Refusal> refusal;  // absent: the file is good
  };
  [[nodiscard]] std::optional<Verdict> find(const std::string& file, const PluginNote& note) const;
  void put(const std::string& file, const PluginNote& note, const std::optional<Refusal>& refusal);

  // Writes the file when something changed; failures are silent.
  void save();

  // The file in the user's cache directory; empty: there is no such directory.
  [[nodiscard]] static std::string default_path();

 private:
  struct Entry {
    std::string key;
    int64_t time = 0;
    std::optional<Refusal> refusal;
  };
  std::string path_;
  int64_t now_;
  bool changed_ = false;
  std::map<std::string, Entry> entries_;  // by path of the plugin
};

}  // namespace attn::loader
