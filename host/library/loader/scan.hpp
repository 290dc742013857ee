// SPDX-License-Identifier: Apache-2.0
//
// One pass over the plugin files: from paths to registered types. For registry*.cpp only; runs under the
// registry's scan lock and leaves its log lines to the caller, who writes them without a lock.
#pragma once

#include <attn/log.hpp>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "host/library/loader/lock.hpp"
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
  [[nodiscard]] std::optional<Refusal> look(std::size_t index);
  [[nodiscard]] std::optional<Refusal> locked(std::size_t index);
  // Those that count for a file.
  [[nodiscard]] std::vector<const PluginLock*> locks(const std::string& path);
  // Into memory, unless it is known and may be opened where it lies.
  [[nodiscard]] std::optional<Refusal> take_copy(std::size_t index);
  void try_unknown();
  void register_all();
  [[nodiscard]] Attempt attempt(Candidate& candidate, std::size_t position);
  void enter(File& file, PluginLibrary* library);
  void keep_former();
  void refuse(File& file, Refusal refusal);

  // Why a file may not have these names, if so.
  [[nodiscard]] std::optional<Refusal> reserved(const File& file,
                                                const PluginLibrary* library) const;
  [[nodiscard]] std::optional<Refusal> duplicate(const File& file,
                                                 const PluginLibrary* library) const;
  // Whether a file in front of it still waits and has one of its names.
  [[nodiscard]] bool contested(const Candidate& candidate, std::size_t position) const;
  [[nodiscard]] const File* former(const std::string& path) const;

  Registry& registry_;
  Manifest manifest_;
  std::vector<SearchPlace> places_;
  std::vector<File> files_;
  std::map<std::size_t, SealedCopy> copies_;                // by index in files_
  std::map<std::string, std::optional<PluginLock>> locks_;  // by path; nothing: no such file
  std::vector<Candidate> candidates_;
  Types types_;
  Ops ops_;
  bool former_operators_ = false;  // those of files that are gone count as well
  std::vector<std::pair<LogLevel, std::string>> log_;
};

}  // namespace attn::loader
