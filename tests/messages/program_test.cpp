// SPDX-License-Identifier: Apache-2.0
//
// What the program says to people who made a mistake, word for word: program.txt has command lines and their answers.
// In it DIR is a folder with the files below, TYPES are the names of all types. Another message is another line "$ attn ..." there.
#include <sstream>

#include "tests/cli/program.hpp"
#include "tests/messages/approved.hpp"
#include "tests/tools/build.hpp"

namespace attn::test {

namespace {

// Words between spaces; '...' keeps spaces and may be empty.
std::vector<std::string> words_of(const std::string& line) {
  std::vector<std::string> words;
  bool inside = false, open = false;
  std::string word;
  for (const char c : line + " ") {
    if (c == '\'') {
      open = !open;
      inside = true;
    } else if (c != ' ' || open) {
      word += c;
      inside = true;
    } else if (inside) {
      words.push_back(std::exchange(word, ""));
      inside = false;
    }
  }
  return words;
}

void write_files(const Folder& folder) {
  layer_file(folder);
  folder.write("typo.json", "{\n  \"type\": \"multi_head\",\n  \"dim\": 8,\n  \"num_head\": 2\n}");
  folder.write("type.json", R"({"type": "multi_haed", "dim": 8})");
  folder.write("missing.json", R"({"type": "group_query", "dim": 8})");
  folder.write("range.json", R"({"type": "multi_head", "dim": 8, "dropout_rate": 1.5})");
  folder.write("kind.json", R"({"type": "multi_head", "dim": "8"})");
  folder.write("rule.json", R"({"type": "multi_head", "dim": 8, "num_heads": 3})");
  folder.write("option.json", R"({"type": "multi_head", "dim": 8, "probability_type": "threshmax",)"
                              R"( "probability_config": {"slop": 3}})");
  folder.write("name.json", R"({"type": "multi_head", "dim": 8, "name": "a/b"})");
  folder.write("claim.json", R"({"type": "multi_head", "dim": 8, "$require": ["linear"]})");
  folder.write("packed.json",
               R"({"type": "multi_head", "dim": 8, "mask_rule": "doc[b, q] == doc[b, k]",)"
               R"( "captures": {"doc": {"shape": ["B", "K"], "dtype": "i32", "input": true}}})");
  folder.write("untyped.json", R"({"dim": 8})");
  folder.write("list.json", "[1, 2]");
  folder.write("comma.json", "{\"type\": \"multi_head\",\n \"dim\": 8,\n}");
  folder.write("twice.json", R"({"type": "multi_head", "dim": 8, "dim": 8})");
  folder.write("huge.json", R"({"type": "multi_head", "dim": 1e400})");
  folder.write("empty.json", "");
  folder.write("text.npy", "hello");
  folder.write("plugin.so", "hello");
  folder.write_npy("x.npy", {1, 3, 8});
  folder.write_npy("wide.npy", {1, 3, 9});
  folder.write_npy("flat.npy", {3, 8});
  folder.write_npy("mask.npy", {1, 4});
  save_safetensors(folder / "weights.safetensors",
                   {{"cross_attention/qkv/kernel", Folder::numbers({8, 24}).view()}});
}

std::string path_of(const Folder& folder) {
  const std::string path = folder / "";
  return path.substr(0, path.size() - 1);
}

// As messages list them.
const std::string& all_types() {
  static const std::string names = [] {
    const Json all = parsed(attn_run({"list", "--json"}).out);
    std::string out;
    for (const Json& type : all.as_list())
      out += (out.empty() ? "" : ", ") + type.at("type").as_string();
    return out;
  }();
  return names;
}

// What stands in the file for this command line.
std::string answer(const std::string& line, const Folder& folder) {
  std::vector<std::string> words = words_of(replaced(line, "DIR", path_of(folder)));
  Environment environment{{"XDG_DATA_HOME", path_of(folder) + "/data"}};
  size_t n = 0;
  for (; words.at(n) != "attn"; ++n) {
    const size_t equals = words[n].find('=');
    environment[words[n].substr(0, equals)] = words[n].substr(equals + 1);
  }
  words.erase(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(n) + 1);
  const Finished f = attn_run(words, environment);
  CHECK(f.code != 0);
  // For programs the same in parts; of these nothing is left open.
  words.insert(words.begin(), "--json");
  std::istringstream stream(attn_run(words, environment).err);
  for (std::string each; std::getline(stream, each);) {
    const Json all = parsed(each);
    if (!all.contains("error")) continue;  // a line of the log
    const Json& error = all.at("error");
    INFO(line << "\n" << each);
    CHECK_FALSE(error.at("message").as_string().empty());
    const std::string message = error.at("message").as_string();
    const bool tells =
        !error.at("expected").as_string().empty() || !error.at("hint").as_string().empty();
    CHECK((tells || says_what_is_right(message)));
  }
  const std::string text =
      replaced(replaced(f.err, path_of(folder), "DIR"), build_directory, "BUILD");
  return replaced(text, all_types(), "TYPES");
}

}  // namespace

TEST_CASE("messages: of the program") {
  const Folder folder;
  write_files(folder);
  Approved approved("program.txt");
  std::istringstream lines_of(approved.text());
  for (std::string line; std::getline(lines_of, line);) {
    if (line.starts_with("#")) approved.add_title(line);
    if (line.starts_with("$ ")) approved.add(line, answer(line.substr(2), folder));
  }
  CHECK(approved.check() > 80);
}

}  // namespace attn::test
