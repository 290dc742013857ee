// SPDX-License-Identifier: Apache-2.0
//
// attn verify refuses or fails what it cannot compare: cases of models and of score programs, one thing damaged in each.
#include <functional>
#include <map>

#include "tests/cli/program.hpp"

namespace attn::test {

namespace {

// A safetensors file in pieces, to be written again with some of them changed.
struct Pieces {
  explicit Pieces(const std::string& path) {
    const SafetensorsFile file(path);
    metadata = file.metadata();
    for (const SafetensorsEntry& e : file.entries()) tensors.emplace(e.name, file.read(e.name));
  }
  void save(const std::string& path) const {
    std::vector<NamedView> views;
    for (const auto& [name, a] : tensors) views.push_back({name, a.view()});
    save_safetensors(path, views, metadata);
  }

  std::map<std::string, std::string> metadata;
  std::map<std::string, Array> tensors;
};

const std::string kModels = kGoldens + "/decoders/", kScores = kGoldens + "/score/";

// One case that fails, with all of the parts in what is said.
void check_failed(const Finished& f, const std::vector<std::string>& parts) {
  INFO("stdout: " << f.out << "\nstderr: " << f.err);
  CHECK(f.code == 1);
  CHECK_THAT(f.out, Catch::Matchers::Contains("1 cases: 0 passed, 1 failed"));
  for (const std::string& part : parts) CHECK_THAT(f.out, Catch::Matchers::Contains(part));
}

// verify of a case of a model with its description and its tensors changed.
Finished verify_model(
    const Folder& folder, const std::string& name, const std::function<void(Json&)>& describe,
    const std::function<void(Pieces&)>& change = [](Pieces&) {}) {
  Json description = parse_config(read_file(kModels + name + ".json"), "the case");
  describe(description);
  Pieces pieces(kModels + name + ".safetensors");
  change(pieces);
  pieces.save(folder / "case.safetensors");
  std::filesystem::remove(folder / "case.json");
  folder.write("case.json", description.dump());
  return attn_run({"verify", folder / ""});
}
Finished verify_score(const Folder& folder, const std::string& name,
                      const std::function<void(Pieces&)>& change) {
  Pieces pieces(kScores + name + ".safetensors");
  change(pieces);
  pieces.save(folder / "case.safetensors");
  return attn_run({"verify", folder / "case.safetensors"});
}

const auto kAsItIs = [](Json&) {};

}  // namespace

TEST_CASE("cli: verify wants the calls of a model's case to cover its tokens") {
  const Folder folder;
  const auto with = [&](const std::string& calls) {
    return verify_model(folder, "llama_0",
                        [&](Json& j) { j.set("calls", parse_config(calls, "calls")); });
  };
  check_done(with("[17, 1, 1, 1, 3]"));
  check_done(with("[20, 3]"));
  for (const auto& [calls, sum] : std::map<std::string, std::string>{
           {"[1000000]", "1000000"},
           {"[17, 1, 1, 1, 99]", "119"},
           {"[]", "0"},
           {"[17]", "17"},
           {"[9223372036854775807, 9223372036854775807, 25]", "9223372036854775807"}})
    check_failed(with(calls), {"calls sum to " + sum + "; the case has 23 tokens"});
  for (const std::string calls : {"[0, 23]", "[-1, 24]", "[\"23\"]", "[1e30]", "[null]"})
    check_failed(with(calls), {"'calls' has ", "expected whole numbers from 1 on"});
  check_failed(with("23"), {"list"});
}

TEST_CASE("cli: verify compares what a model's case says of its tensors") {
  const Folder folder;
  for (const char* key :
       {"batch", "hidden_size", "num_kv_heads", "head_dim", "num_heads", "value_dim"})
    for (const Json& value : {Json(3), Json(0), Json(-1), Json("4")})
      check_failed(verify_model(folder, "llama_0", [&](Json& j) { j.set(key, value); }), {});
  check_failed(verify_model(folder, "llama_0", [](Json& j) { j.set("layer", "0"); }), {"'layer'"});
  for (const char* tensor : {"output", "keep", "positions", "cos", "sin", "cache/key"})
    check_failed(
        verify_model(folder, "llama_0", kAsItIs, [&](Pieces& p) { p.tensors.erase(tensor); }),
        {"tensor '" + std::string(tensor) + "' is missing"});
  check_failed(verify_model(folder, "llama_0", kAsItIs,
                            [](Pieces& p) {
                              p.tensors.emplace("cache/value", Folder::numbers({2, 2}));
                            }),
               {"tensor 'cache/value' is no part of the case"});
}

TEST_CASE("cli: verify compares the caches of models") {
  const Folder folder;
  // The last token of the last example, which is no padding.
  for (const auto& [name, tensor] :
       std::vector<std::pair<std::string, std::string>>{{"llama_0", "cache/key"},
                                                        {"cohere_0", "cache/key"},
                                                        {"mistral_0", "cache/key"},
                                                        {"deepseek_v3_0", "cache/latent"},
                                                        {"deepseek_v3_0", "cache/rope_key"}}) {
    INFO(name << " " << tensor);
    check_done(verify_model(folder, name, kAsItIs));
    check_failed(verify_model(folder, name, kAsItIs,
                              [&, tensor = tensor](Pieces& p) {
                                Array& a = p.tensors.at(tensor);
                                a.data<double>()[a.size() - 1] += 1;
                              }),
                 {tensor + "["});
  }
  // The first token, which the window of the first call never held.
  check_failed(verify_model(folder, "mistral_0", kAsItIs,
                            [](Pieces& p) { p.tensors.at("cache/key").data<double>()[0] += 1; }),
               {"cache/key[0, 0, 0, 0]"});
  // What is not compared is named.
  const Finished f = attn_run({"verify", kModels + "mistral_0.safetensors"});
  for (const std::string part :
       {"NOTE decoders: cos: not compared in 1 cases", "NOTE decoders: sin: not compared in 1"})
    CHECK_THAT(f.out, Catch::Matchers::Contains(part));
  const Json json = parsed(attn_run({"verify", kModels + "llama_0.safetensors", "--json"}).out);
  CHECK(json.at("not_compared") == Json{{"decoders: cos", 1}, {"decoders: sin", 1}});
}

TEST_CASE("cli: verify compares the keys that count in a score program's case exactly") {
  const Folder folder;
  for (const std::string name :
       {"causal", "bends", "tree", "keep_rescue", "keep_zero", "minus_infinity", "threshmax_causal",
        "strictly_causal_dead_row"}) {
    INFO(name);
    check_done(verify_score(folder, name, [](Pieces&) {}));
    // A key that counts and is said not to, and the other way round.
    for (const uint8_t value : {uint8_t{0}, uint8_t{1}}) {
      const Pieces pieces(kScores + name + ".safetensors");
      const Array& keep = pieces.tensors.at("keep");
      int64_t at = keep.size() - 1;
      while (at >= 0 && keep.data<uint8_t>()[at] != value) --at;
      if (at < 0) continue;  // all keys count
      check_failed(verify_score(folder, name,
                                [&](Pieces& p) { p.tensors.at("keep").data<uint8_t>()[at] ^= 1; }),
                   {"keep[", value ? "got 1, expected 0" : "got 0, expected 1"});
    }
    check_failed(verify_score(folder, name, [](Pieces& p) { p.tensors.erase("keep"); }),
                 {"tensor 'keep' is missing"});
  }
}

TEST_CASE("cli: verify reads all metadata of a score program's case") {
  const Folder folder;
  const auto with = [&](const std::string& name, const std::string& key, const std::string& value) {
    return verify_score(folder, name, [&](Pieces& p) { p.metadata[key] = value; });
  };
  for (const char* key :
       {"shape", "tables", "empty_rows", "offset", "scale", "constants", "probability"})
    check_failed(verify_score(folder, "alibi", [&](Pieces& p) { p.metadata.erase(key); }),
                 {std::string("'") + key + "'"});
  const std::string shape = Pieces(kScores + "alibi.safetensors").metadata.at("shape");
  for (const char* extent : {"B", "H", "G", "Q", "K", "D", "Dv"}) {
    for (const Json& value : {Json(3), Json(0), Json(-1), Json("x"), Json(9223372036854775807)}) {
      Json changed = parse_config(shape, "shape");
      changed.set(extent, value);
      check_failed(with("alibi", "shape", changed.dump()), {});
    }
    Json changed = parse_config(shape, "shape");
    changed.erase(extent);
    check_failed(with("alibi", "shape", changed.dump()), {extent});
  }
  for (const std::string tables :
       {"{}", "[]", R"({"slope": {"dtype": "i32", "shape": [4]}})",
        R"({"slope": {"dtype": "f16", "shape": [4]}})",
        R"({"slope": {"dtype": "f32", "shape": [2, 2]}})",
        R"({"slope": {"dtype": "f32", "shape": ["4"]}})", R"({"slope": {"shape": [4]}})",
        R"({"slope": {"dtype": "f32", "shape": [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 4]}})"})
    check_failed(with("alibi", "tables", tables), {});
  check_failed(with("alibi", "empty_rows", "saved"), {"'empty_rows' is 'saved'", "'rescue'"});
  check_failed(with("alibi", "probability", "sparsemax"), {"'probability' is 'sparsemax'"});
  for (const std::string offset : {"1e30", "0.5", "\"16\"", "null"})
    check_failed(with("causal", "offset", offset), {"'offset' is " + offset});
  check_failed(
      verify_score(folder, "alibi",
                   [](Pieces& p) { p.tensors.emplace("table/other", Folder::numbers({4})); }),
      {"tensor 'table/other' is no part of the case"});
}

TEST_CASE("cli: verify bounds the extents of refused programs") {
  const Folder folder;
  const Json all = parse_config(read_file(kScores + "refused.json"), "refused");
  const auto with = [&](const std::function<void(Json&)>& change) {
    Json entry = all.at(0);
    change(entry);
    std::filesystem::remove(folder / "refused.json");
    return attn_run({"verify", folder.write("refused.json", Json::list({entry}).dump())});
  };
  check_done(with([](Json&) {}));
  for (
      const std::string tables :
      {R"({"slope": [1, 1, 1, 1, 1, 1, 1, 1, 1]})", R"({"slope": [0]})", R"({"slope": [-4, 2]})",
       R"({"slope": [9223372036854775807, 2]})", R"({"slope": ["4"]})", R"({"slope": 4})",
       R"({"a": [1], "b": [1], "c": [1], "d": [1], "e": [1], "f": [1], "g": [1], "h": [1], "i": [1]})"})
    check_failed(with([&](Json& j) { j.set("tables", parse_config(tables, "tables")); }), {});
  for (const char* key : {"kind", "text", "tables", "stage", "shape", "offset"}) {
    check_failed(with([&](Json& j) { j.erase(key); }), {key});
    check_failed(with([&](Json& j) { j.set(key, 1e300); }), {});
  }
}

TEST_CASE("cli: verify names tensors of a layer's case that nothing would compare") {
  const Folder folder;
  const std::string path = kGoldens + "/multi_head/seed_example_small.safetensors";
  const auto with = [&](const std::function<void(Pieces&)>& change) {
    Pieces pieces(path);
    change(pieces);
    pieces.save(folder / "case.safetensors");
    return attn_run({"verify", folder / "case.safetensors"});
  };
  check_done(with([](Pieces&) {}));
  check_refused(with([](Pieces& p) { p.metadata["outputs"] = "[]"; }), {"'outputs'"});
  check_refused(with([](Pieces& p) {
                  p.tensors.emplace("output/other", Folder::numbers({2, 2}));
                }),
                {"tensor 'output/other' is no part of the case"});
  check_refused(with([](Pieces& p) {
                  p.tensors.emplace("outputs", Folder::numbers({2, 2}));
                }),
                {"tensor 'outputs' is no part of the case"});
  // Lengths whose sum is beyond what can be counted, of a case that is decoded.
  std::string decoded;
  for (const auto& file : std::filesystem::directory_iterator(kGoldens + "/group_query"))
    if (file.path().extension() == ".safetensors" &&
        Pieces(file.path()).metadata.contains("decode"))
      decoded = file.path();
  REQUIRE_FALSE(decoded.empty());
  Pieces pieces(decoded);
  pieces.metadata["decode"] = R"({"chunks": [9223372036854775807, 9223372036854775807, 25]})";
  pieces.save(folder / "case.safetensors");
  check_failed(attn_run({"verify", folder / "case.safetensors"}), {"in chunks: the chunks have"});
}

}  // namespace attn::test
