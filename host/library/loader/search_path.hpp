// SPDX-License-Identifier: Apache-2.0
//
// Where plugins are looked for, and where the library itself lies.
//
// Explicit places are the only ones when there are any. Otherwise, in this order: the directories of
// ATTN_PLUGIN_PATH, the user's data directory, the plugin directory beside the running library. Never the
// working directory. [any-thread]
#pragma once

#include <string>
#include <vector>

namespace attn::loader {

enum class PathSource { explicit_path, environment, user, library };

// "--plugin-path", "ATTN_PLUGIN_PATH", "user data directory", "beside the library".
[[nodiscard]] const char* name(PathSource source) noexcept;

struct SearchPlace {
  std::string path;  // absolute, or as written when problem is not empty
  PathSource source = PathSource::library;
  bool exists = false;
  bool single_file = false;  // an explicit path may name one plugin
  std::string problem;       // why a directory that was named is not searched; empty: none
};

// What the search depends on; empty members are taken from the process.
struct SearchOptions {
  std::vector<std::string> explicit_paths;  // absolute
  bool use_environment = true;
  bool use_user_directory = true;
  std::string library_plugins;  // instead of the directory beside the library
};

// In search order; a directory that occurs twice stands at its first place only. Throws InvalidArgument when
// an explicit path does not exist, cannot be used or can be written by anyone; other missing places are normal.
[[nodiscard]] std::vector<SearchPlace> search_places(const SearchOptions& options);

// The plugin files of a place: names that end in ".so" and do not begin with a dot, in byte order of the
// names, with their directory. Problems of the directory itself go to place.problem.
[[nodiscard]] std::vector<std::string> plugin_files(SearchPlace& place);

// Makes a path absolute against the working directory of this moment, without touching the file system.
[[nodiscard]] std::string absolute_path(const std::string& path);

// Directory of the library (or program) that contains this code; empty when it cannot be found out.
[[nodiscard]] std::string library_directory();

// Plugins that come with the library, and the helper that tries unknown ones (empty: not found).
[[nodiscard]] std::string library_plugin_directory();
[[nodiscard]] std::string probe_program();

// A variable, or "": always for a program that runs with rights of another user, which must not be steered by this one's.
[[nodiscard]] std::string environment(const char* name);

// A user's directory after the XDG rules: $XDG_.. when it is absolute, else $HOME/fallback; empty: none.
[[nodiscard]] std::string xdg_directory(const char* variable, const char* fallback);

}  // namespace attn::loader
