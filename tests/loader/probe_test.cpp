// SPDX-License-Identifier: Apache-2.0
#include <sys/wait.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <utility>

#include "host/library/loader/probe_record.hpp"
#include "tests/loader/fixtures.hpp"

using namespace attn::loader;
using namespace attn::loader::test;
using std::chrono::milliseconds;

namespace {

ProbeOptions helper(milliseconds deadline = milliseconds(10000)) {
  return {probe_program(), deadline};
}

std::string verdict(const std::string& path, const ProbeOptions& options) {
  const auto refusal = probe_file({path}, options);
  if (!refusal) return "good";
  CHECK(!refusal->expected.empty());
  CHECK(!refusal->hint.empty());
  return std::string(name(refusal->kind)) + ": " + refusal->problem;
}

bool begins(const std::string& text, const std::string& with) { return text.rfind(with, 0) == 0; }

}  // namespace

TEST_CASE("probe: the helper is found beside the library") { REQUIRE(!probe_program().empty()); }

TEST_CASE("probe: one fault, one reason") {
  const std::pair<const char*, const char*> cases[] = {
      {"good", "good"},
      {"slow", "good"},
      {"operator", "good"},
      {"abi_newer", "good"},
      {"reserved", "good"},    // names are the registry's affair
      {"init_fails", "good"},  // init() runs where the engine is
      {"crash", "crashed"},
      {"exit", "exited: ended the process while it was loaded (exit status 0)"},
      {"throw", "threw: threw an exception while it was loaded: no luck today"},
      {"entry_throws", "threw: threw an exception while it was loaded: of an unknown type"},
      {"entry_null", "bad_table: attn_plugin_v1() returned no table"},
      {"no_entry", "not_a_plugin: does not export attn_plugin_v1"},
      {"undefined", "cannot_open"},
      {"print", "printed: writes to standard output while it is loaded: 'hello from a plugin?'"},
      {"abi_major", "abi_major: built for ABI 2.1"},
      {"abi_minor", "abi_minor: needs a host with ABI 1.98 or newer"},
      {"lying_types", "metadata_mismatch"},
      {"lying_name", "metadata_mismatch"},
      {"bad_schema", "bad_table"},
      {"bad_id", "bad_table: type 'Fixture.Bad'"},
      {"no_forward",
       "bad_table: type 'fixture.no_forward': create, destroy, build or forward is NULL"},
      {"other_library", "not_a_plugin: not an attn plugin"}};
  for (const auto& [file, expected] : cases) {
    const std::string got = verdict(fixture(file), helper());
    INFO(file << ": " << got);
    // A sanitizer turns the signal into an exit status.
    if (attn::test::sanitized && std::string(file) == "crash") continue;
    CHECK(begins(got, expected));
  }
  CHECK(verdict(fixture("undefined"), helper()).find("function_that_nobody_has") !=
        std::string::npos);
}

TEST_CASE("probe: a hanging file is ended at the deadline") {
  for (const char* file : {"hang", "hang_silent"}) {
    const auto start = std::chrono::steady_clock::now();
    const std::string got = verdict(fixture(file), helper(milliseconds(700)));
    const auto time = std::chrono::steady_clock::now() - start;
    INFO(file << ": " << got);
    CHECK(begins(got, "hung: did not finish loading within 700 ms"));
    CHECK(time >= milliseconds(700));
    CHECK(time < milliseconds(3000));
  }
}

TEST_CASE("probe: hanging files do not add up") {
  const std::vector<ProbeFile> files(4, ProbeFile{fixture("hang")});
  const auto start = std::chrono::steady_clock::now();
  const auto verdicts = probe_files(files, helper(milliseconds(700)));
  REQUIRE(verdicts.size() == 4);
  for (const auto& refusal : verdicts) {
    REQUIRE(refusal);
    CHECK(refusal->kind == RefusalKind::hung);
  }
  CHECK(std::chrono::steady_clock::now() - start < milliseconds(2100));  // three times one deadline
}

TEST_CASE("probe: no process is left behind") {
  (void)probe_file({fixture("good")}, helper());
  (void)probe_file({fixture("crash")}, helper());
  (void)probe_file({fixture("hang")}, helper(milliseconds(200)));
  CHECK(::waitpid(-1, nullptr, WNOHANG) == -1);  // no child at all
}

TEST_CASE("probe: a helper that cannot do its work is not the plugin's fault") {
  CHECK(begins(verdict(fixture("good"), {"", milliseconds(1000)}), "not_probed"));
  CHECK(begins(verdict(fixture("good"), {"/nonexistent/probe", milliseconds(1000)}), "not_probed"));
  CHECK(begins(verdict(fixture("good"), {"/bin/true", milliseconds(1000)}), "not_probed"));
  CHECK(begins(verdict(fixture("good"), {"/bin/cat", milliseconds(500)}), "not_probed"));
}

TEST_CASE("probe: works in a process without standard streams") {
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(0);
    ::close(1);
    ::close(2);
    const bool good = !probe_file({fixture("good")}, helper());
    const auto bad = probe_file({fixture("throw")}, helper());
    ::_exit(good && bad && bad->kind == RefusalKind::threw ? 0 : 1);
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}

TEST_CASE("probe: records survive writing and reading, incomplete ones do not") {
  const std::optional<Refusal> refusal =
      Refusal{RefusalKind::bad_table, "a\nb\tc\\d", "", "with 'quotes'"};
  const std::string text = kProbeGreeting + write_record(refusal);
  std::optional<Refusal> back;
  REQUIRE(read_record(text, &back));
  REQUIRE(back);
  CHECK(back->kind == RefusalKind::bad_table);
  CHECK(back->problem == "a\nb\tc\\d");
  CHECK(back->expected.empty());
  CHECK(back->hint == "with 'quotes'");
  for (std::size_t size = 0; size < text.size(); ++size) {
    CHECK_FALSE(read_record(text.substr(0, size), &back));
  }
  CHECK_FALSE(read_record(text + "x", &back));
  CHECK(read_record(std::string(kProbeGreeting) + write_record(std::nullopt), &back));
  CHECK_FALSE(back);
}
