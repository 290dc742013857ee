// SPDX-License-Identifier: Apache-2.0
#include "host/library/loader/search_path.hpp"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <system_error>

#include "core/error/error.hpp"
#include "host/library/loader/trust.hpp"

namespace attn::loader {
namespace {

namespace fs = std::filesystem;

void refuse_explicit(const std::string& path, const std::string& what) {
  throw InvalidArgument("plugin path '" + path + "' " + what +
                            "; expected a directory with plugins, or a plugin file; " +
                            "create it or correct --plugin-path",
                        {.where = path,
                         .value = path,
                         .expected = "a directory with plugins, or a plugin file",
                         .hint = "create it or correct --plugin-path"});
}

SearchPlace explicit_place(const std::string& path) {
  SearchPlace place{absolute_path(path), PathSource::explicit_path, true, false, ""};
  std::error_code error;
  const fs::file_status status = fs::status(place.path, error);
  if (status.type() == fs::file_type::not_found) refuse_explicit(path, "does not exist");
  if (status.type() == fs::file_type::none || status.type() == fs::file_type::unknown) {
    refuse_explicit(path, "cannot be read: " + error.message());
  }
  if (status.type() == fs::file_type::directory) {
    if (::access(place.path.c_str(), R_OK | X_OK) != 0) {
      refuse_explicit(path, "cannot be read: permission denied");
    }
  } else {
    if (status.type() != fs::file_type::regular)
      refuse_explicit(path, "is neither directory nor file");
    place.single_file = true;
  }
  return place;
}

void add_environment(std::vector<SearchPlace>& places) {
  const std::string list = environment("ATTN_PLUGIN_PATH");
  std::size_t at = 0;
  while (at < list.size()) {
    const std::size_t end = std::min(list.find(':', at), list.size());
    const std::string entry = list.substr(at, end - at);
    at = end + 1;
    if (entry.empty()) continue;
    SearchPlace place{entry, PathSource::environment, false, false, ""};
    if (entry.front() != '/') {
      place.problem = "ATTN_PLUGIN_PATH has the relative entry '" + entry +
                      "'; expected absolute paths joined by ':'; write " + absolute_path(entry) +
                      " if that is meant";
    }
    places.push_back(std::move(place));
  }
}

// A directory that was named as an option is an error, another one is left out.
void check_trust(SearchPlace& place) {
  const auto refusal = writable_by_all(
      place.path, place.source == PathSource::library ? Reach::itself : Reach::parents);
  if (!refusal) return;
  if (place.source != PathSource::explicit_path) {
    place.problem = refusal->text();
    return;
  }
  throw InvalidArgument("plugin path '" + place.path + "' " + refusal->text(),
                        {.where = place.path,
                         .value = place.path,
                         .expected = refusal->expected,
                         .hint = refusal->hint});
}

std::string unreadable(const SearchPlace& place, const std::error_code& error) {
  const std::string hint = error == std::errc::permission_denied
                               ? "give this user the right to read it (chmod a+rx)"
                           : error == std::errc::not_a_directory
                               ? "name the directory that the file is in"
                               : std::string("correct it (") + name(place.source) + ")";
  return "cannot be read: " + error.message() + "; expected a directory that this user may read; " +
         hint;
}

std::string existing(const std::string& path) {
  std::error_code error;
  return fs::exists(path, error) ? path : "";
}

}  // namespace

const char* name(PathSource source) noexcept {
  switch (source) {
    case PathSource::explicit_path:
      return "--plugin-path";
    case PathSource::environment:
      return "ATTN_PLUGIN_PATH";
    case PathSource::user:
      return "user data directory";
    case PathSource::library:
      return "beside the library";
  }
  return "";
}

std::string environment(const char* name) {
  const char* value = ::secure_getenv(name);
  return value != nullptr ? value : "";
}

std::string absolute_path(const std::string& path) {
  std::error_code error;
  const fs::path absolute = fs::absolute(path, error).lexically_normal();
  std::string text = (error ? fs::path(path) : absolute).string();
  while (text.size() > 1 && text.back() == '/') text.pop_back();
  return text;
}

std::string xdg_directory(const char* variable, const char* fallback) {
  const std::string given = environment(variable);
  if (!given.empty() && given.front() == '/') return given;
  const std::string home = environment("HOME");
  return !home.empty() && home.front() == '/' ? home + "/" + fallback : "";
}

std::string library_directory() {
  Dl_info info{};
  static const int anchor = 0;
  if (::dladdr(&anchor, &info) == 0 || info.dli_fname == nullptr) return "";
  std::error_code error;
  fs::path file = fs::canonical(info.dli_fname, error);
  // Linked into a program: dladdr repeats argv[0], which need not be a path.
  if (error) file = fs::canonical("/proc/self/exe", error);
  return error ? "" : file.parent_path().string();
}

std::string library_plugin_directory() {
  static const std::string directory = [] {
    const std::string base = library_directory();
    return base.empty() ? "" : base + "/attn/plugins";
  }();
  return directory;
}

std::string probe_program() {
  static const std::string program = [] {
    const std::string base = library_directory();
    if (base.empty()) return std::string();
    // <prefix>/lib, <prefix>/lib/<machine>, or all in one directory (a Python package).
    for (const char* relative : {"/../libexec/attn/", "/../../libexec/attn/", "/attn/", "/"}) {
      const std::string found = existing(base + relative + "attn-plugin-probe");
      if (!found.empty()) return fs::path(found).lexically_normal().string();
    }
    return std::string();
  }();
  return program;
}

std::vector<SearchPlace> search_places(const SearchOptions& options) {
  std::vector<SearchPlace> places;
  for (const std::string& path : options.explicit_paths) places.push_back(explicit_place(path));
  if (places.empty()) {
    if (options.use_environment) add_environment(places);
    if (options.use_user_directory) {
      const std::string user = xdg_directory("XDG_DATA_HOME", ".local/share");
      if (!user.empty())
        places.push_back({user + "/attn/plugins", PathSource::user, false, false, ""});
    }
    const std::string library =
        options.library_plugins.empty() ? library_plugin_directory() : options.library_plugins;
    if (!library.empty()) places.push_back({library, PathSource::library, false, false, ""});
  }
  std::set<std::string> seen;
  std::vector<SearchPlace> unique;
  for (SearchPlace& place : places) {
    std::error_code error;
    if (place.problem.empty()) {
      place.exists = fs::exists(place.path, error);
      if (error) place.problem = unreadable(place, error);
      const fs::path real = fs::weakly_canonical(place.path, error);
      if (!seen.insert(error ? place.path : real.string()).second) continue;
    }
    if (place.exists && !place.single_file) check_trust(place);
    unique.push_back(std::move(place));
  }
  return unique;
}

std::vector<std::string> plugin_files(SearchPlace& place) {
  std::vector<std::string> names;
  if (!place.exists || !place.problem.empty()) return names;
  if (place.single_file) return {place.path};
  std::error_code error;
  fs::directory_iterator at(place.path, error);
  while (!error && at != fs::directory_iterator()) {
    const std::string file = at->path().filename().string();
    const bool library = file.size() > 3 && file.compare(file.size() - 3, 3, ".so") == 0;
    if (library && file.front() != '.') names.push_back(file);
    at.increment(error);
  }
  if (error) place.problem = unreadable(place, error);
  std::sort(names.begin(), names.end());
  for (std::string& file : names) file = place.path + "/" + file;
  return names;
}

}  // namespace attn::loader
