// SPDX-License-Identifier: Apache-2.0
//
// attn bench: one line a workload, in every mode; bad workloads leave the others alone.
#include <sstream>

#include "tests/cli/program.hpp"

namespace attn::test {

TEST_CASE("cli: products of bfloat16 by an option") {
  const Folder folder;
  const std::string layer = folder.write(
      "layer.json", R"({"attention": {"type": "multi_head", "dim": 64, "num_heads": 4}})");
  const auto run = [&](const std::string& precision) {
    return attn_run({"bench", layer, "--shape", "inputs=2,40,64", "--seconds", "0", "--json",
                     "--matmul-precision", precision});
  };
  // What was computed with, which the machine decides too.
  const Json machine = parsed(attn_run({"doctor", "--json"}).out);
  const bool there = !machine.at("cpu").at("bfloat16").is_null();
  CHECK(parsed(run("float32").out).at("matmul_precision") == Json("float32"));
  CHECK(parsed(run("bfloat16").out).at("matmul_precision") == Json(there ? "bfloat16" : "float32"));
  const Finished training = attn_run({"bench", layer, "--shape", "inputs=2,40,64", "--mode",
                                      "training-step", "--matmul-precision", "bfloat16"});
  CHECK(training.code == 2);
  CHECK_THAT(training.out + training.err, Catch::Matchers::Contains("computed in float32"));
  const Finished refused = run("bfloat");
  CHECK(refused.code == 2);
  CHECK_THAT(refused.err, Catch::Matchers::Contains("bfloat16"));
}

TEST_CASE("cli: bench times workloads") {
  const Folder folder;
  const std::string file = folder.write("workloads.json", R"({"workloads": [
    {"id": "a", "type": "multi_head", "config": {"dim": 16, "num_heads": 2},
     "inputs": {"inputs": {"shape": [2, 8, 16]}}, "mode": "inference", "flops": 1e6, "roofline_ms": 0.001,
     "mask": {"kind": "key_padding", "shape": [2, 8], "lengths": [8, 5]}, "call": {}},
    {"id": "b", "type": "group_query", "config": {"dim": 16, "num_heads": 2, "num_kv_heads": 1},
     "inputs": {"inputs": {"shape": [1, 1, 16]}}, "mode": "decode", "mask": null,
     "call": {"cache_len": 20, "steps": 3}},
    {"id": "c", "type": "group_query", "config": {"dim": 16, "num_heads": 2, "num_kv_heads": 1},
     "inputs": {"inputs": {"shape": [1, 8, 16]}}, "mode": "training-step",
     "mask": {"kind": "causal", "shape": [1, 8, 8]}},
    {"id": "d", "type": "no_such_type", "config": {}, "inputs": {}, "mode": "inference"},
    {"id": "e", "type": "multi_head", "config": {"dim": 16},
     "inputs": {"inputs": {"shape": [1, 8, 16]}}, "mode": "inference",
     "mask": {"kind": "causal", "shape": [1, 8, 8]}}]})");
  const Finished f =
      attn_run({"bench", "--workloads", file, "--json", "--threads", "1", "--seconds", "0.1"});
  INFO(f.err);
  CHECK(f.code == 1);  // because of d
  std::istringstream stream(f.out);
  std::vector<Json> rows;
  for (std::string line; std::getline(stream, line);) rows.push_back(parsed(line));
  REQUIRE(rows.size() == 5);
  for (const size_t i : {0u, 1u, 2u, 4u}) {
    INFO(rows[i].dump());
    for (const char* key : {"ms_min", "ms_median", "ms_first", "ms_limit", "cpu_ms_min", "share",
                            "flops", "bytes_read", "bytes_written", "working_memory", "gflops",
                            "gbytes_s", "peak_gflops", "read_gbytes_s", "copy_gbytes_s"})
      CHECK(rows[i].at(key).to_double() > 0);
    CHECK(rows[i].at("ms_min").to_double() <= rows[i].at("ms_median").to_double());
    CHECK(rows[i].at("threads") == Json(1));
    CHECK(rows[i].at("share").to_double() ==
          Approx(rows[i].at("ms_limit").to_double() / rows[i].at("ms_min").to_double())
              .epsilon(1e-3));
    CHECK(rows[i].at("level") == Json("L2"));
  }
  // Four projections of 16 rows; 64 pairs of each of 2 x 2 heads. Inputs, mask and weights are read once.
  CHECK(rows[0].at("flops") == Json(4 * 2 * 16 * 256 + 4 * 4 * 64 * 8.0));
  CHECK(rows[0].at("bytes_read") == Json(1024 + 16 + 4 * 1024.0));
  CHECK(rows[0].at("bytes_written") == Json(1024.0));
  // Each of 3 tokens reads token, weights and 20 cached positions, and adds one.
  CHECK(rows[1].at("bytes_read") == Json(3 * (64 + 3072 + 20 * 64.0)));
  CHECK(rows[1].at("bytes_written") == Json(3 * (64 + 64.0)));
  // A gradient for every input and weight; attention is computed again on the way back.
  const double linear = 2 * 8 * 768, attention = 4 * 2 * 36 * 8, rope = 3 * (128 + 64);
  CHECK(rows[2].at("flops") == Json(3 * linear + 3.5 * attention + 3 * rope));
  CHECK(rows[2].at("bytes_read") == Json(2 * (512 + 3072) + 512.0));
  CHECK(rows[2].at("bytes_written") == Json(512 + 512 + 3072.0));
  CHECK_THAT(rows[3].at("error").as_string(), Catch::Matchers::Contains("no_such_type"));

  const Finished some = attn_run({"bench", "--workloads", file, "--only", "a", "--seconds", "0"});
  check_done(some);
  CHECK_THAT(some.out, Catch::Matchers::Contains("FMA peak") && Catch::Matchers::Contains("SHARE"));
  CHECK_THAT(
      attn_run({"bench", "--workloads", file, "--only", "c", "--seconds", "0", "--profile"}).out,
      Catch::Matchers::Contains("linear/1 gradient"));
  check_refused(attn_run({"bench", "--workloads", file, "--only", "a,z"}), {"'z'"});
  check_refused(attn_run({"bench", "--workloads", folder.write("w.json", "{}")}), {"workloads"});
}

TEST_CASE("cli: bench times one configuration") {
  const Folder folder;
  const std::string layer = layer_file(folder);
  const Finished f = attn_run(
      {"bench", layer, "--shape", "inputs=2,4,8", "--json", "--seconds", "0", "--profile"});
  check_done(f);
  CHECK(parsed(f.out).at("workload") == Json("layer"));
  CHECK(parsed(f.out).at("profile").size() >= 3);
  check_refused(attn_run({"bench", layer, "--mode", "sideways"}), {"--mode"});
  check_refused(attn_run({"bench", "--shape", "inputs=2,4,8"}), {"CONFIG"});
  check_refused(attn_run({"bench", layer, "--shape", "inputs=1,1,8", "--mode", "decode"}),
                {"cache_len"});
}

}  // namespace attn::test
