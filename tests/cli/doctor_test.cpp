// SPDX-License-Identifier: Apache-2.0
//
// attn doctor: what decides how calls run, and everything that keeps a type from loading, each with what to do about it.
#include <elf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>

#include "tests/cli/program.hpp"
#include "tests/tools/build.hpp"

namespace attn::test {

namespace {

const std::string kFixtures = test::built("tests/plugins_bad/");

// The entry of a list that has this value under this key.
const Json& entry(const Json& list, const std::string& key, const std::string& value) {
  for (const Json& each : list.as_list())
    if (each.at(key).as_string() == value) return each;
  FAIL(value << " is not in " << list.dump(1));
  throw std::runtime_error(value);
}

Json doctor(const Environment& environment, std::vector<std::string> options = {}) {
  options.insert(options.begin(), {"doctor", "--json"});
  return parsed(attn_run(options, environment).out);
}

std::string effect(const Json& facts, const std::string& variable) {
  return entry(facts.at("environment"), "name", variable).at("effect").as_string();
}

void write_patched(const Folder& folder, const std::string& name, size_t at, char value) {
  std::string bytes = read_file(kFixtures + "good.so");
  bytes.at(at) = value;
  folder.write(name, bytes);
}

}  // namespace

TEST_CASE("doctor: the environment, what of it counts and what does not") {
  const Folder folder;
  const std::string place = folder / "plugins";
  std::filesystem::create_directory(place);
  const Environment all{{"ATTN_PLUGIN_PATH", place}, {"ATTN_THREADS", "1"},
                        {"ATTN_ISA", "reference"},   {"ATTN_PLUGINS_PATH", "/typed/wrongly"},
                        {"ATTN_LOG", "error"},       {"XDG_DATA_HOME", "relative"}};
  const Json facts = doctor(all);
  CHECK(effect(facts, "ATTN_ISA") == "forces this instruction set");
  CHECK(effect(facts, "ATTN_THREADS") == "the number of threads");
  CHECK(effect(facts, "ATTN_PLUGINS_PATH") ==
        "nothing here reads it; did you mean 'ATTN_PLUGIN_PATH'?");
  CHECK_THAT(effect(facts, "XDG_DATA_HOME"), Catch::Contains("expected an absolute path"));
  CHECK_THAT(facts.at("plugin_path").as_string(), Catch::StartsWith("ATTN_PLUGIN_PATH, then "));
  const Finished text = attn_run({"doctor"}, all);
  check_done(text);
  for (const std::string& part : std::vector<std::string>{
           "Environment", "level       reference - ATTN_ISA=reference",
           "threads     1 - ATTN_THREADS=1", "plugin path ATTN_PLUGIN_PATH, then",
           "lock        none", "ATTN_PLUGIN_PATH=" + place})
    CHECK_THAT(text.out, Catch::Contains(part));

  const Json options = doctor(all, {"--plugin-path", place, "--threads", "1", "-v"});
  for (const char* name : {"ATTN_PLUGIN_PATH", "ATTN_THREADS", "ATTN_LOG"})
    CHECK_THAT(effect(options, name), Catch::StartsWith("does not count: -"));
  CHECK(options.at("plugin_path") == Json("the places of --plugin-path, and no others"));
  const Finished without = attn_run({"doctor"}, {{"XDG_DATA_HOME", ""}, {"XDG_CACHE_HOME", ""}});
  CHECK_THAT(without.out, Catch::Contains("none that counts is set"));
}

TEST_CASE("doctor: values that are refused are problems, and the rest is told all the same") {
  for (const auto& [name, value] :
       Environment{{"ATTN_LOG", "loud"}, {"ATTN_THREADS", "many"}, {"ATTN_ISA", "sse9"}}) {
    const Finished f = attn_run({"doctor", "--json"}, {{name, value}});
    INFO(f.out << f.err);
    CHECK(f.code == 1);
    const Json facts = parsed(f.out);
    CHECK_THAT(effect(facts, name), Catch::Contains(value) && Catch::Contains("expected "));
    CHECK_THAT(facts.at("problems").at(0).as_string(), Catch::Contains(value));
    CHECK(facts.at("files").size() > 20);
  }
}

TEST_CASE("doctor: a directory that has no plugins says why, and what to do") {
  const Folder folder;
  for (const char* name : {"empty", "open", "closed"})
    std::filesystem::create_directory(folder / name);
  REQUIRE(::chmod((folder / "open").c_str(), 0777) == 0);
  REQUIRE(::chmod((folder / "closed").c_str(), 0) == 0);
  folder.write("file.so", "");
  std::filesystem::create_directory_symlink("loop", folder / "loop");
  std::string path = "relative";
  for (const char* name : {"absent", "empty", "open", "closed", "file.so", "loop"})
    path += ":" + (folder / name);
  const Json facts = doctor({{"ATTN_PLUGIN_PATH", path}, {"XDG_DATA_HOME", folder / "nobody's"}});
  const auto state = [&](const std::string& name) {
    return entry(facts.at("directories"), "path", name).at("state").as_string();
  };
  CHECK(state(folder / "absent") ==
        "does not exist; create it, or take it out of ATTN_PLUGIN_PATH");
  CHECK(state(folder / "empty") ==
        "empty; copy plugins into it, or take it out of ATTN_PLUGIN_PATH");
  CHECK_THAT(state(folder / "open"), Catch::Contains("chmod o-w " + (folder / "open")));
  if (::geteuid() != 0)  // whom nothing is closed to
    CHECK_THAT(state(folder / "closed"), Catch::Contains("chmod a+rx"));
  CHECK_THAT(state(folder / "file.so"), Catch::Contains("name the directory"));
  CHECK_THAT(state(folder / "loop"), Catch::Contains("cannot be read: ") &&
                                         Catch::Contains("correct it (ATTN_PLUGIN_PATH)"));
  CHECK_THAT(state("relative"), Catch::Contains("expected absolute paths"));
  CHECK_THAT(state((folder / "nobody's") + "/attn/plugins"),
             Catch::Contains("does not exist; ") && Catch::Contains("need not be there"));
  REQUIRE(::chmod((folder / "closed").c_str(), 0700) == 0);
  const Finished nothing = attn_run({"doctor", "--plugin-path", folder / "empty"});
  CHECK_THAT(nothing.out, Catch::Contains("0 files with 0 types; name a directory"));
}

TEST_CASE("doctor: a file that is not loaded says why, and what to do") {
  const Folder folder;
  const auto copy = [&](const std::string& name) {
    std::filesystem::copy(kFixtures + name + ".so", folder / (name + ".so"));
  };
  for (const char* name :
       {"abi_major", "abi_minor", "undefined", "twice_a", "twice_b", "reserved", "a_user"})
    copy(name);
  const std::string good = read_file(kFixtures + "good.so");
  write_patched(folder, "arm.so", offsetof(Elf64_Ehdr, e_machine), EM_ARM);
  folder.write("short.so", good.substr(0, good.size() / 2));
  folder.write("text.so", "no library");
  std::filesystem::create_directory(folder / "folder.so");
  // The C library under a name that no file has, as one that was not installed.
  std::string needs = read_file(kFixtures + "exit.so");
  const size_t at = needs.find("libc.so.6");
  REQUIRE(at != std::string::npos);
  folder.write("needs.so", needs.replace(at, 9, "libx.so.6"));
  REQUIRE(::chmod(folder.write("open.so", good).c_str(), 0666) == 0);
  REQUIRE(::chmod(folder.write("closed.so", good).c_str(), 0) == 0);

  const std::vector<std::string> command{"doctor", "--plugin-path", folder / ""};
  const Finished text = attn_run(command);
  check_done(text);
  const Json facts = doctor({}, {"--plugin-path", folder / ""});
  const auto refused = [&](const std::string& name, const std::string& code,
                           const std::string& part) {
    INFO(name);
    const Json& file = entry(facts.at("files"), "path", folder / (name + ".so"));
    CHECK(file.at("code") == Json(code));
    CHECK_THAT(file.at("problem").as_string() + "; " + file.at("hint").as_string(),
               Catch::Contains(part));
    CHECK_FALSE(file.at("expected").as_string().empty());
    CHECK_FALSE(file.at("hint").as_string().empty());
    CHECK_THAT(text.out, Catch::Contains(name + ".so"));
  };
  refused("arm", "other_machine", "(64-bit arm)");
  refused("abi_major", "abi_major", "install an attn whose `attn --version` shows ABI 2");
  refused("abi_minor", "abi_minor", "install an attn whose `attn --version` shows ABI 1.98");
  refused("undefined", "cannot_open", "install what it needs, or build it again");
  refused("needs", "cannot_open", "libx.so.6");
  refused("twice_b", "duplicate", "remove one of the two files");
  refused("reserved", "reserved_name", "give it a dotted name");
  refused("a_user", "missing_operators", "install the plugin that has them");
  refused("short", "truncated", "copy or build it again");
  refused("text", "not_elf", "remove it from the plugin directory");
  refused("folder", "not_a_file", "move it out of the plugin directory");
  refused("open", "world_writable", "chmod o-w " + (folder / "open.so"));
  if (::geteuid() != 0) refused("closed", "unreadable", "chmod a+r");
}

TEST_CASE("doctor: locks that let a file out, or everything") {
  const Folder folder;
  std::filesystem::copy(kFixtures + "good.so", folder / "good.so");
  check_done(attn_run({"lock", folder / ""}));
  std::filesystem::copy(kFixtures + "slow.so", folder / "slow.so");
  Json facts = doctor({}, {"--plugin-path", folder / ""});
  const Json& late = entry(facts.at("files"), "path", folder / "slow.so");
  CHECK(late.at("code") == Json("locked"));
  CHECK_THAT(late.at("hint").as_string(), Catch::Contains("attn lock"));
  CHECK_THAT(attn_run({"doctor", "--plugin-path", folder / ""}).out,
             Catch::Contains((folder / "plugins.lock") + " lets in what it lists"));
  folder.write("plugins.lock", "no lock");
  CHECK_THAT(attn_run({"doctor", "--plugin-path", folder / ""}).out,
             Catch::Contains("plugins.lock lets nothing in:"));
  facts = doctor({{"ATTN_PLUGIN_LOCK", folder / "none.lock"}}, {"fnet"});
  CHECK(effect(facts, "ATTN_PLUGIN_LOCK") == "a lock for all plugin files");
  CHECK_THAT(facts.at("types").at(0).at("problem").as_string(), Catch::Contains("none.lock"));
}

}  // namespace attn::test
