// SPDX-License-Identifier: Apache-2.0
//
// The types that come with the library: a file for each folder of plugins, and an example each that runs.
#include <map>
#include <set>

#include "tests/cli/program.hpp"
#include "tests/tools/build.hpp"
#include "tests/tools/plugin_folders.hpp"

namespace attn::test {

namespace {

const std::filesystem::path kPlugins = test::built("lib/attn/plugins");

// Type to file name.
std::map<std::string, std::string> listed(const std::string& directory) {
  const Finished f = attn_run({"list", "--json", "--plugin-path", directory});
  check_done(f);
  CHECK(f.err.empty());
  std::map<std::string, std::string> types;
  const Json list = parsed(f.out);
  for (const Json& t : list.as_list())
    types[t.at("type").as_string()] =
        std::filesystem::path(t.at("library").as_string()).filename().string();
  return types;
}

}  // namespace

TEST_CASE("cli: a file for each plugin, and a file takes its types with it") {
  const Folder folder;
  std::filesystem::copy(kPlugins, folder / "plugins");
  const std::string directory = folder / "plugins";
  const auto all = listed(directory);
  CHECK(all.size() == type_examples().size());
  std::set<std::string> files;
  for (const auto& [type, file] : all) files.insert(file);
  CHECK(files.size() == plugin_folders());
  for (const std::string& file : files) {
    INFO(file);
    const std::string path = directory + "/" + file, aside = folder / file;
    std::filesystem::rename(path, aside);
    auto rest = all;
    std::erase_if(rest, [&](const auto& type) { return type.second == file; });
    CHECK(listed(directory) == rest);
    std::filesystem::rename(aside, path);
  }
  CHECK(listed(directory) == all);
}

TEST_CASE("cli: the example of every type is valid and runs") {
  for (const auto& [type, path] : type_examples()) {
    const std::string example = path;
    INFO(example);
    check_done(attn_run({"validate", example}));
    CHECK(parse_config(read_file(example), example).at("type").as_string() == type);
    std::vector<std::string> command{"bench", example, "--json", "--seconds", "0"};
    if (type == "shared_weights_cross") {  // the one argument that a call cannot do without
      command.insert(command.end(), {"--arg", "split_sizes=[8,8]"});
    }
    const Finished f = attn_run(command);
    check_done(f);
    CHECK(parsed(f.out).at("ms_min").to_double() > 0);
  }
}

}  // namespace attn::test
