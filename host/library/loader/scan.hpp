// SPDX-License-Identifier: Apache-2.0
//
// One pass over the plugin files: from paths to registered types. For registry*.cpp only; runs under the
// registry's scan lock and leaves its log lines to the caller, who writes them without a lock.
#pragma once

#include <attn/log.hpp>
#include <string>
#include <utility>
#include <vector>

#include "host/library/loader/manifest.hpp"
#include "host/library/loader/registry_file.hpp"

namespace attn::loader {

class Registry::Scan {
 public:
  explicit Scan(Registry& registry);

  // Throws InvalidArgument, changing nothing, when an explicit path cannot be searched.
  void run();

  [[nodiscard]] const std::vector<std::pair<LogLevel, std::string>>& log_lines() const {
    return log_;
  }

 private:
  struct Candidate {
    std::size_t file;                    // index in files_
    PluginLibrary* library = nullptr;    // opened, not yet registered
    std::vector<std::string> missing{};  // operators, after the last attempt
  };
  enum class Attempt { done, waits };

  void collect();
  void read_notes();
  void try_unknown();
  void register_all();
  [[nodiscard]] Attempt attempt(Candidate& candidate, std::size_t position);
  void enter(File& file, PluginLibrary* library);
  void refuse(File& file, Refusal refusal);

  // Why a file may not have these names, if so.
  [[nodiscard]] std::optional<Refusal> reserved(const File& file,
                                                const PluginLibrary* library) const;
  [[nodiscard]] std::optional<Refusal> duplicate(const File& file,
                                                 const PluginLibrary* library) const;
  // Whether a file in front of it still waits and has one of its names.
  [[nodiscard]] bool contested(const Candidate& candidate, std::size_t position) const;

  Registry& registry_;
  Manifest manifest_;
  std::vector<SearchPlace> places_;
  std::vector<File> files_;
  std::vector<Candidate> candidates_;
  std::vector<std::pair<LogLevel, std::string>> log_;
};

}  // namespace attn::loader
