// SPDX-License-Identifier: Apache-2.0
//
// attn new: names in every file, golden cases of the new type, and what is refused. tests/install builds what it writes.
#include "tests/cli/program.hpp"

namespace attn::test {

namespace {

namespace fs = std::filesystem;

std::vector<std::string> files_below(const std::string& directory) {
  std::vector<std::string> out;
  for (const auto& entry : fs::recursive_directory_iterator(directory))
    if (entry.is_regular_file()) out.push_back(fs::relative(entry.path(), directory).string());
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace

TEST_CASE("new: every template, under another name") {
  const Folder folder;
  // The names that the templates have themselves.
  const std::vector<std::pair<std::string, std::string>> templates{{"basic", "sliding_sink"},
                                                                   {"gate", "feature_gate"},
                                                                   {"decode", "decay_memory"},
                                                                   {"kernel", "leaky_scan"},
                                                                   {"c", "causal_average"}};
  for (const auto& [kind, word] : templates) {
    CAPTURE(kind);
    const std::string directory = folder / kind;
    const Finished made = attn_run(
        {"new", "org.example.tide_2", "--template", kind, "--directory", directory, "--json"});
    check_done(made);
    const Json report = parsed(made.out);
    CHECK(report.at("type").as_string() == "org.example.tide_2");
    const std::vector<std::string> files = files_below(directory);
    CHECK(report.at("files").size() == files.size());
    for (const char* file : {".gitignore", "CMakeLists.txt", "README.md", "ci.sh", "golden/case.py",
                             "golden/make.py", "golden/tide_2.safetensors", "layer.json",
                             "workloads.json", kind == "c" ? "tide_2.c" : "tide_2.cpp"})
      CHECK(std::count(files.begin(), files.end(), file) == 1);
    for (const std::string& file : files) {
      CAPTURE(file);
      const std::string text = read_file(directory + "/" + file);
      CHECK_FALSE(text.empty());
      for (const auto& [other, name] : templates) {
        CHECK(text.find("example." + name) == std::string::npos);
        CHECK(text.find(name) == std::string::npos);
      }
    }
    CHECK_THAT(read_file(directory + "/layer.json"),
               Catch::Matchers::Contains("\"org.example.tide_2\""));
    CHECK_THAT(read_file(directory + "/" + (kind == "c" ? "tide_2.c" : "tide_2.cpp")),
               Catch::Matchers::Contains("\"Tide2\""));
    const SafetensorsFile golden(directory + "/golden/tide_2.safetensors");
    CHECK(golden.metadata().at("type") == "org.example.tide_2");
    CHECK(golden.metadata().at("case") == "tide_2");
    CHECK(golden.contains("grad_input/inputs"));
    for (const char* script : {"ci.sh", "golden/make.py"})
      CHECK((fs::status(directory + "/" + script).permissions() & fs::perms::owner_exec) !=
            fs::perms::none);
  }
}

TEST_CASE("new: the basic template has at most 50 lines of C++") {
  CHECK(lines(read_file(ATTN_SOURCE_DIR "/sdk/template/sliding_sink.cpp")) <= 50);
}

TEST_CASE("new: refusals leave nothing behind") {
  const Folder folder;
  const std::string there = folder.write("there", "mine");
  const auto refused = [&](const std::string& id, const std::string& directory,
                           const std::vector<std::string>& parts) {
    check_refused(attn_run({"new", id, "--directory", directory}), parts);
    CHECK_FALSE(fs::exists(folder / "x"));
  };
  const std::string x = folder / "x";
  refused("my_type", x, {"'my_type'", "no dot", "expected", "attn new org.example.my_type"});
  refused("Org.example", x, {"'Org.example'", "lower-case"});
  refused("org..a", x, {"'org..a'", "joined by dots"});
  refused("org.2d", x, {"begin with a letter"});
  refused("org.a/../../b", x, {"'org.a/../../b'", "attn new"});
  refused("org." + std::string(53, 'a'), x, {"too long", "56"});
  refused("org.test", x, {"CMake", "another last word"});
  refused("org.mine", there, {there, "exists already", "nothing is overwritten", "--directory"});
  CHECK(read_file(there) == "mine");
  refused("org.mine", folder / "no/such", {"no/such", "cannot be created"});
  check_refused(attn_run({"new", "org.mine", "--template", "none", "--directory", x}),
                {"'none'", "one of basic, c, decode, gate, kernel", "attn new --help"});
  CHECK_FALSE(fs::exists(x));
  // An empty directory is somebody's, too.
  fs::create_directory(x);
  check_refused(attn_run({"new", "org.mine", "--directory", x}), {"exists already"});
  CHECK(fs::is_empty(x));
}

}  // namespace attn::test
