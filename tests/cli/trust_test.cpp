// SPDX-License-Identifier: Apache-2.0
//
// Plugin files and directories that anyone may write, locks, and plugins in a process of their own.
#include <sys/stat.h>

#include "tests/cli/program.hpp"
#include "tests/tools/build.hpp"
#include "tests/tools/plugin_folders.hpp"

namespace attn::test {

namespace {

const std::string kBad = test::built("tests/plugins_bad/");

// A directory of the folder with one plugin.
std::string directory_with(const Folder& folder, const std::string& plugin) {
  const std::string directory = folder / "plugins";
  std::filesystem::create_directories(directory);
  std::filesystem::copy(kBad + plugin, directory);
  return directory;
}

// State and reason of the only file that `attn plugins` shows.
std::string state(const std::vector<std::string>& options, const Environment& environment = {}) {
  std::vector<std::string> command{"plugins", "--json"};
  command.insert(command.end(), options.begin(), options.end());
  const Finished f = attn_run(command, environment);
  check_done(f);
  const Json files = parsed(f.out);
  if (files.size() != 1) return std::to_string(files.size()) + " files";
  const Json& file = files.at(0);
  if (file.at("state").as_string() == "loaded") return "loaded";
  return file.at("code").as_string() + ": " + file.at("problem").as_string() + "; " +
         file.at("hint").as_string();
}

Finished run_misbehaving(const Folder& folder, const std::string& how,
                         std::vector<std::string> options) {
  const std::string config = folder.write("layer.json", R"({"type": "fixture.misbehaves"})");
  std::vector<std::string> command{
      "run",      config,           "--input",       "inputs=" + folder.write_npy("x.npy", {2, 3}),
      "--output", folder / "y.npy", "--plugin-path", kBad + "computing/misbehaves.so"};
  command.insert(command.end(), options.begin(), options.end());
  return attn_run(command, {{"ATTN_FIXTURE_MISBEHAVES", how}});
}

}  // namespace

TEST_CASE("trust: a directory or file that anyone may write is refused with the remedy") {
  const Folder folder;
  const std::string directory = directory_with(folder, "good.so"), file = directory + "/good.so";
  CHECK(state({"--plugin-path", directory}) == "loaded");
  REQUIRE(::chmod(directory.c_str(), 01777) == 0);
  check_refused(attn_run({"plugins", "--plugin-path", directory}),
                {directory, "can be written by anyone", "chmod o-w " + directory});
  // Named by the environment, it is left out.
  const Finished doctor = attn_run({"doctor"}, {{"ATTN_PLUGIN_PATH", directory}});
  CHECK_THAT(doctor.out, Catch::Contains("chmod o-w") && Catch::Contains("can be written by"));
  CHECK_THAT(doctor.out, !Catch::Contains(file));
  REQUIRE(::chmod(directory.c_str(), 0755) == 0);
  REQUIRE(::chmod(file.c_str(), 0666) == 0);
  CHECK(state({"--plugin-path", directory}) ==
        "world_writable: can be written by anyone; chmod o-w " + file);
  CHECK(state({"--plugin-path", file}) ==
        "world_writable: can be written by anyone; chmod o-w " + file);
  REQUIRE(::chmod(file.c_str(), 0644) == 0);
  SECTION("the directory above, unless it is sticky") {
    const std::string above = std::filesystem::path(directory).parent_path();
    REQUIRE(::chmod(above.c_str(), 0777) == 0);
    check_refused(attn_run({"plugins", "--plugin-path", directory}), {"chmod o-w " + above});
    CHECK_THAT(state({"--plugin-path", file}), Catch::Contains("can be replaced by anyone"));
    REQUIRE(::chmod(above.c_str(), 01777) == 0);
    CHECK(state({"--plugin-path", directory}) == "loaded");
    REQUIRE(::chmod(above.c_str(), 0700) == 0);
  }
  SECTION("what a link leads to, and where the link is") {
    const std::string open_to_all = folder / "open to all", safe = folder / "safe";
    std::filesystem::create_directory(open_to_all);
    std::filesystem::create_directory(safe);
    std::filesystem::rename(file, open_to_all + "/good.so");
    std::filesystem::create_symlink(open_to_all + "/good.so", safe + "/good.so");
    std::filesystem::create_directory_symlink(safe, open_to_all + "/link");
    CHECK(state({"--plugin-path", safe}) == "loaded");
    REQUIRE(::chmod(open_to_all.c_str(), 0777) == 0);
    CHECK_THAT(state({"--plugin-path", safe}), Catch::Contains("chmod o-w '" + open_to_all + "'"));
    check_refused(attn_run({"plugins", "--plugin-path", open_to_all + "/link"}),
                  {"chmod o-w '" + open_to_all + "'"});
  }
}

TEST_CASE("lock: nothing but what it lists, and the reason says what differs") {
  const Folder folder;
  const std::string directory = directory_with(folder, "good.so");
  const std::string lock = directory + "/plugins.lock";
  const Finished written = attn_run({"lock", directory});
  check_done(written);
  CHECK(written.out == lock + ": 1 plugin\n");
  const std::string text = read_file(lock);
  CHECK(parsed(text).at("plugins").at(0).at("types").at("fixture.good").empty());
  CHECK(state({"--plugin-path", directory}) == "loaded");
  CHECK(state({"--plugin-path", directory + "/good.so"}) == "loaded");
  SECTION("another file under the name") {
    std::filesystem::copy_file(kBad + "slow.so", directory + "/good.so",
                               std::filesystem::copy_options::overwrite_existing);
    const std::string sum = parsed(text).at("plugins").at(0).at("sha256").as_string();
    for (int run = 0; run < 2; ++run)  // every time
      CHECK_THAT(state({"--plugin-path", directory}),
                 Catch::StartsWith("locked: is not the file of the lock " + lock) &&
                     Catch::Contains("the locked one is good 1.0.0, this one slow 1.0.0"));
    const Finished plugins = attn_run({"plugins", "--plugin-path", directory});
    CHECK_THAT(plugins.out, Catch::Contains(sum));
    check_done(attn_run({"lock", directory}));  // the old lock does not stand in the way
    CHECK(state({"--plugin-path", directory}) == "loaded");
  }
  SECTION("one more file") {
    std::filesystem::rename(directory + "/good.so", directory + "/other.so");
    CHECK_THAT(state({"--plugin-path", directory}),
               Catch::StartsWith("locked: is not in the lock " + lock));
  }
  SECTION("one appended byte, which no code is in") {
    std::ofstream(directory + "/good.so", std::ios::app) << 'x';
    CHECK_THAT(state({"--plugin-path", directory}), Catch::Contains("both are good 1.0.0"));
  }
  SECTION("a lock that is damaged, missing, relative or writable lets nothing in") {
    const std::string elsewhere = folder / "elsewhere.lock";
    std::filesystem::rename(lock, elsewhere);
    const auto with = [&](const std::string& path) {
      return state({"--plugin-path", directory}, {{"ATTN_PLUGIN_LOCK", path}});
    };
    CHECK(with("") == "loaded");
    CHECK(with(elsewhere) == "loaded");
    CHECK_THAT(with(folder / "none"), Catch::Contains("lets nothing in"));
    CHECK_THAT(with(lock), Catch::Contains("lets nothing in"));  // it is gone, beside the file
    CHECK_THAT(with("elsewhere.lock"), Catch::Contains("is named by a relative path"));
    REQUIRE(::chmod(elsewhere.c_str(), 0666) == 0);
    CHECK_THAT(with(elsewhere), Catch::Contains("chmod o-w " + elsewhere));
    folder.write("elsewhere.lock", text.substr(0, text.size() / 2));
    REQUIRE(::chmod(elsewhere.c_str(), 0644) == 0);
    CHECK_THAT(with(elsewhere), Catch::Contains("lets nothing in"));
    folder.write("elsewhere.lock", R"({"plugins": [{"file": "good.so"}]})");
    CHECK_THAT(with(elsewhere), Catch::Contains("sha256"));
  }
  SECTION("one of everything that is loaded") {
    const std::string all = folder / "all.lock";
    check_done(attn_run({"lock", "--output", all}));
    const Json plugins = parsed(read_file(all)).at("plugins");
    CHECK(plugins.size() == plugin_folders());
    CHECK(plugins.at(0).at("types").at("anchor").at(0).is_string());  // what it claims
    const Finished list = attn_run({"list", "--json"}, {{"ATTN_PLUGIN_LOCK", all}});
    check_done(list);
    CHECK(parsed(list.out).size() == type_examples().size());
    CHECK_THAT(state({"--plugin-path", kBad + "slow.so"}, {{"ATTN_PLUGIN_LOCK", all}}),
               Catch::StartsWith("locked: is not in the lock"));
  }
}

TEST_CASE("isolate: outputs and exit codes are those of the command") {
  const Folder folder;
  const Finished plain = run_misbehaving(folder, "", {});
  const std::string output = read_file(folder / "y.npy");
  check_done(plain);
  std::filesystem::remove(folder / "y.npy");
  const Finished isolated = run_misbehaving(folder, "", {"--isolate", "--deadline", "100"});
  check_done(isolated);
  CHECK(isolated.out == plain.out);
  CHECK(isolated.err == plain.err);
  CHECK(read_file(folder / "y.npy") == output);
  const Finished refused = run_misbehaving(folder, "", {"--isolate", "--arg", "none=1"});
  CHECK(refused.code == 2);
  CHECK(refused.err == run_misbehaving(folder, "", {"--arg", "none=1"}).err);
  check_refused(run_misbehaving(folder, "", {"--deadline", "1"}), {"--isolate"});
}

TEST_CASE("isolate: a crash, an exit and a hang cost the call, and the message names them") {
  const Folder folder;
  struct Case {
    const char *how, *call, *text;
  };
  const Case cases[] = {{"create:crash", "create()", "signal 11 (Segmentation fault)"},
                        {"build:exit", "build()", "ended the process (exit status 0)"},
                        {"worker:crash", "forward()", "signal 11 (Segmentation fault)"},
                        {"forward:hang", "forward()", "did not come to an end within 5 s"}};
  for (const Case& c : cases) {
    INFO(c.how);
    std::vector<std::string> options{"--isolate"};
    if (std::string(c.how) == "forward:hang") options.insert(options.end(), {"--deadline", "5"});
    const Finished f = run_misbehaving(folder, c.how, options);
    CHECK(f.code == 3);
    CHECK(f.out.empty());
    CHECK_THAT(f.err, Catch::Contains(c.text) && Catch::Contains(c.call) &&
                          Catch::Contains("type 'fixture.misbehaves'") &&
                          Catch::Contains("computing/misbehaves.so"));
    CHECK(!std::filesystem::exists(folder / "y.npy"));
  }
  const Finished thrown = run_misbehaving(folder, "forward:exception", {"--isolate"});
  CHECK(thrown.code == 3);
  CHECK_THAT(thrown.err, Catch::Contains("no luck in forward"));
}

}  // namespace attn::test
