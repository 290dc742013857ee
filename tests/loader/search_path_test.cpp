// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>

#include "core/error/error.hpp"
#include "tests/loader/fixtures.hpp"

using namespace attn;
using namespace attn::loader;
using namespace attn::loader::test;

namespace {

// Sets a variable of the environment while it lives.
class Environment {
 public:
  Environment(const char* name, const std::string& value) : name_(name) {
    const char* before = std::getenv(name);
    had_ = before != nullptr;
    if (had_) before_ = before;
    ::setenv(name, value.c_str(), 1);
  }
  ~Environment() {
    if (had_) {
      ::setenv(name_, before_.c_str(), 1);
    } else {
      ::unsetenv(name_);
    }
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  const char* name_;
  bool had_ = false;
  std::string before_;
};

std::vector<std::string> paths(const SearchOptions& options) {
  std::vector<std::string> out;
  for (const SearchPlace& place : search_places(options)) out.push_back(place.path);
  return out;
}

std::string refusal(const std::string& path) {
  try {
    SearchOptions options;
    options.explicit_paths = {path};
    (void)search_places(options);
  } catch (const InvalidArgument& e) {
    CHECK(!e.details().expected.empty());
    CHECK(!e.details().hint.empty());
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("search_path: environment, then the user's directory, then the library's") {
  const TempDir dir;
  const Environment path("ATTN_PLUGIN_PATH", (dir / "a") + "::" + (dir / "b"));
  const Environment data("XDG_DATA_HOME", dir / "data");
  SearchOptions options;
  options.library_plugins = dir / "lib";
  CHECK(paths(options) == std::vector<std::string>{dir / "a", dir / "b",
                                                   dir / "data" + "/attn/plugins", dir / "lib"});
  options.use_environment = options.use_user_directory = false;
  CHECK(paths(options) == std::vector<std::string>{dir / "lib"});
  options.library_plugins.clear();
  CHECK(paths(options) == std::vector<std::string>{library_plugin_directory()});
}

TEST_CASE("search_path: the user's directory is that of HOME when XDG_DATA_HOME is not absolute") {
  const Environment home("HOME", "/nowhere/home");
  const Environment data("XDG_DATA_HOME", "relative");
  CHECK(xdg_directory("XDG_DATA_HOME", ".local/share") == "/nowhere/home/.local/share");
  const Environment no_home("HOME", "");
  CHECK(xdg_directory("XDG_DATA_HOME", ".local/share").empty());
}

TEST_CASE("search_path: explicit paths are the only ones") {
  const TempDir dir;
  const Environment path("ATTN_PLUGIN_PATH", dir.path());
  const std::string file = dir.add("good");
  fs::create_directory(dir / "b");
  SearchOptions options;
  options.explicit_paths = {dir / "b", file};
  const auto places = search_places(options);
  REQUIRE(places.size() == 2);
  CHECK(places[0].path == dir / "b");
  CHECK(places[1].single_file);
}

TEST_CASE("search_path: an explicit path that is not there is an error") {
  const TempDir dir;
  CHECK(refusal(dir / "absent") ==
        "plugin path '" + (dir / "absent") +
            "' does not exist; expected a directory with plugins, or a plugin file; create it or "
            "correct --plugin-path");
  CHECK(refusal("/dev/null").find("is neither directory nor file") != std::string::npos);
  CHECK(refusal("").find("does not exist") != std::string::npos);
  CHECK(refusal(dir.path()).empty());
  RegistryOptions chosen = options({dir / "absent"});
  CHECK_THROWS_AS(Registry(chosen, hooks()), InvalidArgument);
}

TEST_CASE("search_path: a relative entry of ATTN_PLUGIN_PATH is not searched, and said so") {
  const TempDir dir;
  const std::string before = fs::current_path();
  fs::current_path(dir.path());
  fs::create_directory(dir / "plugins");
  fs::copy_file(fixture("good"), dir / "plugins/good.so");
  fs::copy_file(fixture("slow"), dir / "slow.so");
  const Environment path("ATTN_PLUGIN_PATH", "plugins:.");
  RegistryOptions chosen = options({});
  chosen.search.use_user_directory = false;
  chosen.search.library_plugins = dir / "none";
  Registry registry(chosen, hooks());
  CHECK(type_ids(registry).empty());  // neither there nor in the working directory
  const PluginReport report = registry.report();
  REQUIRE(report.directories.size() == 3);
  CHECK(report.directories[0].problem.find("relative entry 'plugins'") != std::string::npos);
  CHECK(report.directories[2].path == dir / "none");
  CHECK_FALSE(report.directories[2].exists);
  CHECK(report.directories[2].problem.empty());
  fs::current_path(before);
}

TEST_CASE("search_path: one directory twice is searched once") {
  const TempDir dir;
  fs::create_directory(dir / "a");
  fs::create_directory_symlink(dir / "a", dir / "b");
  SearchOptions options;
  options.explicit_paths = {dir / "a", dir / "b", dir / "a/", dir / "b/../a"};
  CHECK(paths(options) == std::vector<std::string>{dir / "a"});
}

TEST_CASE("search_path: files in byte order, hidden and other ones left out") {
  const TempDir dir;
  for (const char* name : {"b.so", "a.so", "B.so", ".c.so", "d.so.1", "e.txt", ".so", "so"}) {
    write_file(dir / name, "");
  }
  SearchPlace place{dir.path(), PathSource::library, true, false, ""};
  CHECK(plugin_files(place) == std::vector<std::string>{dir / "B.so", dir / "a.so", dir / "b.so"});
}

TEST_CASE("search_path: relative paths become absolute at once") {
  CHECK(absolute_path("x/../y/") == fs::current_path().string() + "/y");
  CHECK(absolute_path("/a/b/") == "/a/b");
  CHECK(absolute_path("/") == "/");
}
