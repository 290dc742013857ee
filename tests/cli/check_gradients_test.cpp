// SPDX-License-Identifier: Apache-2.0
//
// attn check-gradients: right gradients pass, wrong ones are found and named.
#include <limits>

#include <attn/factory.hpp>

#include "tests/cli/program.hpp"
#include "tests/tools/build.hpp"

namespace attn::test {

using Catch::Matchers::Contains;

TEST_CASE("cli: check-gradients compares every input and weight") {
  const Folder folder;
  const std::string layer = folder.write(
      "layer.json",
      R"({"type": "multi_head", "dim": 8, "num_heads": 2, "use_bias": true, "kernel_regularizer": "l2"})");
  const Finished f = attn_run({"check-gradients", layer, "--shape", "inputs=2,5,8", "--json"});
  check_done(f);
  const Json result = parsed(f.out);
  CHECK(result.at("failed") == Json(0));
  REQUIRE(result.at("passed") == Json(5));
  for (const Json& tensor : result.at("tensors").as_list()) {
    INFO(tensor.dump());
    CHECK(tensor.at("passed") == Json(true));
    CHECK(tensor.at("error").to_double() <= 1e-6);
    // The objective moves with each of them.
    CHECK(tensor.at("largest").to_double() > 1e-3);
  }
  CHECK(result.at("tensors").at(0).at("name") == Json("inputs"));
  CHECK(result.at("tensors").at(0).at("checked") == Json(16));

  const Finished all = attn_run({"check-gradients", layer, "--shape", "inputs=1,3,8", "--elements",
                                 "0", "--training", "--seed", "5"});
  check_done(all);
  CHECK_THAT(all.out, Contains("cross_attention/qkv/bias") && Contains("5 passed, 0 failed"));
  CHECK_THAT(all.out, Contains(" 192 "));  // elements of the fused kernel
}

TEST_CASE("cli: check-gradients takes tensors and a mask") {
  const Folder folder;
  const std::string layer = layer_file(folder);
  const std::string x = folder.write_npy("x.npy", {1, 3, 8}),
                    mask = folder.write_npy("m.npy", {1, 3});
  const Finished f = attn_run(
      {"check-gradients", layer, "--input", "inputs=" + x, "--input", "attention_mask=" + mask});
  check_done(f);
  CHECK_THAT(f.out, Contains("(1, 3, 8)") && Contains("3 passed, 0 failed"));
  check_refused(attn_run({"check-gradients", layer, "--input", "input=" + x}),
                {"'input'", "inputs"});
  check_refused(attn_run({"check-gradients", layer, "--shape", "inputs=0"}), {"--shape"});
  check_refused(attn_run({"check-gradients", layer, "--elements", "-1"}),
                {"--elements", "'-1' is negative"});
  check_refused(attn_run({"check-gradients", layer, "--tolerance", "0"}),
                {"--tolerance", "'0' is no positive number"});
}

TEST_CASE(
    "cli: run and check-gradients take an input by any of its names, for every type that has "
    "several") {
  const Folder folder;
  const Json types = parsed(attn_run({"list", "--json"}).out);
  int aliases = 0;
  for (const Json& entry : types.as_list()) {
    const std::string id = entry.at("type").as_string();
    const attn_type& type = *find_attention_type(id).type;
    for (uint32_t i = 0; i < type.n_inputs; ++i) {
      const attn_input& input = *type.inputs[i];
      if (input.flags & ATTN_INPUT_OPTIONAL) continue;  // no call has it alone
      for (uint32_t k = 0; ATTN_HAS(&input, attn_input, n_aliases) && k < input.n_aliases; ++k) {
        const std::string layer = folder.write(
            "layer.json", R"({"type": ")" + id + R"(", "key_dim": 4, "num_heads": 2})");
        const std::string x = folder.write_npy("x.npy", {1, 3, 8});
        const std::string given = std::string(input.aliases[k]) + "=" + x;
        INFO(id << " " << given);
        check_done(attn_run({"run", layer, "-q", "--input", given}));
        const Finished f = attn_run({"check-gradients", layer, "--input", given, "--json"});
        check_done(f);
        // Results name the input itself.
        CHECK(parsed(f.out).at("tensors").at(0).at("name") == Json(input.name));
        check_refused(attn_run({"check-gradients", layer, "--input", given, "--input",
                                std::string(input.name) + "=" + x}),
                      {input.name, "set more than once"});
        ++aliases;
      }
    }
  }
  CHECK(aliases > 0);
}

TEST_CASE("cli: check-gradients leaves out elements that are not finite") {
  const Folder folder;
  // Without the kink of relu, on which keys of pixels that it sets to zero would lie.
  const std::string layer =
      folder.write("layer.json", R"({"type": "non_local", "attention_channels": 8, "kernel_size": 1,
                        "intermediate_activation": "gelu"})");
  Array bias = Folder::numbers({6, 6});
  bias.data<float>()[0] = bias.data<float>()[9] = -std::numeric_limits<float>::infinity();
  attn::write_npy(folder / "m.npy", bias.view());
  const Finished f = attn_run({"check-gradients", layer, "--elements", "0", "--json", "--input",
                               "inputs=" + folder.write_npy("x.npy", {1, 2, 3, 4}), "--input",
                               "attention_mask=" + (folder / "m.npy")});
  check_done(f);
  const Json mask = parsed(f.out).at("tensors").at(1);
  CHECK(mask.at("name") == Json("attention_mask"));
  CHECK(mask.at("checked") == Json(34));
  CHECK(mask.at("largest").to_double() > 1e-3);
}

TEST_CASE("cli: check-gradients finds a wrong gradient of a third party's plugin") {
  const Folder folder;
  const std::string plugin = test::built("tests/plugins_bad/computing");
  const std::string layer = folder.write("layer.json", R"({"type": "fixture.wrong_gradient"})");
  const Finished f =
      attn_run({"check-gradients", layer, "--plugin-path", plugin, "--shape", "inputs=1,2,4"});
  INFO(f.err);
  CHECK(f.code == 1);
  CHECK_THAT(f.out, Contains("0 passed, 1 failed") && Contains("inputs["));
}

TEST_CASE("cli: check-gradients knows a kink, and a wrong gradient at one") {
  const Folder folder;
  // The bias of the hidden layer is zero, and so is the distance of a token from itself: relu at 0.
  const std::string swin = folder.write(
      "swin.json", R"({"type": "vit", "dim": 8, "num_heads": 2, "position_kind": "swin_v2",
                       "grid_height": 2, "grid_width": 2, "num_prefix_tokens": 0, "cpb_hidden_dim": 4})");
  const Finished f =
      attn_run({"check-gradients", swin, "--shape", "inputs=1,4,8", "--elements", "0", "--json"});
  check_done(f);
  const Json result = parsed(f.out);
  CHECK(result.at("failed") == Json(0));
  int64_t kinks = 0;
  for (const Json& tensor : result.at("tensors").as_list()) {
    INFO(tensor.dump());
    CHECK(tensor.at("error").to_double() <= 1e-6);
    if (tensor.at("name") == Json("cpb_mlp/hidden/bias"))
      kinks = *tensor.at("kinks").to_int64();
    else
      CHECK(tensor.at("kinks") == Json(0));
  }
  CHECK(kinks == 4);

  // |x|, differentiated as 2 at 0: no slope of either side, nor one between them.
  const std::string plugin = test::built("tests/plugins_bad/computing");
  Array zeros(ATTN_F32, {1, 2, 4});
  attn::write_npy(folder / "zeros.npy", zeros.view());
  for (const double slope : {2.0, -1.5, 0.5, 1.0}) {
    const std::string layer =
        folder.write("layer.json", R"({"type": "fixture.wrong_gradient", "slope_at_zero": )" +
                                       std::to_string(slope) + "}");
    const Finished at = attn_run({"check-gradients", layer, "--plugin-path", plugin, "--input",
                                  "inputs=" + (folder / "zeros.npy")});
    INFO(slope << at.out << at.err);
    CHECK(at.code == (std::abs(slope) > 1 ? 1 : 0));
  }
}

}  // namespace attn::test
