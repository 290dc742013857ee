// SPDX-License-Identifier: Apache-2.0
//
// attn choose: every type that takes a shape is measured, the others are left out with a reason.
#include "tests/cli/program.hpp"

namespace attn::test {

namespace {

const Json* row_of(const Json& result, const char* list, const std::string& type) {
  for (const Json& row : result.at(list).as_list())
    if (row.at("type") == Json(type)) return &row;
  return nullptr;
}

Json choose(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "choose");
  arguments.insert(arguments.end(), {"--seconds", "0.1", "--json"});
  const Finished f = attn_run(arguments);
  check_done(f);
  return parsed(f.out);
}

}  // namespace

TEST_CASE("cli: choose measures what takes the shape, with errors where a type is compared") {
  const Json all = choose({"--shape", "1,64,128", "--heads", "4"});
  const size_t types = parsed(attn_run({"list", "--json"}).out).size();
  CHECK(all.at("types").size() + all.at("left_out").size() == types);
  CHECK(all.at("types").size() >= 10);
  double before = 0;
  for (const Json& row : all.at("types").as_list()) {
    INFO(row.dump());
    CHECK(row.at("ms").to_double() >= before);
    before = row.at("ms").to_double();
    CHECK(row.at("measured_positions") == Json(64));
    CHECK(row.at("working_memory").to_double() > 0);
  }
  // Exact softmax attention up to rounding, an estimate of it, and something else.
  const Json* exact = row_of(all, "types", "multi_head");
  REQUIRE(exact);
  CHECK(exact->at("error").to_double() < 1e-5);
  CHECK(exact->at("estimate") == Json(false));
  const Json* estimate = row_of(all, "types", "performer");
  REQUIRE(estimate);
  CHECK(estimate->at("error").to_double() > 1e-3);
  CHECK(*row_of(choose({"--shape", "1,64,128", "--heads", "4", "--only", "performer"}), "types",
                "performer")
             ->find("error") == estimate->at("error"));  // the same each time
  CHECK(estimate->at("estimate") == Json(true));
  const Json* other = row_of(all, "types", "fnet");
  REQUIRE(other);
  CHECK(other->at("error").is_null());
  const Json* map = row_of(all, "left_out", "channel");
  REQUIRE(map);
  CHECK_THAT(map->at("reason").as_string(), Catch::Matchers::Contains("height"));
}

TEST_CASE("cli: choose makes layers causal, or leaves them out") {
  const Json all = choose({"--shape", "1,32,64", "--causal"});
  const Json* parameter = row_of(all, "types", "performer");
  REQUIRE(parameter);
  CHECK_THAT(parameter->at("settings").as_string(), Catch::Matchers::Contains("causal=true"));
  const Json* argument = row_of(all, "types", "multi_head");
  REQUIRE(argument);
  CHECK(argument->at("error").to_double() < 1e-5);
  const Json* mask = row_of(all, "types", "ring");
  REQUIRE(mask);
  CHECK_THAT(mask->at("settings").as_string(), Catch::Matchers::Contains("triangular mask"));
  CHECK(mask->at("error").to_double() < 1e-5);
  // A mask does not make this one causal: scores are cleaned across all rows.
  for (const char* type : {"fnet", "rpc"}) {
    const Json* out = row_of(all, "left_out", type);
    REQUIRE(out);
    CHECK(out->at("reason") == Json("is not causal"));
  }
}

TEST_CASE("cli: choose decodes, trains, and takes maps") {
  const Json tokens = choose({"--shape", "1,64,64", "--mode", "decode"});
  CHECK(tokens.at("causal") == Json(true));
  for (const Json& row : tokens.at("types").as_list()) {
    INFO(row.dump());
    CHECK(row.at("state_bytes").to_double() > 0);
  }
  CHECK(row_of(tokens, "types", "group_query"));
  CHECK(row_of(tokens, "left_out", "anchor")->at("reason") == Json("keeps no state"));

  const Json training = choose({"--shape", "2,16,64", "--mode", "training-step", "--only",
                                "multi_head,shared_weights_cross"});
  REQUIRE(training.at("types").size() == 2);
  CHECK_THAT(row_of(training, "types", "shared_weights_cross")->at("settings").as_string(),
             Catch::Matchers::Contains("split_sizes=8+8"));
  const Json maps = choose({"--shape", "1,8,8,32"});
  CHECK(row_of(maps, "types", "cbam"));
  CHECK(row_of(maps, "left_out", "multi_head"));

  const Finished text =
      attn_run({"choose", "--shape", "1,16,64", "--only", "multi_head,fnet", "--seconds", "0"});
  check_done(text);
  for (const char* part : {"TOKENS/S", "WORKING MEMORY", "ERROR", "multi_head", "MS: one call"})
    CHECK_THAT(text.out, Catch::Matchers::Contains(part));
}

TEST_CASE("cli: choose refuses shapes and types that are none") {
  check_refused(attn_run({"choose"}), {"--shape"});
  check_refused(attn_run({"choose", "--shape", "16,64"}), {"batch,positions,width"});
  check_refused(attn_run({"choose", "--shape", "1,0,64"}), {"above 0"});
  check_refused(attn_run({"choose", "--shape", "1,16,64", "--heads", "7"}), {"7", "64"});
  check_refused(attn_run({"choose", "--shape", "1,16,64", "--only", "multi_haed"}),
                {"did you mean 'multi_head'?"});
  check_refused(attn_run({"choose", "--shape", "1,4,4,8", "--mode", "decode"}), {"positions"});
}

}  // namespace attn::test
