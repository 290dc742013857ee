// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>
#include <chrono>

#include "host/library/loader/verdict_cache.hpp"
#include "tests/loader/fixtures.hpp"

using namespace attn::loader;
using namespace attn::loader::test;

namespace {

PluginNote note_of(const std::string& path) { return std::get<PluginNote>(read_note(path, false)); }
Refusal refusal(RefusalKind kind) { return {kind, "what\twas\nwrong", "this", "do that"}; }
constexpr int64_t kNow = 1'000'000'000;

}  // namespace

TEST_CASE("verdict_cache: remembers good and bad, for the same file only") {
  const TempDir dir;
  const std::string good = dir.add("good"), bad = dir.add("crash"),
                    file = dir / "new/dir/cache.txt";
  {
    VerdictCache cache(file, kNow);
    CHECK_FALSE(cache.find(good, note_of(good)));
    cache.put(good, note_of(good), std::nullopt);
    cache.put(bad, note_of(bad), refusal(RefusalKind::crashed));
    cache.save();
  }
  const VerdictCache cache(file, kNow + 1);
  REQUIRE(cache.find(good, note_of(good)));
  CHECK_FALSE(cache.find(good, note_of(good))->refusal);
  REQUIRE(cache.find(bad, note_of(bad)));
  const auto verdict = cache.find(bad, note_of(bad))->refusal;
  REQUIRE(verdict);
  CHECK(verdict->kind == RefusalKind::crashed);
  CHECK(verdict->problem == "what\twas\nwrong");
  CHECK(verdict->hint.find("remembered; remove " + file) != std::string::npos);

  PluginNote other = note_of(good);
  other.identity.mtime_ns += 1;
  CHECK_FALSE(cache.find(good, other));
  other = note_of(good);
  other.build_id = "00";
  CHECK_FALSE(cache.find(good, other));
  CHECK_FALSE(cache.find(good + "x", note_of(good)));
}

TEST_CASE("verdict_cache: bad verdicts expire, and those that depend on other files are not kept") {
  const TempDir dir;
  const std::string a = dir.add("good", "a"), b = dir.add("good", "b"), file = dir / "cache.txt";
  VerdictCache cache(file, kNow);
  cache.put(a, note_of(a), refusal(RefusalKind::exited));
  cache.put(b, note_of(b), refusal(RefusalKind::cannot_open));
  CHECK_FALSE(cache.find(b, note_of(b)));
  cache.save();
  CHECK(VerdictCache(file, kNow + 24 * 3600).find(a, note_of(a)));
  CHECK_FALSE(VerdictCache(file, kNow + 24 * 3600 + 1).find(a, note_of(a)));
  CHECK_FALSE(VerdictCache(file, kNow - 1).find(a, note_of(a)));  // from the future
  // The machine may have been slow, so a hang is tried again sooner.
  cache.put(a, note_of(a), refusal(RefusalKind::hung));
  cache.save();
  CHECK(VerdictCache(file, kNow + 600).find(a, note_of(a)));
  CHECK_FALSE(VerdictCache(file, kNow + 601).find(a, note_of(a)));
}

TEST_CASE("verdict_cache: damaged files and files of others are ignored") {
  const TempDir dir;
  const std::string good = dir.add("good"), file = dir / "cache.txt";
  VerdictCache cache(file, kNow);
  cache.put(good, note_of(good), std::nullopt);
  cache.save();
  const std::string text = read_file(file);
  REQUIRE(VerdictCache(file, kNow).find(good, note_of(good)));
  for (std::size_t size = 0; size + 1 < text.size(); ++size) {
    write_file(file, text.substr(0, size));
    CHECK_NOTHROW(VerdictCache(file, kNow));
  }
  write_file(file, "garbage");
  CHECK_FALSE(VerdictCache(file, kNow).find(good, note_of(good)));
  write_file(file, text);
  fs::permissions(file, fs::perms::group_write, fs::perm_options::add);
  CHECK_FALSE(VerdictCache(file, kNow).find(good, note_of(good)));
  fs::permissions(file, fs::perms::group_write, fs::perm_options::remove);
  CHECK(VerdictCache(file, kNow).find(good, note_of(good)));
  fs::rename(file, dir / "real.txt");
  fs::create_symlink(dir / "real.txt", file);
  CHECK_FALSE(VerdictCache(file, kNow).find(good, note_of(good)));
  fs::remove(file);
  fs::create_directory(file);
  VerdictCache onto_directory(file, kNow);
  onto_directory.put(good, note_of(good), std::nullopt);
  CHECK_NOTHROW(onto_directory.save());
}

TEST_CASE("verdict_cache: a registry tries a file once") {
  const TempDir dir, cache_dir;
  const std::string good = dir.add("good"), bad = dir.add("hang");
  RegistryOptions chosen = options({dir.path()});
  chosen.cache = cache_dir / "verdicts.txt";
  chosen.probe.deadline = std::chrono::milliseconds(3000);
  {
    Registry first(chosen, hooks());
    CHECK(type_ids(first) == std::vector<std::string>{"fixture.good"});
  }
  // The second could not try anything.
  chosen.probe.program = "/nonexistent/probe";
  Registry second(chosen, hooks());
  CHECK(type_ids(second) == std::vector<std::string>{"fixture.good"});
  const attn::PluginFile file = file_of(second.report(), bad);
  CHECK(file.code == "hung");
  CHECK(file.hint.find(*chosen.cache) != std::string::npos);
  // A changed file is unknown again.
  std::ofstream(good, std::ios::binary | std::ios::app) << "x";
  Registry third(chosen, hooks());
  CHECK(file_of(third.report(), good).code == "not_probed");
}
