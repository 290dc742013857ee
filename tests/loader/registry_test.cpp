// SPDX-License-Identifier: Apache-2.0
#include <attn/log.hpp>
#include <catch2/catch.hpp>
#include <mutex>
#include <thread>

#include "core/error/error.hpp"
#include "host/library/loader/manifest.hpp"
#include "tests/loader/fixtures.hpp"

using namespace attn;
using namespace attn::loader;
using namespace attn::loader::test;

namespace {

std::string unknown_type_message(Registry& registry, const std::string& id,
                                 ErrorDetails* details = nullptr) {
  try {
    (void)registry.type(id);
  } catch (const InvalidArgument& e) {
    if (details != nullptr) *details = e.details();
    return e.what();
  }
  return "no error";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// Log lines while it lives.
class Lines {
 public:
  Lines() {
    set_log_sink([this](LogLevel level, std::string_view text) {
      if (level >= LogLevel::warning) lines_.emplace_back(text);
    });
  }
  ~Lines() { set_log_sink({}); }
  [[nodiscard]] const std::vector<std::string>& all() const { return lines_; }

 private:
  std::vector<std::string> lines_;
};

}  // namespace

TEST_CASE("registry: bad files are never in the way of good ones") {
  const TempDir dir;
  const char* const bad[] = {"crash",
                             "exit",
                             "throw",
                             "undefined",
                             "no_entry",
                             "entry_null",
                             "entry_throws",
                             "abi_major",
                             "abi_minor",
                             "lying_types",
                             "lying_name",
                             "bad_schema",
                             "bad_id",
                             "no_forward",
                             "reserved",
                             "reserved_operator",
                             "init_fails",
                             "init_throws",
                             "many_inputs",
                             "many_outputs",
                             "many_arguments",
                             "many_op_attributes",
                             "many_op_ports",
                             "many_op_saved",
                             "rounding_load",
                             "traps_entry",
                             "rounding_init",
                             "precision_init",
                             "fast_math",
                             "missing_operators",
                             "print",
                             "other_library",
                             "hang"};
  for (const char* file : bad) dir.add(file);
  write_file(dir / "text.so", "no library");
  write_file(dir / "notes.txt", "not looked at");
  write_file(dir / ".hidden.so", "not looked at");
  fs::create_directory(dir / "directory.so");
  dir.add("good");
  RegistryOptions chosen = options({dir.path()});
  chosen.probe.deadline = std::chrono::milliseconds(3000);
  const Lines lines;
  Registry registry(chosen, hooks());
  CHECK(type_ids(registry) == std::vector<std::string>{"fixture.good"});

  const PluginReport report = registry.report();
  CHECK(report.files.size() == std::size(bad) + 3);
  for (const char* file : bad) {
    const PluginFile entry = file_of(report, dir / (std::string(file) + ".so"));
    INFO(file << ": " << entry.problem);
    CHECK(entry.state == PluginFile::State::refused);
    CHECK(!entry.code.empty());
    CHECK(!entry.problem.empty());
    CHECK(!entry.expected.empty());
    CHECK(!entry.hint.empty());
  }
  // One log line a refused file, with its path and its reason.
  CHECK(lines.all().size() == std::size(bad) + 2);
  for (const std::string& line : lines.all()) {
    INFO(line);
    CHECK(contains(line, "plugin refused: " + dir.path()));
    CHECK(contains(line, "expected"));
    CHECK(!contains(line, "\n"));
  }
  const PluginFile good = file_of(report, dir / "good.so");
  CHECK(good.state == PluginFile::State::loaded);
  CHECK(good.license == "Apache-2.0");
  CHECK(good.abi == "1.1");
  CHECK(good.source == "--plugin-path");

  // Asking for a type that only a refused file has gives the reason.
  ErrorDetails details;
  const std::string message = unknown_type_message(registry, "fixture.crash", &details);
  CHECK(contains(message, "Attention type 'fixture.crash' is not available: its plugin " +
                              dir.path() + "/crash.so was refused: "));
  CHECK(details.where == dir / "crash.so");
  CHECK(!details.hint.empty());
  CHECK(contains(unknown_type_message(registry, "text"),
                 "text.so was refused: not a shared library"));
  CHECK(contains(unknown_type_message(registry, "fixture.init_fails"), "wants a full moon"));
  CHECK(contains(unknown_type_message(registry, "fixture.init_throws"), "thrown by init"));
}

TEST_CASE("registry: an unknown type gets the nearest name and the places searched") {
  const TempDir dir;
  dir.add("good");
  Registry registry(options({dir.path()}), hooks());
  ErrorDetails details;
  CHECK(unknown_type_message(registry, "fixture.god", &details) ==
        "Unknown attention type 'fixture.god'");
  CHECK(contains(details.hint, "did you mean 'fixture.good'?"));
  CHECK(contains(details.hint, dir.path()));
  CHECK(details.expected == "one of: fixture.good");
  CHECK(details.value == "fixture.god");
  CHECK(unknown_type_message(registry, "FixtureType", &details) ==
        "Unknown attention type 'FixtureType'");
  CHECK(contains(details.hint, "did you mean 'fixture.good'?"));
  (void)unknown_type_message(registry, "something else", &details);
  CHECK(!contains(details.hint, "did you mean"));
  (void)unknown_type_message(registry, "", &details);
}

TEST_CASE("registry: the file found first keeps its names, the other is refused whole") {
  const TempDir one, two;
  SECTION("in one directory: byte order of the names") {
    one.add("twice_b", "b");
    one.add("twice_a", "a");
    Registry registry(options({one.path()}), hooks());
    CHECK(registry.type("fixture.twice").path == one / "a.so");
    const PluginFile later = file_of(registry.report(), one / "b.so");
    CHECK(later.code == "duplicate");
    CHECK(contains(later.problem, "type 'fixture.twice'"));
    CHECK(contains(later.problem, one / "a.so"));
  }
  SECTION("in two: order of the directories") {
    one.add("twice_b", "z");
    two.add("twice_a", "a");
    Registry registry(options({one.path(), two.path()}), hooks());
    CHECK(registry.type("fixture.twice").path == one / "z.so");
    CHECK(file_of(registry.report(), two / "a.so").code == "duplicate");
  }
  SECTION("a copy of the same file") {
    one.add("good", "a");
    one.add("good", "b");
    Registry registry(options({one.path()}), hooks());
    CHECK(file_of(registry.report(), one / "a.so").state == PluginFile::State::loaded);
    CHECK(file_of(registry.report(), one / "b.so").code == "duplicate");
  }
  SECTION("links to one file are one file") {
    one.add("good", "a");
    fs::create_symlink("a.so", one / "b.so");
    fs::create_hard_link(one / "a.so", one / "c.so");
    const Lines lines;
    Registry registry(options({one.path()}), hooks());
    CHECK(type_ids(registry).size() == 1);
    CHECK(file_of(registry.report(), one / "b.so").state == PluginFile::State::same_file);
    CHECK(file_of(registry.report(), one / "c.so").state == PluginFile::State::same_file);
    CHECK(lines.all().empty());
  }
  SECTION("a refused file does not keep its names") {
    one.add("missing_operators", "a");
    Registry registry(options({one.path()}), hooks());
    CHECK(type_ids(registry).empty());
    one.add("good", "b");
    registry.rescan();
    CHECK(type_ids(registry) == std::vector<std::string>{"fixture.good"});
  }
}

TEST_CASE("registry: operators of another plugin are found whatever the order of the files") {
  const TempDir dir;
  dir.add("a_user");  // sorts before operator.so, and uses its operators
  SECTION("they are there") {
    dir.add("operator");
    dir.add("few_attributes");
    Registry registry(options({dir.path()}), hooks());
    CHECK(type_ids(registry) == std::vector<std::string>{"fixture.operator", "fixture.user"});
    REQUIRE(registry.find_op("fixture.op", 7) != nullptr);
    CHECK(registry.find_op("fixture.op", 7)->op->version == 7);
    CHECK(registry.find_op("fixture.op", 2) == nullptr);
    const PluginFile few = file_of(registry.report(), dir / "few_attributes.so");
    CHECK(few.code == "missing_operators");
    CHECK(contains(few.problem, "fixture.op/1 with 3 attributes (there are 1)"));
    CHECK(file_of(registry.report(), dir / "operator.so").operators ==
          std::vector<std::string>{"fixture.op/1", "fixture.op/7"});
  }
  SECTION("they are not") {
    const std::string path = dir.add("missing_operators");
    Registry registry(options({dir.path()}), hooks());
    CHECK(type_ids(registry).empty());
    CHECK(contains(
        file_of(registry.report(), path).problem,
        "uses operators that this host does not have: fixture.nowhere/1, fixture.nothing/7"));
    CHECK(registry.find_op("fixture.op", 1) == nullptr);
    // Nothing was kept of the refused file; it loads when its operators arrive.
    dir.add("operator");
    registry.rescan();
    CHECK(type_ids(registry) == std::vector<std::string>{"fixture.operator", "fixture.user"});
  }
}

TEST_CASE("registry: a plugin cannot replace an operator of the library") {
  const TempDir dir;
  dir.add("operator");
  attn_op core{};
  core.struct_size = sizeof core;
  core.name = "fixture.op";
  core.version = 7;
  Registry registry(options({dir.path()}), hooks({&core}));
  CHECK(type_ids(registry).empty());
  const PluginFile file = file_of(registry.report(), dir / "operator.so");
  CHECK(file.code == "duplicate");
  CHECK(contains(file.problem, "operator fixture.op/7 that the library itself"));
}

TEST_CASE("registry: names without a dot need the manifest") {
  const TempDir dir;
  const std::string path = dir.add("reserved"), op = dir.add("reserved_operator");
  RegistryOptions chosen = options({dir.path()});
  SECTION("none") {
    Registry registry(chosen, hooks());
    const PluginFile file = file_of(registry.report(), path);
    CHECK(file.code == "reserved_name");
    CHECK(contains(file.problem, "'reserved'"));
    CHECK(contains(file.problem, "manifest"));
    CHECK(file_of(registry.report(), op).code == "reserved_name");
    CHECK(type_ids(registry).empty());
  }
  SECTION("one that knows both; they need no probe then") {
    write_file(dir / "manifest.txt", Manifest::make(dir.path()));
    chosen.manifest = dir / "manifest.txt";
    chosen.probe.program = "/nonexistent/probe";
    Registry registry(chosen, hooks());
    CHECK(type_ids(registry) == std::vector<std::string>{"fixture.reserved_operator", "reserved"});
    CHECK(registry.find_op("mine", 1) != nullptr);
    CHECK(registry.report().manifest_problem.empty());
  }
  SECTION("a changed copy keeps the right to the name and loses the trust") {
    write_file(dir / "manifest.txt", Manifest::make(dir.path()));
    std::ofstream(path, std::ios::binary | std::ios::app) << "appended";
    chosen.manifest = dir / "manifest.txt";
    SECTION("without a helper") {
      chosen.probe.program = "/nonexistent/probe";
      Registry registry(chosen, hooks());
      CHECK(file_of(registry.report(), path).code == "not_probed");
    }
    SECTION("with it") {
      Registry registry(chosen, hooks());
      CHECK(file_of(registry.report(), path).state == PluginFile::State::loaded);
    }
  }
  SECTION("a damaged manifest is no manifest") {
    write_file(dir / "manifest.txt", "garbage\n");
    chosen.manifest = dir / "manifest.txt";
    Registry registry(chosen, hooks());
    CHECK(contains(registry.report().manifest_problem, "damaged"));
    CHECK(file_of(registry.report(), path).code == "reserved_name");
  }
}

TEST_CASE("registry: without a helper unknown files stay out, unless all are trusted") {
  const TempDir dir;
  const std::string path = dir.add("good");
  RegistryOptions chosen = options({dir.path()});
  chosen.probe.program = "/nonexistent/probe";
  SECTION("refused") {
    Registry registry(chosen, hooks());
    const PluginFile file = file_of(registry.report(), path);
    CHECK(file.code == "not_probed");
    CHECK(contains(file.problem, "/nonexistent/probe"));
    CHECK(contains(file.hint, "trust_all"));
  }
  SECTION("trusted") {
    chosen.trust_all = true;
    // What only the process itself can find out is still a refusal.
    dir.add("entry_throws");
    dir.add("no_entry");
    dir.add("undefined");
    dir.add("bad_schema");
    Registry registry(chosen, hooks());
    CHECK(type_ids(registry) == std::vector<std::string>{"fixture.good"});
    CHECK(file_of(registry.report(), dir / "entry_throws.so").code == "threw");
    CHECK(file_of(registry.report(), dir / "no_entry.so").code == "not_a_plugin");
    CHECK(file_of(registry.report(), dir / "bad_schema.so").code == "bad_table");
    const PluginFile undefined = file_of(registry.report(), dir / "undefined.so");
    CHECK(undefined.code == "cannot_open");
    CHECK(contains(undefined.problem, "undefined symbol: attn_fixture_function_that_nobody_has"));
  }
}

TEST_CASE("registry: looking again") {
  const TempDir dir;
  const std::string path = dir.add("good");
  Registry registry(options({dir.path()}), hooks());
  const attn_type* type = registry.type("fixture.good").type;
  SECTION("a new file adds its types") {
    dir.add("slow");
    CHECK_FALSE(registry.find_type("fixture.slow"));
    registry.rescan();
    CHECK(registry.find_type("fixture.slow"));
  }
  SECTION("a deleted file leaves its types where they are; copied back it is nothing new") {
    fs::remove(path);
    registry.rescan();
    CHECK(registry.type("fixture.good").type == type);
    dir.add("good");
    registry.rescan();
    CHECK(registry.type("fixture.good").type == type);
    CHECK(registry.report().files.size() == 1);
  }
  SECTION("one file from elsewhere") {
    const TempDir other;
    registry.add_file(other.add("slow"));
    CHECK(registry.find_type("fixture.slow"));
    CHECK_THROWS_WITH(registry.add_file(other.add("entry_null")),
                      Catch::Contains("attn_plugin_v1() returned no table"));
    CHECK_THROWS_WITH(registry.add_file(other / "absent.so"), Catch::Contains("does not exist"));
    registry.rescan();
    CHECK(registry.find_type("fixture.slow"));
  }
  SECTION("options come too late") {
    CHECK_THROWS_AS(registry.configure(options({dir.path()})), InvalidArgument);
  }
}

TEST_CASE("registry: a second registry shares what is loaded") {
  const TempDir dir;
  dir.add("good");
  Registry one(options({dir.path()}), hooks()), two(options({dir.path()}), hooks());
  CHECK(one.type("fixture.good").library == two.type("fixture.good").library);
}

TEST_CASE("registry: many threads ask first") {
  const TempDir dir;
  dir.add("good");
  dir.add("operator");
  dir.add("a_user");
  dir.add("bad_schema");
  Registry registry(options({dir.path()}), hooks());
  std::vector<std::thread> threads;
  std::vector<int> right(8, 0);
  for (std::size_t i = 0; i < right.size(); ++i) {
    threads.emplace_back([&, i] {
      for (int k = 0; k < 50; ++k) {
        right[i] += registry.find_type("fixture.user").has_value();
        right[i] += registry.find_op("fixture.op", 1) != nullptr;
        right[i] += registry.types().size() == 3;
        if (i == 0 && k % 25 == 0) registry.rescan();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const int count : right) CHECK(count == 150);
}

TEST_CASE("registry: nothing appears on standard output") {
  const TempDir dir;
  for (const char* file : {"print", "crash", "throw", "exit", "good", "missing_operators"})
    dir.add(file);
  const std::string captured = dir / "stdout.txt";
  std::fflush(stdout);
  const int saved = ::dup(1);
  REQUIRE(std::freopen(captured.c_str(), "w", stdout) != nullptr);
  {
    Registry registry(options({dir.path()}), hooks());
    (void)registry.types();
  }
  std::fflush(stdout);
  ::dup2(saved, 1);
  ::close(saved);
  CHECK(read_file(captured).empty());
}
