// SPDX-License-Identifier: Apache-2.0
#include "host/cli/environment.hpp"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <string_view>
#include <vector>

#include "core/schema/text.hpp"

namespace attn::cli {

namespace {

// Everything that the library and the program read, but for what all programs do (HOME, TERM, NO_COLOR).
const std::map<std::string, std::string>& effects() {
  static const std::map<std::string, std::string> all{
      {"ATTN_ISA", "forces this instruction set"},
      {"ATTN_LOG", "the least level of the program's log lines"},
      {"ATTN_PLUGIN_LOCK", "a lock for all plugin files"},
      {"ATTN_PLUGIN_PATH", "directories that are searched for plugins before the others"},
      {"ATTN_THREADS", "the number of threads"},
      {"XDG_CACHE_HOME", "has what became of plugin files that were tried, in attn"},
      {"XDG_DATA_HOME", "its attn/plugins is the user's directory of plugins"}};
  return all;
}

bool has_source(const PluginReport& report, std::string_view source) {
  return std::any_of(report.directories.begin(), report.directories.end(),
                     [&](const PluginDirectory& d) { return d.source == source; });
}

// Explicit places are the only ones, and a file among them is no directory.
bool is_explicit(const PluginReport& report) {
  return report.directories.empty() || has_source(report, "--plugin-path");
}

std::string effect_of(const std::string& name, const std::string& value,
                      const PluginReport& report) {
  const auto known = effects().find(name);
  if (known == effects().end()) {
    schema::Names names;
    for (const auto& [each, effect] : effects()) names.push_back(each);
    const std::string near = schema::did_you_mean(name, names);
    return "nothing here reads it" + (near.empty() ? "" : "; " + near);
  }
  if (name.starts_with("XDG_") && value.front() != '/')
    return "does not count: expected an absolute path; write the whole path";
  if (name == "ATTN_PLUGIN_PATH" && is_explicit(report))
    return "does not count: --plugin-path says where plugins are; leave that out to search these "
           "directories";
  if (name == "ATTN_PLUGIN_PATH" && !has_source(report, name))
    return "names no directory; expected absolute paths joined by ':'";
  if (name == "ATTN_PLUGIN_LOCK" &&
      std::none_of(report.locks.begin(), report.locks.end(),
                   [&](const PluginLockFile& l) { return l.path == value; }))
    return report.files.empty() ? known->second + "; there is no file to check"
                                : "does not count: locks are switched off";
  return known->second;
}

// What lies in a directory and is no plugin by its name: the search takes files that end in .so, of no folder below.
std::vector<std::string> left_out(const PluginDirectory& d) {
  std::vector<std::string> names;
  std::error_code ec;
  for (const auto& entry : std::filesystem::directory_iterator(d.path, ec)) {
    const std::string name = entry.path().filename().string();
    const bool is_folder = entry.is_directory(ec);
    const bool own = name == "manifest.txt" || name == "plugins.lock";
    if (!own && (is_folder || entry.path().extension() != ".so"))
      names.push_back(name + (is_folder ? "/" : ""));
  }
  std::sort(names.begin(), names.end());
  return names;
}

// What to do about a directory that has no plugins.
std::string remedy(const PluginDirectory& d) {
  if (d.source == "ATTN_PLUGIN_PATH")
    return d.exists ? "copy plugins into it, or take it out of ATTN_PLUGIN_PATH"
                    : "create it, or take it out of ATTN_PLUGIN_PATH";
  if (d.source == "--plugin-path") return "copy plugins into it, or name another one";
  if (d.source == "beside the library")
    return "expected the plugins that come with the library; install it anew";
  return "it is for plugins of your own, and need not be there";
}

}  // namespace

Json environment_facts(const PluginReport& report,
                       const std::map<std::string, std::string>& instead) {
  std::map<std::string, std::string> set;  // in the order of the names
  for (char** each = environ; each != nullptr && *each != nullptr; ++each) {
    const std::string_view entry(*each);
    const size_t equals = std::min(entry.find('='), entry.size() - 1);
    const std::string name(entry.substr(0, equals)), value(entry.substr(equals + 1));
    // Empty ones count as not set.
    if (!value.empty() && (name.starts_with("ATTN_") || effects().contains(name)))
      set.emplace(name, value);
  }
  Json facts = Json::list({});
  for (const auto& [name, value] : set) {
    const auto other = instead.find(name);
    facts.push_back(
        {{"name", name},
         {"value", value},
         {"effect", other != instead.end() ? other->second : effect_of(name, value, report)}});
  }
  return facts;
}

std::string plugin_path_text(const PluginReport& report) {
  if (is_explicit(report)) return "the places of --plugin-path, and no others";
  std::string text;
  for (const PluginDirectory& d : report.directories)
    if (text.find(d.source) == std::string::npos)
      text += (text.empty() ? "" : ", then ") + d.source;
  return text + (has_source(report, "ATTN_PLUGIN_PATH")
                     ? ""
                     : "; ATTN_PLUGIN_PATH or --plugin-path add or name others");
}

std::string directory_state(const PluginDirectory& d, const PluginReport& report) {
  if (!d.problem.empty()) return d.problem;
  if (!d.exists) return "does not exist; " + remedy(d);
  const auto n = std::count_if(report.files.begin(), report.files.end(), [&](const PluginFile& f) {
    return f.path.starts_with(d.path + "/") || f.path == d.path;
  });
  std::string text = n == 0 ? "no file" : std::to_string(n) + (n == 1 ? " file" : " files");
  std::vector<std::string> others = left_out(d);
  if (others.empty()) return n == 0 ? "empty; " + remedy(d) : text;
  constexpr size_t kMost = 5;
  const size_t more = others.size() > kMost ? others.size() - kMost : 0;
  others.resize(others.size() - more);
  return text + "; not looked at, since a plugin is a file NAME.so of the directory itself: " +
         schema::name_list(others) + (more > 0 ? " and " + std::to_string(more) + " more" : "");
}

std::string lock_state(const PluginLockFile& lock) {
  return lock.path +
         (lock.problem.empty() ? " lets in what it lists" : " lets nothing in: " + lock.problem);
}

}  // namespace attn::cli
