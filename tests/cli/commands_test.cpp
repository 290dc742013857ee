// SPDX-License-Identifier: Apache-2.0
//
// list, info, plugins, doctor and run at work.
#include <attn/factory.hpp>

#include <cstring>

#include "tests/cli/program.hpp"
#include "tests/tools/build.hpp"

namespace attn::test {

TEST_CASE("cli: list") {
  const Finished text = attn_run({"list"});
  check_done(text);
  CHECK(text.err.empty());
  const Json types = parsed(attn_run({"list", "--json"}).out);
  REQUIRE(types.size() >= 1);
  CHECK(lines(text.out) == types.size() + 1);  // and the head
  std::string keep;
  for (const Json& t : types.as_list()) {
    CHECK_THAT(text.out, Catch::Matchers::Contains(t.at("type").as_string()));
    CHECK(std::filesystem::exists(t.at("library").as_string()));
    keep += t.at("state") == Json(true) ? t.at("type").as_string() + " " : "";
    // Some keep a state only when a switch says so.
    const bool causal = t.at("type") == Json("performer") || t.at("type") == Json("linear");
    CHECK(t.at("state_with") == (causal ? Json("causal = true") : Json()));
    CHECK_FALSE(t.at("masks").as_string().empty());
  }
  for (const char* type :
       {"differential", "forgetting", "gated", "group_query", "linear", "multi_head",
        "multi_head_cross", "perceiver", "performer", "talking_heads"})
    CHECK_THAT(keep, Catch::Matchers::Contains(std::string(type) + " "));
  CHECK_THAT(keep, !Catch::Matchers::Contains("window ") && !Catch::Matchers::Contains("vit "));
}

TEST_CASE("cli: info") {
  const Folder folder;
  const Finished text = attn_run({"info", "multi_head"});
  check_done(text);
  for (const char* part : {"MultiHeadAttention", "num_heads", "required", "dropout_rate",
                           "attention_mask", "divisible", "training"})
    CHECK_THAT(text.out, Catch::Matchers::Contains(part));
  // Information on every type, in both forms.
  const Json types = parsed(attn_run({"list", "--json"}).out);
  for (const Json& t : types.as_list()) {
    const std::string name = t.at("type").as_string();
    check_done(attn_run({"info", name}));
    const Json facts = parsed(attn_run({"info", name, "--json"}).out);
    CHECK(facts.at("type") == Json(name));
    for (const Json& p : facts.at("parameters").as_list())
      CHECK_FALSE(p.at("doc").as_string().empty());
  }
  const std::string layer = layer_file(folder);
  const Finished with =
      attn_run({"info", "multi_head", "--config", layer, "--shape", "inputs=2,16,8", "--json"});
  check_done(with);
  const Json facts = parsed(with.out);
  CHECK(facts.at("parameter_count") == Json(8 * 24 + 8 * 8));
  CHECK(facts.at("weights").size() == 2);
  CHECK(facts.at("cost").at("flops").to_double() > 2.0 * 2 * 16 * 8 * 32);
  CHECK(facts.at("cost").at("outputs").at("output") == Json(std::vector<int>{2, 16, 8}));
  check_done(attn_run({"info", "multi_head", "--config", layer}));
  CHECK_THAT(attn_run({"info", "performer"}).out,
             Catch::Matchers::Contains("with causal = true: kept from call to call"));
  CHECK_THAT(attn_run({"info", "anchor"}).out,
             Catch::Matchers::Contains("every call stands alone"));

  check_refused(attn_run({"info", "multi_haed"}), {"multi_haed", "did you mean 'multi_head'?"});
  check_refused(attn_run({"info", "multi_head", "--shape", "inputs=2,16,8"}), {"--config"});
  check_refused(attn_run({"info", "multi_head", "--config", layer, "--shape", "inputs=2,x"}),
                {"2,x", "shape"});
  check_refused(attn_run({"info", "multi_head", "--config", layer, "--shape", "input=2,16,8"}),
                {"'input'", "did you mean 'inputs'?"});
  check_refused(attn_run({"info", "group_query", "--config", layer}), {"'multi_head'"});
}

TEST_CASE("cli: info has the cost of a call with arguments, and what the layer was built for") {
  const Folder folder;
  const std::string layer =
      folder.write("layer.json", R"({"type": "shared_weights_cross", "dim": 8, "num_heads": 2})");
  const auto cost = [&](const char* sizes) {
    const Finished f = attn_run({"info", "shared_weights_cross", "--config", layer, "--shape",
                                 "inputs=1,40,8", "--arg", sizes, "--json"});
    check_done(f);
    return parsed(f.out).at("cost").at("flops").to_double();
  };
  // Anchors alone are keys: 2 of 20 on each side.
  CHECK(cost("split_sizes=[20,20]") > 1.5 * cost("split_sizes=[2,18,2,18]"));
  check_refused(
      attn_run({"info", "shared_weights_cross", "--config", layer, "--arg", "split_sizes=[20,20]"}),
      {"--shape"});
  // A width that only the input has.
  const std::string wide =
      folder.write("wide.json", R"({"type": "hopfield", "num_heads": 2, "key_dim": 4})");
  const Json facts = parsed(
      attn_run({"info", "hopfield", "--config", wide, "--shape", "query=1,3,10", "--json"}).out);
  CHECK(facts.at("built_for").at("query") == Json(std::vector<int>{1, 3, 10}));
  CHECK_THAT(attn_run({"info", "hopfield", "--config", wide}).out,
             Catch::Matchers::Contains("built for {\"query\":["));
}

TEST_CASE("cli: doctor tells why a type is not there") {
  const Finished here = attn_run({"doctor", "fnet"});
  check_done(here);
  CHECK_THAT(here.out, Catch::Contains("loaded from ") && Catch::Contains("fnet.so"));
  const Finished typo = attn_run({"doctor", "fnett"});
  CHECK(typo.code == 1);
  CHECK_THAT(typo.out,
             Catch::Contains("Unknown attention type 'fnett'") && Catch::Contains("'fnet'?"));
  // A refused file by the reason, and what lies beside plugins without being one.
  const Folder folder;
  folder.write("tide.so", "no library");
  folder.write("wave.so.1", "");
  std::filesystem::create_directory(folder / "below");
  const Finished refused = attn_run({"doctor", "tide", "--plugin-path", folder / "", "--json"});
  CHECK(refused.code == 1);
  const Json facts = parsed(refused.out);
  CHECK(facts.at("types").at(0).at("library").is_null());
  CHECK_THAT(facts.at("types").at(0).at("problem").as_string(),
             Catch::Contains("was refused: ") && Catch::Contains("tide.so"));
  CHECK_THAT(
      facts.at("directories").at(0).at("state").as_string(),
      Catch::Contains("1 file; not looked at") && Catch::Contains("['below/', 'wave.so.1']"));
}

TEST_CASE("cli: plugins and doctor") {
  const Folder folder;
  folder.write("broken.so", "this is no library");
  std::filesystem::copy_file(test::built("lib/attn/plugins/multi_head.so"),
                             folder / "multi_head.so");
  const std::string path = folder / "";
  const Finished text = attn_run({"plugins", "--plugin-path", path});
  check_done(text);
  CHECK_THAT(text.out, Catch::Matchers::Contains("broken.so") &&
                           Catch::Matchers::Contains("refused") &&
                           Catch::Matchers::Contains("loaded"));
  const Json files = parsed(attn_run({"plugins", "--plugin-path", path, "--json"}).out);
  REQUIRE(files.size() == 2);
  CHECK(files.at(0).at("code") == Json("not_elf"));
  CHECK_FALSE(files.at(0).at("hint").as_string().empty());
  CHECK(files.at(1).at("types").at(0) == Json("multi_head"));

  const Finished doctor = attn_run({"doctor", "--plugin-path", path});
  check_done(doctor);
  for (const char* part : {"CPU", "threads", "huge pages", "broken.so", "--plugin-path", "2 files"})
    CHECK_THAT(doctor.out, Catch::Matchers::Contains(part));
  const Json facts =
      parsed(attn_run({"doctor", "--json", "--plugin-path", path, "--threads", "1"}).out);
  const Json& quota = facts.at("threads").at("quota");
  CHECK((quota.is_null() || quota.to_double() > 0));
  CHECK(facts.at("threads").at("threads") == Json(1));
  CHECK(facts.at("files").size() == 2);
  CHECK(facts.at("directories").size() == 1);
  // A bad file does not keep the others from being used.
  const std::string layer = layer_file(folder), x = folder.write_npy("x.npy", {1, 3, 8});
  check_done(attn_run({"run", layer, "--input", "inputs=" + x, "--plugin-path", path}));
}

TEST_CASE("cli: tables that a call brings are inputs of every command that makes one") {
  const Folder folder;
  const std::string layer =
      folder.write("packed.json", R"({"type": "multi_head", "dim": 8, "num_heads": 2,
        "score": "s + rise[b, k]", "mask_rule": "doc[b, q] == doc[b, k]",
        "captures": {"doc": {"shape": ["B", "K"], "dtype": "i32", "input": true},
                     "rise": {"shape": ["B", "K"], "input": true}}})");
  const std::string x = folder.write_npy("x.npy", {1, 4, 8}),
                    rise = folder.write_npy("rise.npy", {1, 4}), y = folder / "y.npy";
  const auto write_doc = [&](const std::string& name, std::initializer_list<int64_t> values) {
    Array doc(ATTN_I64, {1, static_cast<int64_t>(values.size())});
    std::copy(values.begin(), values.end(), doc.data<int64_t>());
    write_npy(folder / name, doc.view());
    return folder / name;
  };
  const std::string doc = write_doc("doc.npy", {0, 1, 2, 3}),
                    one = write_doc("one.npy", {7, 7, 7, 7}), off = write_doc("off.npy", {1, 2, 3});
  const auto with = [&](const char* command, std::vector<std::string> more) {
    std::vector<std::string> all{command, layer, "-q", "--input", "inputs=" + x};
    all.insert(all.end(), more.begin(), more.end());
    return attn_run(all);
  };
  const auto run = [&](const std::string& documents) {
    check_done(
        with("run", {"--input", "doc=" + documents, "--input", "rise=" + rise, "--output", y}));
    return read_npy(y);
  };
  const Array alone = run(doc), together = run(one);
  CHECK(std::memcmp(alone.raw(), together.raw(), alone.bytes()) != 0);
  check_refused(with("run", {"--input", "rise=" + rise, "--output", y}),
                {"table 'doc' is missing", "(B, K)"});
  check_refused(with("run", {"--input", "dog=" + doc, "--output", y}),
                {"'dog'", "did you mean 'doc'"});
  check_refused(with("run", {"--input", "doc=" + off, "--input", "rise=" + rise, "--output", y}),
                {"table 'doc'", "expected (B, K), here (1, 4)"});
  check_done(
      with("map", {"--input", "doc=" + doc, "--input", "rise=" + rise, "--out", folder / "m.svg"}));
  const Finished gradients =
      with("check-gradients", {"--input", "doc=" + doc, "--shape", "rise=1,4", "--json"});
  check_done(gradients);
  CHECK_THAT(gradients.out, Catch::Matchers::Contains("\"rise\""));
  check_done(attn_run({"explain", layer, "--shape", "inputs=1,4,8", "--input", "doc=" + doc,
                       "--shape", "rise=1,4", "--seconds", "0"}));
  check_refused(attn_run({"explain", layer, "--shape", "inputs=1,4,8"}),
                {"table 'doc' of the call has no shape", "--shape doc=2,64"});
  const Finished info = attn_run({"info", "multi_head", "--config", layer, "--shape",
                                  "inputs=1,4,8", "--shape", "doc=1,4", "--shape", "rise=1,4"});
  check_done(info);
  CHECK_THAT(info.out, Catch::Matchers::Contains(
                           "Tables of a call\n  doc  i32  (B, K)\n  rise  float  (B, K)"));
}

TEST_CASE("cli: run refuses an additive mask of any floating kind, and says what a mask is") {
  const Folder folder;
  const std::string layer = layer_file(folder), x = folder.write_npy("x.npy", {2, 5, 8});
  Array mask(ATTN_F32, {2, 5});
  mask.data<float>()[7] = -std::numeric_limits<float>::infinity();
  for (const attn_dtype dtype : {ATTN_F32, ATTN_F64, ATTN_F16, ATTN_BF16}) {
    const std::string file = folder / (std::string(dtype_name(dtype)) + ".safetensors");
    save_safetensors(file, {{"m", mask.astype(dtype).view()}});
    check_refused(attn_run({"run", layer, "-q", "--input", "inputs=" + x, "--input",
                            "attention_mask=" + file + ":m", "--output", folder / "y.npy"}),
                  {"'attention_mask'", "additive", "true or 1"});
  }
}

TEST_CASE(
    "cli: run keeps a third party's type from additive masks and from norms that look ahead") {
  const Folder folder;
  const std::string plugin = test::built("tests/plugins_bad/computing");
  const std::string x = folder.write_npy("x.npy", {2, 5, 8});
  const auto run = [&](const std::string& norm, std::vector<std::string> more) {
    const std::string layer =
        folder.write("keeps.json", R"({"type": "fixture.keeps", "norm": )" + norm + "}");
    std::vector<std::string> command{"run",     layer,         "-q",       "--plugin-path", plugin,
                                     "--input", "inputs=" + x, "--output", folder / "y.npy"};
    command.insert(command.end(), more.begin(), more.end());
    return attn_run(command);
  };
  Array mask(ATTN_F32, {2, 5});
  mask.data<float>()[7] = -1e9F;
  write_npy(folder / "additive.npy", mask.view());
  mask.data<float>()[0] = 1;
  write_npy(folder / "keep.npy", mask.view());
  const std::string additive = folder / "additive.npy", keep = folder / "keep.npy";
  for (const std::string name : {"attention_mask=", "keep="}) {
    check_refused(run("null", {"--input", name + additive}), {"additive", "true or 1"});
    check_done(run("null", {"--input", name + keep}));
  }
  const std::string grn = R"("global_response_norm")";
  check_done(run(grn, {}));
  check_refused(run(grn, {"--input", "attention_mask=" + keep}), {"attention_mask", "mixes"});
  check_refused(run(grn, {"--arg", "forwards=true"}), {"forwards", "mixes positions"});
  check_done(run(R"("rms_norm")", {"--input", "attention_mask=" + keep, "--arg", "forwards=true"}));
}

TEST_CASE("cli: run writes what it computed") {
  const Folder folder;
  const std::string layer = layer_file(folder), x = folder.write_npy("x.npy", {2, 5, 8});
  const std::string y = folder / "y.npy", all = folder / "all.safetensors";
  const auto run = [&](std::vector<std::string> more) {
    std::vector<std::string> command{"run", layer, "-q", "--input", "inputs=" + x};
    command.insert(command.end(), more.begin(), more.end());
    const Finished f = attn_run(command);
    check_done(f);
    return f;
  };
  const Finished first = run({"--output", y, "--output", "output=" + all});
  CHECK_THAT(first.out, Catch::Matchers::Contains("output (2, 5, 8) float32"));
  const Array a = read_npy(y);
  CHECK(a.shape() == Shape{2, 5, 8});
  const Array b = SafetensorsFile(all).read("output");
  CHECK(a.to_vector<float>() == b.to_vector<float>());
  // The seed decides the weights; nothing else does.
  run({"--output", folder / "again.npy", "--threads", "1"});
  CHECK(read_file(folder / "again.npy") == read_file(y));
  run({"--output", folder / "other.npy", "--seed", "1"});
  CHECK(read_file(folder / "other.npy") != read_file(y));
  // What a type draws when the layer is made follows from the seed as well.
  const std::string performer =
      folder.write("performer.json", R"({"type": "performer", "dim": 8, "num_heads": 2})");
  for (const char* out : {"first.npy", "second.npy"})
    check_done(attn_run({"run", performer, "-q", "--input", "inputs=" + x, "--seed", "5",
                         "--output", folder / out}));
  CHECK(read_file(folder / "first.npy") == read_file(folder / "second.npy"));
  // One of several tensors of a file.
  const Array tensor = Folder::numbers({2, 5, 8});
  save_safetensors(folder / "in.safetensors", {{"a:b", tensor.view()}, {"c", a.view()}});
  const Finished named =
      attn_run({"run", layer, "-q", "--input", "inputs=" + (folder / "in.safetensors") + ":a:b",
                "--output", folder / "named.npy"});
  check_done(named);
  CHECK(read_file(folder / "named.npy") == read_file(y));

  const Json result = parsed(run({"--json", "--profile"}).out);
  CHECK(result.at("outputs").at(0).at("shape") == Json(std::vector<int>{2, 5, 8}));
  REQUIRE(result.at("profile").size() >= 3);
  double share = 0;
  for (const Json& op : result.at("profile").as_list()) share += op.at("share").to_double();
  CHECK(share == Approx(1.0));
  CHECK_THAT(run({"--profile"}).out, Catch::Matchers::Contains("OPERATOR") &&
                                         Catch::Matchers::Contains("linear") &&
                                         Catch::Matchers::Contains("working memory"));
}

TEST_CASE("cli: run speaks of random weights exactly where a type has weights") {
  const Folder folder;
  int with = 0, without = 0;
  for (const auto& [config, shape] :
       {std::pair(R"({"type": "multi_head", "dim": 8, "num_heads": 2})", Shape{1, 4, 8}),
        {R"({"type": "fnet"})", Shape{1, 4, 8}},
        {R"({"type": "spatial", "kernel_size": 3})", Shape{1, 4, 4, 8}},
        {R"({"type": "performer", "dim": 8, "num_heads": 2})", Shape{1, 4, 8}}}) {
    const std::string layer = folder.write("layer.json", config);
    const auto made = create_attention_from_config(parsed(config));
    made->build({shape}, {});
    bool random = false;
    for (const WeightInfo& w : made->weights()) random = random || !w.not_stored;
    const Finished f =
        attn_run({"run", layer, "--input", "inputs=" + folder.write_npy("x.npy", shape)});
    check_done(f);
    INFO(config << ": " << f.err);
    CHECK((f.err.find("random") != std::string::npos) == random);
    ++(random ? with : without);
  }
  CHECK(with > 0);
  CHECK(without > 0);
}

TEST_CASE("cli: the name in [NAME=]FILE is an identifier, so a path may hold the sign") {
  const Folder folder;
  const std::string layer = layer_file(folder);
  const std::string directory = folder / "lr=0.1";
  std::filesystem::create_directories(directory);
  const std::string x = folder.write_npy("lr=0.1/x=1.npy", {2, 5, 8});
  const auto run = [&](const std::string& output) {
    const Finished f = attn_run({"run", layer, "-q", "--input", "inputs=" + x, "--output", output});
    check_done(f);
  };
  run(directory + "/y.npy");
  const Array y = read_npy(directory + "/y.npy");
  for (const std::string& path : {directory + "/a=b.npy", directory + "/z.npy"}) {
    run("output=" + path);
    CHECK(read_file(path) == read_file(directory + "/y.npy"));
  }
  run(directory + "/c=d.safetensors");
  CHECK(SafetensorsFile(directory + "/c=d.safetensors").entries().size() == 1);
  // A relative path needs a sign of being one.
  check_refused(attn_run({"run", layer, "-q", "--input", "inputs=" + x, "--output", "lr=0.1.npy"}),
                {"no output 'lr'", "./lr=0.1.npy"});
  // Inputs have names always.
  for (const char* command : {"run", "explain", "check-gradients"})
    check_refused(
        attn_run({command, layer, "-q", "--input", x}),
        {"--input", "NAME=FILE", "['inputs', 'attention_mask']", "write --input inputs=" + x});
  check_refused(attn_run({"explain", layer, "--shape", "2,5,8"}),
                {"INPUT=2,16,64", "write --shape inputs=2,5,8"});
  // Weights with the sign in their path.
  save_safetensors(directory + "/in=1.safetensors", {{"a=b", read_npy(x).view()}});
  check_done(
      attn_run({"run", layer, "-q", "--input", "inputs=" + directory + "/in=1.safetensors:a=b"}));
}

TEST_CASE("cli: run passes arguments of the call") {
  const Folder folder;
  const std::string layer =
      folder.write("gqa.json", R"({"attention": {"type": "group_query", "dim": 8, "num_heads": 2,
                                    "num_kv_heads": 1}})");
  const std::string x = folder.write_npy("x.npy", {1, 4, 8});
  const auto run = [&](std::vector<std::string> more) {
    std::vector<std::string> command{"run", layer, "-q", "--json", "--input", "inputs=" + x};
    command.insert(command.end(), more.begin(), more.end());
    const Finished f = attn_run(command);
    check_done(f);
    return parsed(f.out);
  };
  const Json one = run({"--output", folder / "a.npy"});
  CHECK(one.at("outputs").size() == 1);
  const Json two =
      run({"--arg", "return_attention_weights=true", "--arg", "use_causal_mask=true", "--output",
           folder / "b.safetensors", "--output", "attention_weights=" + (folder / "w.npy")});
  CHECK(two.at("outputs").size() == 2);
  const Array w = read_npy(folder / "w.npy");
  REQUIRE(w.shape() == Shape{1, 2, 4, 4});
  CHECK(w.at<float>({0, 0, 0, 1}) == 0.0F);
  CHECK(w.at<float>({0, 0, 0, 0}) == Approx(1.0F));
  CHECK(SafetensorsFile(folder / "b.safetensors").entries().size() == 2);
  check_refused(
      attn_run({"run", layer, "-q", "--input", "inputs=" + x, "--arg", "position_offset=-1"}),
      {"position_offset", "negative"});
  check_refused(attn_run({"run", layer, "-q", "--input", "inputs=" + x, "--output",
                          "attention_weights=" + (folder / "none.npy")}),
                {"attention_weights"});
}

TEST_CASE("cli: run writes what a call tells of itself") {
  const Folder folder;
  const std::string layer = layer_file(folder), x = folder.write_npy("x.npy", {2, 5, 8});
  const auto run = [&](std::vector<std::string> more) {
    std::vector<std::string> command{"run", layer, "-q", "--input", "inputs=" + x};
    command.insert(command.end(), more.begin(), more.end());
    return attn_run(command);
  };
  const std::string file = folder / "seen.safetensors";
  const Finished told = run({"--observe", "entropy,map", "--observe", "top_keys", "--top", "2",
                             "--observe-part", "keys=1:4", "--observe-to", file, "--json"});
  check_done(told);
  CHECK(parsed(told.out).at("observed").size() == 3);
  const SafetensorsFile seen(file);
  const int64_t heads = seen.read("attention.entropy").shape()[1];
  CHECK(seen.read("attention.entropy").shape() == Shape{2, heads, 5});
  CHECK(seen.read("attention.map").shape() == Shape{2, heads, 5, 3});
  CHECK(seen.read("attention.top_keys").shape() == Shape{2, heads, 5, 2});
  CHECK_THAT(run({"--observe", "all"}).out,
             Catch::Matchers::Contains("attention.column_mass (2, " + std::to_string(heads) +
                                       ", 5) float32: min"));
  check_refused(run({"--observe", "entropie"}), {"entropie", "row_max", "entropy"});
  check_refused(run({"--observe", "map", "--observe-part", "rows=1"}), {"--observe-part", "rows"});
  check_refused(run({"--observe", "map", "--observe-part", "keys=4:1"}), {"keys", "BEGIN:END"});
  check_refused(run({"--observe", "map", "--observe-to", "seen.npy"}), {"--observe-to"});
  check_refused(run({"--observe-to", file}), {"--observe"});
}

}  // namespace attn::test
