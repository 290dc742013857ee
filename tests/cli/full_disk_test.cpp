// SPDX-License-Identifier: Apache-2.0
//
// Output that has no place: past a limit of file sizes, on a full device, in a directory that takes nothing, into a
// pipe that none reads. An error and its exit code, the old file, and no file of a part of the new one.
#include "tests/cli/program.hpp"
#include "tests/tools/build.hpp"

namespace attn::test {
namespace {

// As a shell runs it; words with spaces are not needed.
Finished in_shell(const std::string& script) { return run_process({"/bin/sh", "-c", script}); }

std::vector<std::string> files_in(const std::string& directory) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory))
    names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

TEST_CASE("cli: output past a limit of file sizes is an error, for every file that is written") {
  const Folder folder;
  const std::string layer =
      folder.write("layer.json", R"({"type": "multi_head", "dim": 64, "num_heads": 2})");
  const std::string x = folder.write_npy("x.npy", {2, 40, 64});
  const std::string out = folder / "out";
  std::filesystem::create_directories(out);
  const std::string run = kProgram + " run " + layer + " --input inputs=" + x;
  // 8 blocks of 512 bytes
  for (const std::string& command :
       {run + " --output " + out + "/y.npy", run + " --output " + out + "/y.safetensors"}) {
    INFO(command);
    for (const bool old : {false, true}) {
      const std::string name = command.substr(command.rfind('/') + 1);
      if (old) folder.write("out/" + name, "old");
      const Finished f = in_shell("ulimit -f 8; " + command);
      INFO(f.err);
      CHECK(f.code == 3);
      CHECK_THAT(f.err,
                 Catch::Matchers::Contains("File too large") && Catch::Matchers::Contains(name));
      CHECK(files_in(out) == (old ? std::vector<std::string>{name} : std::vector<std::string>{}));
      if (old) CHECK(read_file(out + "/" + name) == "old");
      std::filesystem::remove(out + "/" + name);
    }
  }
  // The file of verdicts about plugins may be cut short as well; it is missed by none.
  const Finished cached = in_shell("ulimit -f 0; export XDG_CACHE_HOME=" + out +
                                   " ATTN_PLUGIN_PATH=" + built("tests/plugins_bad/computing") +
                                   "; " + kProgram + " info multi_head");
  INFO(cached.err);
  CHECK(cached.code == 0);
  // Standard output in such a file.
  const Finished f = in_shell("ulimit -f 1; " + kProgram + " list --json > " + (folder / "log"));
  CHECK(f.code == 3);
  CHECK_THAT(f.err, Catch::Matchers::Contains("standard output cannot be written"));
}

TEST_CASE("cli: a full device and a directory that takes nothing are errors") {
  const Folder folder;
  const std::string layer = layer_file(folder), x = folder.write_npy("x.npy", {2, 5, 8});
  const std::string run = kProgram + " run " + layer + " -q --input inputs=" + x;
  for (const char* command :
       {" list", " list --json", " info multi_head", " --version", " --help"}) {
    INFO(command);
    const Finished f = in_shell(kProgram + command + " > /dev/full");
    CHECK(f.code == 3);
    CHECK_THAT(f.err, Catch::Matchers::Contains("standard output cannot be written"));
  }
  const Finished closed = in_shell(kProgram + " list >&-");
  CHECK(closed.code == 3);
  for (const std::string& path : {folder / "none/y.npy", std::string("/proc/y.npy")}) {
    const Finished f = in_shell(run + " --output " + path);
    INFO(f.err);
    CHECK((f.code == 2 || f.code == 3));
    CHECK_THAT(f.err, Catch::Matchers::Contains(path));
  }
}

TEST_CASE("cli: a reader that has seen enough ends the program quietly") {
  const Finished f = in_shell("(" + kProgram + " list; echo code $? >&2) | head -n 0");
  INFO(f.err);
  CHECK_THAT(f.err, Catch::Matchers::Matches("code (0|141)\n"));
}

}  // namespace attn::test
