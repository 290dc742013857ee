// SPDX-License-Identifier: Apache-2.0
//
// Plugins with one defect of their mathematics each (tests/plugins_bad/mathematics): `attn check` finds it by the test
// that defects.h names, and says so in words; the same plugin without a defect passes the tests that find one. The table
// in sdk/README.md has all of them.
#include <catch2/catch.hpp>

#include <fstream>
#include <set>
#include <sstream>

#include "tests/cli/program.hpp"
#include "tests/plugins_bad/mathematics/defects.h"

namespace attn::test {
namespace {

struct Defect {
  const char *name, *test, *what;
};
constexpr Defect kDefects[] = {
#define DEFECT(name, test, what) {#name, test, what},
    FIXTURE_DEFECTS(DEFECT)
#undef DEFECT
};

Finished check_plugin(const std::string& name, const std::set<std::string>& tests) {
  std::vector<std::string> command{"--json", "check",
                                   ATTN_BINARY_DIR "/tests/plugins_bad/mathematics/" + name + ".so",
                                   "--quick"};
  for (const std::string& test : tests) {
    command.emplace_back("--only");
    command.push_back(test);
  }
  return attn_run(command);
}

}  // namespace

TEST_CASE("check: each defect of mathematics and each false claim is found by the test for it") {
  for (const Defect& defect : kDefects) {
    if (!*defect.test) continue;
    const Finished run = check_plugin(defect.name, {defect.test});
    INFO(defect.name << ": " << defect.what << "\n" << run.out << run.err);
    CHECK(run.code == 1);
    const Json report = parse_config(run.out, "the report");
    size_t failed = 0;
    for (const Json& result : report.at("tests").as_list())
      if (result.at("verdict").as_string() == "failed") {
        ++failed;
        CHECK(result.at("name").as_string() == defect.test);
        CHECK(result.at("message").as_string().size() > 20);
        CHECK_FALSE(result.at("witness").as_string().empty());
      }
    CHECK(failed == 1);
  }
}

TEST_CASE("check: without a defect none of these tests finds anything") {
  std::set<std::string> tests;
  for (const Defect& defect : kDefects)
    if (*defect.test) tests.insert(defect.test);
  const Finished run = check_plugin("nothing", tests);
  INFO(run.out << run.err);
  CHECK(run.code == 0);
}

TEST_CASE("check: a refuted claim is printed with the command that refutes it again") {
  const Finished run = check_plugin("says_causal", {"claims_hold"});
  const Json report = parse_config(run.out, "the report");
  const Json& result = report.at("tests").at(size_t{0});
  const std::string command = result.at("command").as_string();
  INFO(run.out);
  REQUIRE(command.find(" --only claims --seed ") != std::string::npos);
  const size_t at = command.find(" --config '");
  REQUIRE(at != std::string::npos);
  const std::string config = command.substr(at + 11, command.size() - at - 12);
  const Finished again =
      attn_run({"check", ATTN_BINARY_DIR "/tests/plugins_bad/mathematics/says_causal.so", "--only",
                "claims", "--seed", "1", "--quick", "--config", config});
  INFO(again.out);
  CHECK(again.code == 1);
  CHECK(again.out.find("refuted") != std::string::npos);
}

TEST_CASE("check: the table of sdk/README.md has each of these defects") {
  std::ifstream in(ATTN_SOURCE_DIR "/sdk/README.md");
  std::stringstream text;
  text << in.rdbuf();
  for (const Defect& defect : kDefects) {
    if (!*defect.test) continue;
    const std::string row = std::string("| ") + defect.what + " | `" + defect.test + "` |";
    INFO("missing: " << row);
    CHECK(text.str().find(row) != std::string::npos);
  }
}

}  // namespace attn::test
