// SPDX-License-Identifier: Apache-2.0
#include "host/library/loader/manifest.hpp"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "host/library/loader/search_path.hpp"

namespace attn::loader {
namespace {

constexpr const char* kFirstLine = "attn plugin manifest 1";

}  // namespace

Manifest Manifest::read(const std::string& path) {
  Manifest manifest;
  manifest.path_ = path;
  std::ifstream file(path);
  std::string line;
  if (!file) {
    manifest.problem_ = "the manifest " + path + " cannot be read";
    return manifest;
  }
  if (!std::getline(file, line) || line != kFirstLine) {
    manifest.problem_ = "the manifest " + path + " is damaged";
    return manifest;
  }
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string id;
    Entry entry{};
    if (words >> id >> entry.size >> std::hex >> entry.hash && id != "-") {
      manifest.entries_.emplace(id, entry);
    }
  }
  return manifest;
}

std::string Manifest::make(const std::string& directory) {
  std::string text = std::string(kFirstLine) + "\n";
  SearchPlace place{directory, PathSource::library, true, false, ""};
  for (const std::string& path : plugin_files(place)) {
    const auto note = read_note(path, true);
    if (const auto* plugin = std::get_if<PluginNote>(&note)) {
      char hash[20];
      std::snprintf(hash, sizeof hash, "%016llx", static_cast<unsigned long long>(plugin->hash));
      text += (plugin->build_id.empty() ? "-" : plugin->build_id) + " " +
              std::to_string(plugin->identity.size) + " " + hash + " " +
              std::filesystem::path(path).filename().string() + "\n";
    }
  }
  return text;
}

bool Manifest::comes_with_library(const PluginNote& note) const {
  return !note.build_id.empty() && entries_.count(note.build_id) > 0;
}

bool Manifest::same_bytes(const PluginNote& note) const {
  const auto [first, last] = entries_.equal_range(note.build_id);
  return std::any_of(first, last, [&](const auto& entry) {
    return entry.second.size == note.identity.size && entry.second.hash == note.hash;
  });
}

}  // namespace attn::loader
