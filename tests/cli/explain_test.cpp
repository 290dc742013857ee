// SPDX-License-Identifier: Apache-2.0
//
// attn explain: operators in order, the instruction set and ways taken, what costs too much, a picture.
#include "tests/cli/program.hpp"

namespace attn::test {

namespace {

bool has_kind(const Json& explained, const std::string& kind) {
  for (const Json& w : explained.at("warnings").as_list())
    if (w.at("kind") == Json(kind)) return true;
  return false;
}

}  // namespace

TEST_CASE("cli: explain takes a call apart") {
  const Folder folder;
  // Heads of 9 fill no vectors of 4, 8 or 16.
  const std::string layer =
      folder.write("layer.json", R"({"type": "multi_head", "dim": 36, "num_heads": 4})");
  const std::string svg = folder / "call.svg";
  const Finished f = attn_run({"explain", layer, "--shape", "inputs=2,64,36", "--seconds", "0",
                               "--svg", svg, "--json", "--threads", "1"});
  check_done(f);
  const Json e = parsed(f.out);
  CHECK(e.at("type") == Json("multi_head"));
  CHECK(e.at("isa_because") == Json("it is the best of this machine"));
  CHECK(e.at("calls") == Json(3));
  CHECK(e.at("threads") == Json(1));
  const Json& operators = e.at("operators");
  REQUIRE(operators.size() == 3);
  CHECK(operators.at(0).at("operator") == Json("linear/1"));
  CHECK(operators.at(0).at("shape") == Json(std::vector<int>{2, 64, 108}));
  CHECK(operators.at(1).at("operator") == Json("attention/1"));
  double sum = 0;
  for (const Json& op : operators.as_list()) {
    INFO(op.dump());
    sum += op.at("flops").to_double();
    CHECK(op.at("ms_limit").to_double() > 0);
    CHECK(op.at("share_of_limit").to_double() ==
          Approx(op.at("ms_limit").to_double() / op.at("ms").to_double()).epsilon(1e-3));
    CHECK_FALSE(op.at("way").as_string().empty());
  }
  CHECK(e.at("flops").to_double() == Approx(sum));
  CHECK(operators.at(1).at("scratch_bytes").to_double() > 0);
  CHECK(e.at("working_memory").to_double() > 0);
  CHECK(e.at("weight_bytes") == Json(4 * 4 * 36 * 36));
  CHECK(has_kind(e, "lanes"));
  CHECK_FALSE(has_kind(e, "instruction_set"));

  const std::string picture = read_file(svg);
  CHECK(picture.rfind("<svg", 0) == 0);
  for (const char* part : {"multi_head", "1 linear/1", "attention/1", "of bound", "</svg>"})
    CHECK_THAT(picture, Catch::Matchers::Contains(part));

  const Finished text = attn_run({"explain", layer, "--shape", "inputs=2,64,36", "--seconds", "0"});
  check_done(text);
  for (const char* part : {"instruction set", "least possible", "OF BOUND", "Ways taken",
                           "Costs more than it has to", "heads of 9"})
    CHECK_THAT(text.out, Catch::Matchers::Contains(part));
}

TEST_CASE("cli: explain tells what a mask rule leaves out") {
  const Folder folder;
  const std::string layer =
      folder.write("layer.json", R"({"type": "multi_head", "dim": 36, "num_heads": 4,
                        "score": "s * 0.5", "mask_rule": "q / 96 == k / 96"})");
  const std::vector<std::string> call{"explain",   layer, "--shape",   "inputs=1,192,36",
                                      "--seconds", "0",   "--threads", "1"};
  std::vector<std::string> json = call;
  json.push_back("--json");
  const Finished f = attn_run(json);
  check_done(f);
  const Finished text = attn_run(call);
  check_done(text);
  // Both tiles of queries see half of the only block of keys.
  for (const char* part : {"of 2 tiles of 96 queries and 192 keys 0 are skipped, 0 full, 2 mixed",
                           "score program: 1 instruction a score"})
    CHECK_THAT(parsed(f.out).at("operators").at(1).at("way").as_string(),
               Catch::Matchers::Contains(part));
  for (const char* part : {"mask rule: of 2 tiles", "score program: 1 instruction"})
    CHECK_THAT(text.out, Catch::Matchers::Contains(part));
}

TEST_CASE("cli: explain knows decoding, training steps and other instruction sets") {
  const Folder folder;
  const std::string layer = layer_file(folder);
  const Finished step = attn_run({"explain", layer, "--shape", "inputs=2,4,8", "--mode",
                                  "training-step", "--seconds", "0", "--json"},
                                 {{"ATTN_ISA", "reference"}});
  check_done(step);
  const Json e = parsed(step.out);
  CHECK(e.at("isa_because") == Json("ATTN_ISA names it"));
  CHECK(has_kind(e, "instruction_set"));
  CHECK(e.at("operators").size() == 6);  // three there and back
  CHECK_THAT(e.at("operators").at(1).at("way").as_string(), Catch::Matchers::Contains("scalar"));

  const Finished token =
      attn_run({"explain", layer, "--shape", "inputs=1,1,8", "--mode", "decode", "--arg",
                "cache_len=300", "--arg", "steps=2", "--seconds", "0", "--json"});
  check_done(token);
  const Json d = parsed(token.out);
  CHECK(d.at("state_bytes").to_double() > 0);
  CHECK(d.at("operators").size() == 3);  // of one token

  // A table of the call is that of the sequence so far: two documents, of which a token sees its own.
  const std::string packed = folder.write(
      "packed.json",
      R"({"type": "multi_head", "dim": 8, "mask_rule": "doc[b, q] == doc[b, k] && k < n[b]",
          "captures": {"doc": {"shape": ["B", "K"], "dtype": "i32", "input": true},
                       "n": {"shape": ["B"], "dtype": "i32", "input": true}}})");
  Array doc(ATTN_I32, {1, 640}), n(ATTN_I32, {1});
  for (int64_t i = 0; i < 640; ++i) doc.data<int32_t>()[i] = i >= 550 ? 1 : 0;
  n.data<int32_t>()[0] = 600;
  write_npy(folder / "doc.npy", doc.view());
  write_npy(folder / "n.npy", n.view());
  const auto decode = [&](const char* cache) {
    return attn_run({"explain", packed, "--shape", "inputs=1,1,8", "--input",
                     "doc=" + folder / "doc.npy", "--input", "n=" + folder / "n.npy", "--mode",
                     "decode", "--arg", std::string("cache_len=") + cache, "--arg", "steps=2",
                     "--seconds", "0"});
  };
  check_done(decode("638"));
  check_refused(decode("639"), {"table 'doc' has shape (1, 640)", "(B, K)", "641 or more"});
  check_done(attn_run({"bench", packed, "--shape", "inputs=1,1,8", "--shape", "doc=1,22", "--shape",
                       "n=1", "--mode", "decode", "--arg", "cache_len=20", "--arg", "steps=2",
                       "--seconds", "0", "--json"}));

  // A grid of 8 by 8 that windows fill up to 14 by 14.
  const std::string padded = folder.write(
      "padded.json", R"({"type": "window", "dim": 96, "num_heads": 3, "window_size": 7})");
  CHECK(has_kind(
      parsed(attn_run({"explain", padded, "--shape", "inputs=1,64,96", "--seconds", "0", "--json"})
                 .out),
      "repeats"));
}

TEST_CASE("cli: explain refuses what it cannot do") {
  const Folder folder;
  const std::string layer = layer_file(folder);
  check_refused(attn_run({"explain"}), {"CONFIG"});
  check_refused(attn_run({"explain", layer, "--svg", folder / "x.png"}), {".svg"});
  check_refused(attn_run({"explain", layer, "--svg", (folder / "none") + "/x.svg"}), {"none"});
  check_refused(attn_run({"explain", layer, "--mode", "sideways"}), {"--mode"});
  check_refused(attn_run({"explain", layer, "--shape", "input=1,2,8"}),
                {"'input'", "did you mean 'inputs'?"});
}

}  // namespace attn::test
