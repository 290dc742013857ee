// SPDX-License-Identifier: Apache-2.0
//
// Options, help, version, log levels, and how errors look.
#include <algorithm>
#include <attn/sdk/levels.hpp>
#include <sstream>

#include "tests/cli/program.hpp"

namespace attn::test {

TEST_CASE("cli: help") {
  const Finished all = attn_run({"--help"});
  check_done(all);
  for (const char* command :
       {"list", "info", "validate", "run", "verify", "plugins", "doctor", "convert", "bench",
        "explain", "tune", "choose", "new", "schema", "completion", "man"}) {
    CHECK_THAT(all.out, Catch::Matchers::Contains(command));
    const Finished one = attn_run({command, "--help"});
    check_done(one);
    CHECK_THAT(one.out, Catch::Matchers::Contains(std::string("attn ") + command));
    CHECK_THAT(one.out, Catch::Matchers::Contains("Examples:"));
    CHECK(one.err.empty());
  }
}

TEST_CASE("cli: version") {
  const Finished text = attn_run({"--version"});
  check_done(text);
  CHECK_THAT(text.out, Catch::Matchers::StartsWith("attn "));
  const Finished json = attn_run({"--version", "--json"});
  check_done(json);
  const Json facts = parsed(json.out);
  for (const char* key : {"version", "commit", "abi", "compiler", "cpu_level"})
    CHECK_FALSE(facts.at(key).as_string().empty());
}

TEST_CASE("cli: usage errors") {
  check_refused(attn_run({}), {"no command", "attn --help"});
  check_refused(attn_run({"--no-such-option"}), {"--no-such-option", "attn --help"});
  check_refused(attn_run({"no-such-command"}), {"no-such-command"});
  check_refused(attn_run({"run"}), {"run", "CONFIG", "attn run --help"});
  check_refused(attn_run({"list", "--threads", "many"}), {"--threads"});
  check_refused(attn_run({"list", "--threads", "0"}), {"0"});
  check_refused(attn_run({"list", "--plugin-path"}), {"--plugin-path"});
  check_refused(attn_run({"verify", kGoldens, "--dtype", "float8"}), {"--dtype", "float64"});
  for (const char* seed : {"-1", "18446744073709551616", "1.5", "1e3", "0x1"})
    check_refused(attn_run({"run", "layer.json", "--input", "inputs=x.npy", "--seed", seed}),
                  {"--seed", seed, "18446744073709551615"});
  // What an unset variable of a script leaves behind.
  check_refused(attn_run({"list", "--threads", ""}), {"--threads", "empty"});
  check_refused(attn_run({"list", "--plugin-path", ""}), {"--plugin-path", "empty"});
  check_refused(attn_run({"validate", "layer.json", "--section", ""}), {"--section", "empty"});
  check_refused(attn_run({"run", "layer.json", "--input", "inputs=x.npy", "--weights", ""}),
                {"--weights", "empty"});
}

TEST_CASE("cli: options stand before or after the command") {
  const Finished before = attn_run({"--json", "--threads", "1", "list"});
  const Finished after = attn_run({"list", "--json", "--threads", "1"});
  check_done(before);
  check_done(after);
  CHECK(before.out == after.out);
  CHECK(parsed(before.out).is_list());
}

TEST_CASE("cli: errors as JSON") {
  const Finished f = attn_run({"info", "no_such_type", "--json"});
  CHECK(f.code == 2);
  CHECK(f.out.empty());
  REQUIRE(lines(f.err) == 1);
  const Json error = parsed(f.err).at("error");
  REQUIRE(error.size() == 5);
  CHECK(error.at("code") == Json("invalid_argument"));
  CHECK_THAT(error.at("message").as_string(),
             Catch::Matchers::Contains("Unknown attention type 'no_such_type'"));
  for (const char* key : {"where", "expected", "hint"}) CHECK(error.at(key).is_string());

  const Finished usage = attn_run({"--json", "run"});
  CHECK(usage.code == 2);
  CHECK(parsed(usage.err).at("error").at("code") == Json("usage"));
}

TEST_CASE("cli: log lines go to standard error") {
  const Folder folder;
  const std::string layer = layer_file(folder), x = folder.write_npy("x.npy", {1, 3, 8});
  const std::vector<std::string> run{"run", layer, "--input", "inputs=" + x};
  const auto with = [&](std::vector<std::string> more, Environment environment = {}) {
    more.insert(more.begin(), run.begin(), run.end());
    const Finished f = attn_run(more, std::move(environment));
    check_done(f);
    return f;
  };
  CHECK_THAT(with({}).err, Catch::Matchers::Contains("attn: warning: ") &&
                               Catch::Matchers::Contains("seed 0") &&
                               !Catch::Matchers::Contains("Creating"));
  CHECK_THAT(with({"-v"}).err, Catch::Matchers::Contains("attn: info: Creating 'multi_head'"));
  CHECK(with({"-q"}).err.empty());
  CHECK_THAT(with({}, {{"ATTN_LOG", "info"}}).err, Catch::Matchers::Contains("Creating"));
  CHECK(with({}, {{"ATTN_LOG", "off"}}).err.empty());
  const Finished json = with({"-v", "--json"});
  CHECK(parsed(json.out).is_object());
  std::istringstream stream(json.err);
  size_t n = 0;
  for (std::string line; std::getline(stream, line); ++n) CHECK(parsed(line).contains("level"));
  CHECK(n >= 2);
  check_refused(attn_run({"list"}, {{"ATTN_LOG", "loud"}}), {"ATTN_LOG", "loud", "warning"});
}

TEST_CASE("cli: levels of the CPU") {
  const Json here = parsed(attn_run({"doctor", "--json"}).out).at("cpu").at("available");
  const std::string baseline = here.as_list().at(1).as_string();
  check_refused(attn_run({"list"}, {{"ATTN_ISA", "sse9"}}), {"ATTN_ISA", "sse9", baseline});
  const Finished doctor = attn_run({"doctor"}, {{"ATTN_ISA", "sse9"}});
  CHECK(doctor.code == 1);
  CHECK_THAT(doctor.out, Catch::Matchers::Contains("sse9"));
  const Json version = parsed(attn_run({"--version", "--json"}, {{"ATTN_ISA", baseline}}).out);
  CHECK(version.at("cpu_level") == Json(baseline));
  // A level that this machine lacks is an error, too, and never another level in silence.
#define ATTN_LEVEL(level, ...) #level,
  for (const std::string level : {ATTN_SDK_LEVELS(ATTN_LEVEL, )}) {
    const auto& levels = here.as_list();
    if (std::find(levels.begin(), levels.end(), Json(level)) == levels.end())
      check_refused(attn_run({"list"}, {{"ATTN_ISA", level}}), {level, baseline});
  }
}

TEST_CASE("cli: unusable ATTN_THREADS") {
  for (const char* value : {"abc", "0", "-1", "99999999999999999999"}) {
    check_refused(attn_run({"list"}, {{"ATTN_THREADS", value}}), {"ATTN_THREADS", value});
    CHECK(attn_run({"doctor"}, {{"ATTN_THREADS", value}}).code == 1);
  }
}

TEST_CASE("cli: output that cannot be written is a failure") {
  // A shell is not needed: the program's own standard output is a full device.
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/full", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  std::vector<char*> argv{const_cast<char*>(kProgram.c_str()), const_cast<char*>("--version"),
                          nullptr};
  pid_t child = 0;
  REQUIRE(posix_spawn(&child, kProgram.c_str(), &actions, nullptr, argv.data(), environ) == 0);
  posix_spawn_file_actions_destroy(&actions);
  int status = 0;
  waitpid(child, &status, 0);
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 3);
}

}  // namespace attn::test
