// SPDX-License-Identifier: Apache-2.0
//
// All attention types and operators that plugins provide, by name.
//
// Files are looked for at the first question. Each is taken whole or not at all: metadata read, tried in a
// process of its own unless known good, opened, its table checked, its operators resolved, initialised, and
// only then are its names visible. A name belongs to the file found first: order of the directories, then
// byte order of the file names. A file that uses operators of another plugin waits for that one.
//
// After a rescan names lead to what the files have now, as in a process that starts; those that no good file has any
// more stay with the code that had them. Pointers to types and operators stay valid until the process ends. [any-thread]
#pragma once

#include <attn/sdk/abi.h>

#include <attn/plugins.hpp>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/threads/fork.hpp"
#include "host/library/loader/plugin_library.hpp"
#include "host/library/loader/probe.hpp"
#include "host/library/loader/search_path.hpp"

namespace attn::loader {

// Defaults are those of an ordinary process; tests choose their own.
struct RegistryOptions {
  SearchOptions search{};
  ProbeOptions probe{};                   // empty program: the one that was installed
  std::optional<std::string> manifest{};  // default: manifest.txt in the library's plugin directory
  std::optional<std::string> cache{};     // default: in the user's cache directory; "": none
  std::optional<std::string> lock{};      // default: the file that ATTN_PLUGIN_LOCK names; "": none
  bool use_locks = true;                  // that one, and plugins.lock beside the files
  bool trust_all = false;
};

struct RegisteredType {
  const attn_type* type = nullptr;
  std::shared_ptr<const PluginLibrary>
      library;       // hold it as long as anything made by the type lives
  std::string path;  // of its file
};

class Registry {
 public:
  Registry(RegistryOptions options, EngineHooks hooks);
  ~Registry();
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  // Replaces the options. Throws InvalidArgument after files were looked for, or for a path that is not there.
  void configure(RegistryOptions options);

  // Throws InvalidArgument: "Unknown attention type 'X'", with the nearest name and the directories searched
  // in the details; or the reason why the file that has it was refused.
  [[nodiscard]] RegisteredType type(std::string_view id);
  [[nodiscard]] std::optional<RegisteredType> find_type(std::string_view id);
  // In byte order of the ids.
  [[nodiscard]] std::vector<RegisteredType> types();

  // An operator of the library or of a plugin, or nullptr.
  [[nodiscard]] const attn_op_ref* find_op(std::string_view name, uint32_t version);

  [[nodiscard]] PluginReport report();

  // Text of a lock that lets in the files that are loaded now. Throws Failure when one of them changed meanwhile.
  [[nodiscard]] std::string lock_text();

  // Looks again at all places. Calls and creations go on meanwhile.
  void rescan();
  // One file from anywhere. Throws InvalidArgument when it is refused.
  void add_file(const std::string& path);

 private:
  struct File;
  class Scan;
  using OpKey = std::pair<std::string, uint32_t>;
  template <class T>
  struct Served {
    T what;
    PluginLibrary* library;
    std::string path;
  };
  using Types = std::map<std::string, Served<const attn_type*>, std::less<>>;
  using Ops = std::map<OpKey, Served<const attn_op_ref*>>;

  void ensure_scanned();
  void scan(bool again);
  [[nodiscard]] const attn_op_ref* find_registered_op(std::string_view name,
                                                      uint32_t version) const;
  [[noreturn]] void throw_unknown(std::string_view id) const;

  threads::CallbackMutex scan_mutex_;  // one scan at a time; taken before data_mutex_
  mutable threads::SharedMutex data_mutex_;
  bool scanned_ = false;
  RegistryOptions options_;
  EngineHooks hooks_;
  std::vector<std::string> added_;  // by add_file()
  std::vector<SearchPlace> places_;
  std::vector<File> files_;
  std::string manifest_path_, manifest_problem_, probe_program_, cache_path_, lock_path_;
  std::vector<PluginLockFile> locks_;
  std::set<std::string> accepted_;  // code that was loaded once, and need not be tried again
  Types types_;
  Ops ops_;
};

// The one of this process, with the engine's hooks. Never destroyed.
[[nodiscard]] Registry& process_registry();

}  // namespace attn::loader
