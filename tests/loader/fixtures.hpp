// SPDX-License-Identifier: Apache-2.0
//
// What the tests of the loader share: the fixture plugins, temporary directories, and registries that
// depend on nothing outside the test.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <deque>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "core/engine/op_ref.hpp"
#include "host/library/loader/registry.hpp"
#include "tests/tools/build.hpp"

namespace attn::loader::test {

namespace fs = std::filesystem;

// Path of a plugin of tests/plugins_bad, by its name without ".so".
inline std::string fixture(const std::string& name) {
  return attn::test::built("tests/plugins_bad/") + name + ".so";
}

inline std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void write_file(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

class TempDir {
 public:
  TempDir() {
    std::string form = (fs::temp_directory_path() / "attn-loader-XXXXXX").string();
    path_ = ::mkdtemp(form.data());
  }
  ~TempDir() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  // Copies a fixture here, under its own or another name; returns the path.
  std::string add(const std::string& name, const std::string& as = "") const {
    const std::string to = path_ + "/" + (as.empty() ? name : as) + ".so";
    fs::copy_file(fixture(name), to);
    return to;
  }

 private:
  std::string path_;
};

// An engine without operators of its own, apart from those given.
inline EngineHooks hooks(std::vector<const attn_op*> core = {}) {
  static std::deque<attn_op_ref> refs;
  const auto make = [](const attn_op* op) -> const attn_op_ref* {
    return &refs.emplace_back(attn_op_ref{op});
  };
  std::vector<const attn_op_ref*> known;
  for (const attn_op* op : core) known.push_back(make(op));
  const auto find = [known](std::string_view name, uint32_t version) -> const attn_op_ref* {
    for (const attn_op_ref* ref : known) {
      if (name == ref->op->name && version == ref->op->version) return ref;
    }
    return nullptr;
  };
  return {nullptr, find, make};
}

inline RegistryOptions options(std::vector<std::string> paths) {
  RegistryOptions o;
  o.search.explicit_paths = std::move(paths);
  o.manifest = "/nonexistent/manifest.txt";
  o.cache = "";
  o.probe.deadline = std::chrono::milliseconds(5000);
  return o;
}

inline PluginFile file_of(const PluginReport& report, const std::string& path) {
  for (const PluginFile& file : report.files) {
    if (file.path == path) return file;
  }
  PluginFile none;
  none.code = "not in the report";
  return none;
}

inline std::vector<std::string> type_ids(Registry& registry) {
  std::vector<std::string> ids;
  for (const RegisteredType& type : registry.types()) ids.emplace_back(type.type->id);
  return ids;
}

}  // namespace attn::loader::test
