// SPDX-License-Identifier: Apache-2.0
#include "host/library/tuning/plan_file.hpp"

#include <catch2/catch.hpp>

#include "tests/loader/fixtures.hpp"

using namespace attn;
using namespace attn::tuning;
using namespace attn::loader::test;

namespace {

KnownPlan known(int64_t threads, const Plan& plan) {
  return {{.config = "c0ffee",
           .call = 0xfedcba9876543210u,
           .weights = "int8",
           .threads = threads,
           .level = "avx2",
           .processor = "a \"processor\"\n",
           .version = "1.2.3"},
          plan,
          "some_type",
          "inputs (8, 512, 64)",
          "inference",
          0.5,
          0.75};
}

// A file that counts as empty, and says so.
void check_ignored(const std::string& file, const std::string& why) {
  const PlanFile plans(file);
  CHECK(plans.find(known(2, {}).key) == nullptr);
  CHECK_THAT(plans.problem(), Catch::Matchers::Contains(why));
  CHECK_FALSE(plans.problem().empty());
}

}  // namespace

TEST_CASE("plans: what is remembered is found again, by its whole key") {
  const TempDir dir;
  const std::string path = dir / "new/dir/plans.json";
  Plan plan;
  int64_t value = 1;
  for (const auto& [name, field] : kPlanFields) plan.*field = value++;
  {
    PlanFile file(path);
    CHECK(file.problem().empty());
    file.put(known(2, {.slice_rows = 7}));
    file.put(known(1, {.slice_rows = 3}));
    file.put(known(2, plan));
    REQUIRE(file.save());
  }
  const PlanFile file(path);
  CHECK(file.problem().empty());
  const KnownPlan* found = file.find(known(2, {}).key);
  REQUIRE(found);
  CHECK(found->plan == plan);
  CHECK(found->layer == "some_type");
  CHECK(found->inputs == "inputs (8, 512, 64)");
  CHECK(found->mode == "inference");
  CHECK(found->seconds == Approx(0.5));
  CHECK(found->automatic == Approx(0.75));
  CHECK(file.find(known(1, {}).key)->plan == Plan{.slice_rows = 3});
  const auto differs = [&](auto change) {
    PlanKey key = known(2, {}).key;
    change(key);
    return file.find(key) == nullptr;
  };
  CHECK(differs([](PlanKey& k) { k.config = "c0ffef"; }));
  CHECK(differs([](PlanKey& k) { k.call ^= 1; }));
  CHECK(differs([](PlanKey& k) { k.weights = "float32"; }));
  CHECK(differs([](PlanKey& k) { k.threads = 3; }));
  CHECK(differs([](PlanKey& k) { k.level = "sse2"; }));
  CHECK(differs([](PlanKey& k) { k.processor = "another"; }));
  CHECK(differs([](PlanKey& k) { k.version = "1.2.4"; }));
  PlanFile less(path);
  less.forget(known(1, {}).key);
  REQUIRE(less.save());
  CHECK(PlanFile(path).find(known(1, {}).key) == nullptr);
  CHECK(PlanFile(path).find(known(2, {}).key) != nullptr);
  CHECK_FALSE(PlanFile("").save());
}

TEST_CASE("plans: files that are damaged, foreign, huge or of another format count as empty") {
  const TempDir dir;
  const std::string path = dir / "plans.json";
  CHECK(PlanFile(path).problem().empty());  // there is none
  PlanFile file(path);
  file.put(known(2, {.slice_rows = 3}));
  REQUIRE(file.save());
  const std::string text = read_file(path);
  for (std::size_t size = 0; size + 2 < text.size(); ++size) {
    write_file(path, text.substr(0, size));
    check_ignored(path, "");
  }
  const auto changed = [&](const std::string& from, const std::string& to) {
    std::string other = text;
    REQUIRE(other.find(from) != std::string::npos);
    other.replace(other.find(from), from.size(), to);
    write_file(path, other);
  };
  changed("\"attn_plans\": 1", "\"attn_plans\": 2");
  check_ignored(path, "format");
  changed("\"slice_rows\": 3", "\"slice_rows\": -3");
  check_ignored(path, "slice_rows");
  changed("\"slice_rows\": 3", "\"slice_rows\": 99999999999999999999");
  check_ignored(path, "slice_rows");
  changed("slice_rows", "something");
  check_ignored(path, "something");
  changed("fedcba9876543210", "no number");
  check_ignored(path, "");
  write_file(path, "[]");
  check_ignored(path, "attn_plans");
  write_file(path, std::string(2 << 20, ' '));
  check_ignored(path, "bytes");
  write_file(path, text);
  REQUIRE(PlanFile(path).find(known(2, {}).key) != nullptr);
  fs::permissions(path, fs::perms::others_write, fs::perm_options::add);
  check_ignored(path, "others");
  fs::permissions(path, fs::perms::others_write, fs::perm_options::remove);
  fs::rename(path, dir / "real.json");
  fs::create_symlink(dir / "real.json", path);
  check_ignored(path, "link");
  fs::remove(path);
  fs::create_directory(path);
  check_ignored(path, "regular");
  CHECK_FALSE(file.save());
}

TEST_CASE("plans: the oldest give way before a file becomes too large to be read") {
  const TempDir dir;
  PlanFile file(dir / "plans.json");
  for (int64_t i = 1; i <= 1100; ++i) {
    KnownPlan plan = known(i, {.slice_rows = i});
    plan.inputs.assign(2000, 'x');
    file.put(plan);
  }
  REQUIRE(file.save());
  const PlanFile read(file.path());
  CHECK(read.problem().empty());
  CHECK(read.find(known(1, {}).key) == nullptr);
  REQUIRE(read.find(known(1100, {}).key));
  CHECK(read.find(known(1100, {}).key)->plan == Plan{.slice_rows = 1100});
}
