// SPDX-License-Identifier: Apache-2.0
//
// Which plugin files there are, which were refused, and why.
//
// Plugins are looked for at the first question about a type, once a process. A bad file is never in the way
// of a good one: it is left out, a log line says why, and it is listed here. Libraries stay loaded until the
// process ends. [any-thread]
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace attn {

struct PluginOptions {
  // Directories, or single plugin files; relative ones are taken from the working directory of the call.
  // When there are any, nothing else is searched. Otherwise: ATTN_PLUGIN_PATH, the user's data directory,
  // and the directory beside the library.
  std::vector<std::string> paths{};
  // Load unknown files even when they cannot be tried in a process of their own first.
  bool trust_all = false;
  // A lock (`attn lock`) that lets in what it lists and nothing else. Empty: the one that ATTN_PLUGIN_LOCK names, if any.
  std::string lock{};
  // false: neither that one counts nor a plugins.lock beside the files.
  bool use_locks = true;
  // How long an unknown file may take to load when it is tried.
  std::chrono::milliseconds deadline{5000};
};

// A file that ends in ".so" in a directory that was searched.
struct PluginFile {
  enum class State { loaded, refused, same_file };  // same_file: also reached by another path

  std::string path{};
  State state = State::refused;
  std::string source{};           // why its directory was searched
  std::string name{}, version{};  // empty when they could not be read
  std::string license{};          // loaded files only
  std::string abi{};              // "1.0": what it was built with
  std::string build_id{};         // hexadecimal; empty: none
  // Of files that attn_add_plugin() built: commit of the sources, whether they were changed since ("yes", "no" or
  // "unknown"), compiler and its flags.
  std::string revision{}, dirty{}, compiler{}, flags{};
  std::vector<std::string> types{};      // of a refused file: those it would have had
  std::vector<std::string> operators{};  // "name/version"; loaded files only
  // Refused files: a stable word such as "truncated", and the parts of the message.
  std::string code{}, problem{}, expected{}, hint{};
};

// A directory that was searched, or would have been.
struct PluginDirectory {
  std::string path{};
  std::string source{};
  bool exists = false;
  std::string problem{};  // why it was not searched; empty: none, or it does not exist
};

// A lock that counts.
struct PluginLockFile {
  std::string path{};
  std::string problem{};  // why it lets nothing in; empty: none
};

struct PluginReport {
  std::vector<PluginDirectory> directories{};  // in search order
  std::vector<PluginFile> files{};             // in the order in which they were found
  std::vector<PluginLockFile> locks{};
  std::string manifest{}, manifest_problem{};  // of what came with the library
  std::string probe_program{};                 // helper that tries unknown files; empty: not found
  std::string verdict_cache{};                 // file with its earlier verdicts; empty: none
};

// To be called before plugins are first used. Throws InvalidArgument when a path does not exist or when it
// is too late.
void set_plugin_options(const PluginOptions& options);

// Everything about plugin files; looks for them first when that has not happened yet.
[[nodiscard]] PluginReport plugin_report();

// Looks again, while calls of layers go on: new files are loaded, refused ones are tried again, and a file that was
// replaced serves the layers that are made from then on. Layers that exist keep the code that they were made of, and so
// does a type that no good file has any more.
void rescan_plugins();

// Text of a lock file with all plugins that are loaded now. Throws Failure when one of their files changed meanwhile.
[[nodiscard]] std::string plugin_lock();

// Loads one file from anywhere. Throws InvalidArgument with the reason when it is refused.
void load_plugin(const std::string& path);

}  // namespace attn
