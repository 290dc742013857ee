// SPDX-License-Identifier: Apache-2.0
//
// One opened plugin.
//
// The same code is opened once a process, by whatever path, and never closed: it may be on any stack, and closing a
// C++ library is not safe. deinit() runs when the process ends, before the library's own static objects are
// destroyed, and only if nothing of the plugin is alive then: whoever uses a type holds a shared_ptr from
// hold(). [any-thread]
#pragma once

#include <attn/sdk/abi.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/threads/fork.hpp"
#include "host/library/loader/elf_note.hpp"
#include "host/library/loader/refusal.hpp"
#include "host/library/loader/sealed_copy.hpp"

namespace attn::loader {

// What the loader needs of the engine.
struct EngineHooks {
  const attn_engine* engine = nullptr;  // for init()
  // An operator of the library itself, or nullptr.
  std::function<const attn_op_ref*(std::string_view name, uint32_t version)> find_core_op;
  // A reference for an operator of a plugin; nothing else finds it.
  std::function<const attn_op_ref*(const attn_op*)> make_op_ref;
};

// Any operator by name, or nullptr: how uses are resolved.
using FindOperator = std::function<const attn_op_ref*(std::string_view name, uint32_t version)>;

class PluginLibrary {
 public:
  PluginLibrary(const PluginLibrary&) = delete;
  PluginLibrary& operator=(const PluginLibrary&) = delete;

  // Opens the file that the note was read from, with its hash, and checks its table; an empty copy: where it lies, and
  // only if it is still the same file. The pointer stays valid; the same code gives the same one. Refused as well:
  // the build id of code that is loaded, and other code.
  [[nodiscard]] static Checked<PluginLibrary*> open(const std::string& path, const PluginNote& note,
                                                    SealedCopy copy);
  // Whether this process has opened a file where it lies, so that the dynamic linker would take any other one there
  // for the same.
  [[nodiscard]] static bool opened_in_place(const std::string& path);

  // The operators it uses and no library has, each as "name/version" with the reason where it is another one
  // than its absence. Operators of its own count as there.
  [[nodiscard]] std::vector<std::string> missing_operators(const FindOperator& find) const;

  // Fills the slots and runs init(), once a process. Call after missing_operators() is empty. The operators of others that
  // it found stay its own when their files are replaced.
  [[nodiscard]] std::optional<Refusal> start(const EngineHooks& hooks, const FindOperator& find);

  [[nodiscard]] const attn_plugin& table() const noexcept { return *table_; }
  [[nodiscard]] const PluginNote& note() const noexcept { return note_; }
  // References of its own operators, in the order of the table; there since start().
  [[nodiscard]] const std::vector<const attn_op_ref*>& op_refs() const noexcept { return op_refs_; }
  // Held by whatever uses the library.
  [[nodiscard]] std::shared_ptr<const PluginLibrary> hold() const { return lease_; }

 private:
  PluginLibrary(const attn_plugin* table, PluginNote note);
  [[nodiscard]] static Checked<const attn_plugin*> open_table(const std::string& path,
                                                              const std::string& name,
                                                              const PluginNote& note);
  [[nodiscard]] const attn_op* own_op(std::string_view name, uint32_t version) const;
  [[nodiscard]] std::optional<Refusal> run_init(const attn_engine* engine) const;
  static void run_last_deinit();

  const attn_plugin* table_;
  PluginNote note_;
  std::vector<const attn_op_use*>
      uses_;  // the table's list may move when another library is opened
  std::shared_ptr<const PluginLibrary> lease_;
  threads::CallbackMutex start_mutex_;  // init() runs inside
  bool started_ = false;
  std::optional<Refusal> start_refusal_;
  std::vector<const attn_op_ref*> op_refs_;
};

}  // namespace attn::loader
