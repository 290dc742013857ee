// SPDX-License-Identifier: Apache-2.0
//
// plugins.lock: which plugin files may be loaded, by SHA-256. A JSON object whose "plugins" is a list of objects with
// "file" (its name without the directory), "sha256", "name", "version" and "types", what each type claims; `attn lock`
// writes it. A lock that cannot be read, or that anyone may write, lets nothing in. [any-thread once read]
#pragma once

#include <attn/sdk/abi.h>

#include <attn/json.hpp>
#include <map>
#include <optional>
#include <string>

#include "host/library/loader/elf_note.hpp"
#include "host/library/loader/refusal.hpp"

namespace attn::loader {

class PluginLock {
 public:
  [[nodiscard]] static PluginLock read(const std::string& path);
  // One element of "plugins".
  [[nodiscard]] static Json entry(const std::string& path, const std::string& sum,
                                  const attn_plugin& plugin);
  [[nodiscard]] static std::string text(Json::List entries);

  // The reason why it does not let this file in.
  [[nodiscard]] std::optional<Refusal> check(const std::string& path, const std::string& sum,
                                             const PluginNote& note) const;
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] const std::string& problem() const noexcept { return problem_; }

 private:
  struct Entry {
    std::string sum, is;  // "NAME VERSION"
  };
  void parse(const Json& lock);

  std::string path_, problem_, remedy_;
  std::multimap<std::string, Entry> entries_;  // by the name of the file
};

}  // namespace attn::loader
