// SPDX-License-Identifier: Apache-2.0
//
// attn tune, and what --tuned makes of what it left: nothing without the option, and nothing of a file that is damaged.
#include <attn/factory.hpp>
#include <attn/plan.hpp>
#include <attn/threads.hpp>

#include "host/library/layer/context.hpp"
#include "tests/cli/program.hpp"

namespace attn::test {

namespace {

const std::vector<std::string> kShape = {"--shape", "inputs=4,300,8", "--threads", "2"};

std::vector<std::string> command(const std::string& name, const std::string& layer,
                                 std::vector<std::string> more) {
  more.insert(more.begin(), {name, layer});
  more.insert(more.end(), kShape.begin(), kShape.end());
  return more;
}

// As attn tune writes it for that call, with a plan that nobody measured.
std::string remember(const Folder& folder, const std::string& layer, const Plan& plan) {
  const auto made = create_attention_from_config(parse_config(read_file(layer)));
  const Array x = Folder::numbers({4, 300, 8});
  const Input input(x);
  const int before = thread_count();
  set_threads(2);
  Context ctx;
  use_tuned(ctx, true);
  made->forward(ctx, {&input, 1});
  set_threads(before);
  tuning::PlanFile file(folder / "cache/attn/plans.json");
  file.put({ctx.impl().plan.key, plan, "a", "b", "c", 0.001, 0.002});
  REQUIRE(file.save());
  return file.path();
}

}  // namespace

TEST_CASE("cli: tune measures plans, and remembers one that gains") {
  const Folder folder;
  const Environment cache = {{"XDG_CACHE_HOME", folder / "cache"}};
  const std::string layer = layer_file(folder);
  const std::string file = remember(folder, layer, {.slice_rows = 3});
  const Finished f = attn_run(command("tune", layer, {"--seconds", "0", "--json"}), cache);
  check_done(f);
  const Json t = parsed(f.out);
  CHECK(t.at("file") == Json(file));
  CHECK(t.at("tried").size() == 3);
  for (const Json& tried : t.at("tried").as_list()) {
    INFO(tried.dump());
    CHECK(tried.at("plan").size() > 0);
    CHECK(tried.at("ms").to_double() > 0);
    CHECK(tried.at("automatic_ms").to_double() > 0);
  }
  // What is in the file now is what was found, whatever that is here.
  const Json e = parsed(
      attn_run(command("explain", layer, {"--seconds", "0", "--json", "--tuned"}), cache).out);
  CHECK(e.at("plan") == t.at("plan"));
  const Finished text = attn_run(command("tune", layer, {"--seconds", "0"}), cache);
  check_done(text);
  for (const char* part : {"AUTOMATIC MS", "slice_rows 2", "best:"})
    CHECK_THAT(text.out, Catch::Matchers::Contains(part));
}

TEST_CASE("cli: a remembered plan is used with --tuned alone") {
  const Folder folder;
  const Environment cache = {{"XDG_CACHE_HOME", folder / "cache"}};
  const std::string layer = layer_file(folder);
  const std::string file = remember(folder, layer, {.slice_rows = 1});
  const Json plan = {{"slice_rows", 1}};
  for (const char* name : {"explain", "bench"}) {
    const Json with =
        parsed(attn_run(command(name, layer, {"--seconds", "0", "--json", "--tuned"}), cache).out);
    CHECK(with.at("plan") == plan);
    const Json without =
        parsed(attn_run(command(name, layer, {"--seconds", "0", "--json"}), cache).out);
    CHECK(without.at("plan") == Json::object());
  }
  const Finished text = attn_run(command("explain", layer, {"--seconds", "0", "--tuned"}), cache);
  for (const char* part : {"slice_rows 1", "plans.json"})
    CHECK_THAT(text.out, Catch::Matchers::Contains(part));
  // Another number of threads is another call.
  std::vector<std::string> one = command("explain", layer, {"--seconds", "0", "--json", "--tuned"});
  one.back() = "1";
  CHECK(parsed(attn_run(one, cache).out).at("plan") == Json::object());

  const std::string x = folder.write_npy("x.npy", {4, 300, 8});
  const auto output = [&](std::vector<std::string> more) {
    const std::string y = folder / "y.npy";
    more.insert(more.begin(),
                {"run", layer, "--input", "inputs=" + x, "--output", y, "--threads", "2"});
    const Finished f = attn_run(more, cache);
    check_done(f);
    return std::pair(read_npy(y), f.err);
  };
  const Array automatic = output({}).first, tuned = output({"--tuned"}).first;
  REQUIRE(automatic.shape() == tuned.shape());
  for (int64_t i = 0; i < automatic.size(); ++i)
    REQUIRE(automatic.data<float>()[i] == Approx(tuned.data<float>()[i]).margin(1e-5));

  // A damaged file costs a warning.
  const std::string whole = read_file(file);
  folder.write("cache/attn/plans.json", whole.substr(0, whole.size() / 2));
  const auto [same, warning] = output({"--tuned"});
  CHECK_THAT(warning, Catch::Matchers::Contains("attn tune"));
  for (int64_t i = 0; i < automatic.size(); ++i)
    REQUIRE(automatic.data<float>()[i] == same.data<float>()[i]);
  CHECK(output({}).second.find("plans.json") == std::string::npos);
}

}  // namespace attn::test
