// SPDX-License-Identifier: Apache-2.0
//
// attn convert: recipes give the right numbers, wrong ones are refused; forms go there and back.
#include "tests/cli/program.hpp"

namespace attn::test {

namespace {

struct Source {
  Folder folder;
  Array q = Folder::numbers({8, 8}), kv = Folder::numbers({16, 8}), o = Folder::numbers({8, 8});
  std::string file = folder / "source.safetensors", layer = layer_file(folder),
              out = folder / "out.safetensors";

  Source() {
    for (int64_t i = 0; i < q.size(); ++i) q.data<float>()[i] += 3.0F;
    save_safetensors(file,
                     {{"layer.0.q", q.view()}, {"layer.0.kv", kv.view()}, {"layer.0.o", o.view()}});
  }
  Finished convert(const std::string& mapping, std::vector<std::string> more = {"--set", "n=0"}) {
    std::vector<std::string> command{
        "convert",  file,  "--map",    folder.write("map.json", mapping),
        "--config", layer, "--output", out};
    command.insert(command.end(), more.begin(), more.end());
    return attn_run(command);
  }
};

const char* kMapping = R"({
  "cross_attention/qkv/kernel": {"concat": ["layer.{n}.q",
      {"from": "layer.{n}.kv", "slice": [0, "{dim}"]},
      {"from": "layer.{n}.kv", "slice": [8, 16], "axis": 0}], "axis": 1, "transpose": true},
  "cross_attention/proj/kernel": {"from": "layer.{n}.o", "transpose": true}})";

}  // namespace

TEST_CASE("cli: convert joins, cuts and turns") {
  Source s;
  const Finished f = s.convert(kMapping);
  check_done(f);
  CHECK_THAT(f.out, Catch::Matchers::Contains("2 weights written"));
  const SafetensorsFile file(s.out);
  const Array qkv = file.read("cross_attention/qkv/kernel");
  REQUIRE(qkv.shape() == Shape{8, 24});
  for (int64_t i = 0; i < 8; ++i)
    for (int64_t j = 0; j < 8; ++j) {
      CHECK(qkv.at<float>({i, j}) == s.q.at<float>({j, i}));
      CHECK(qkv.at<float>({i, 8 + j}) == s.kv.at<float>({j, i}));
      CHECK(qkv.at<float>({i, 16 + j}) == s.kv.at<float>({8 + j, i}));
      CHECK(file.read("cross_attention/proj/kernel").at<float>({i, j}) == s.o.at<float>({j, i}));
    }
  const std::string x = s.folder.write_npy("x.npy", {1, 3, 8});
  check_done(attn_run({"run", s.layer, "--input", "inputs=" + x, "--weights", s.out}));
}

TEST_CASE("cli: convert turns half-split heads into pairs") {
  Source s;
  // Two heads of four columns: 0 1 2 3 becomes 0 2 1 3; with dims 2 nothing changes.
  const auto mapping = [](const std::string& pairs) {
    return R"({"cross_attention/qkv/kernel": {"concat": ["layer.0.q", "layer.0.q", "layer.0.q"],
               "axis": 1, "rope_pairs": )" +
           pairs + R"(}, "cross_attention/proj/kernel": {"from": "layer.0.o",
               "reshape": [4, 2, -1], "permute": [1, 0, 2]}})";
  };
  // The permuted tensor is (2, 4, 8): reshape it again by nesting.
  const auto nested = [&](const std::string& pairs) {
    std::string text = mapping(pairs);
    const std::string inner = R"({"from": "layer.0.o",)";
    const size_t at = text.find(inner);
    return text.substr(0, at) + R"({"reshape": [8, 8], "from": )" +
           text.substr(at, text.size() - at - 1) + "}}";
  };
  check_refused(s.convert(mapping(R"({"heads": 2})"), {}), {"(2, 4, 8)", "(8, 8)"});
  check_done(s.convert(nested(R"({"heads": "{num_heads}"})"), {}));
  const Array qkv = SafetensorsFile(s.out).read("cross_attention/qkv/kernel");
  const int64_t from[] = {0, 2, 1, 3, 4, 6, 5, 7};
  for (int64_t i = 0; i < 8; ++i)
    for (int64_t j = 0; j < 24; ++j)
      CHECK(qkv.at<float>({i, j}) == s.q.at<float>({i, from[j % 8]}));
  const Array proj = SafetensorsFile(s.out).read("cross_attention/proj/kernel");
  for (int64_t i = 0; i < 8; ++i)  // row (a, b) of the result is row (b, a) of the source
    CHECK(proj.at<float>({i, 5}) == s.o.at<float>({i % 4 * 2 + i / 4, 5}));
  check_refused(s.convert(nested(R"({"heads": 3})"), {}), {"rope_pairs", "3 heads"});
  check_refused(s.convert(nested(R"({"heads": 2, "dims": 3})"), {}), {"even"});
}

TEST_CASE("cli: convert refuses mappings that do not fit") {
  Source s;
  const std::string mapping = kMapping;
  const auto changed = [&](const std::string& from, const std::string& to) {
    std::string text = mapping;
    REQUIRE(text.find(from) != std::string::npos);
    return text.replace(text.find(from), from.size(), to);
  };
  check_refused(s.convert(mapping, {}), {"{n}", "--set n="});
  check_refused(s.convert(mapping, {"--set", "n"}), {"--set", "NAME=VALUE"});
  check_refused(s.convert(mapping, {"--set", "n=7"}), {"'layer.7.", "did you mean"});
  check_refused(s.convert(changed("cross_attention/proj/kernel", "cross_attention/proj/kernl")),
                {"'cross_attention/proj/kernl'", "did you mean 'cross_attention/proj/kernel'?"});
  check_refused(s.convert(R"({"cross_attention/proj/kernel": "layer.0.o"})"),
                {"'cross_attention/qkv/kernel' (8, 24)", "no recipe"});
  check_refused(s.convert(changed("\"axis\": 1, \"transpose\": true", "\"axis\": 0")),
                {"(24, 8)", "(8, 24)", "\"transpose\": true"});
  check_refused(s.convert(changed("\"slice\": [8, 16]", "\"slice\": [8, 17]")),
                {"slice", "(16, 8)"});
  check_refused(s.convert(changed("\"transpose\": true", "\"transpos\": true")),
                {"'transpos'", "did you mean 'transpose'?"});
  check_refused(s.convert(changed("\"axis\": 1", "\"axis\": 2")), {"axis 2"});
  check_refused(s.convert("[]"), {"map.json", "object"});
  check_refused(s.convert("{"), {"map.json:1:"});
  CHECK_FALSE(std::filesystem::exists(s.out));
}

TEST_CASE("cli: convert knows published attention by its form, and writes it again") {
  const Folder folder;
  const std::string model =
      ATTN_SOURCE_DIR "/host/examples/minilm/minilm-attention-weights.safetensors";
  const std::string layer = folder / "layer.safetensors", back = folder / "back.safetensors";
  const Finished f = attn_run(
      {"convert", model, "--prefix", "encoder.layer.3", "--num-heads", "12", "--output", layer});
  check_done(f);
  CHECK_THAT(f.out, Catch::Matchers::Contains("cross_attention/qkv/kernel"));
  CHECK_THAT(f.out, Catch::Matchers::Contains(
                        "4 weights of multi_head from hf-bert 'encoder.layer.3.attention.'"));
  check_done(attn_run({"convert", layer, "--to", "hf-bert", "--prefix", "encoder.layer.3.attention",
                       "--output", back}));
  const SafetensorsFile published(model), written(back);
  CHECK(written.entries().size() == 8);
  for (const SafetensorsEntry& e : written.entries()) {
    const Array a = written.read(e.name), b = published.read(e.name);
    CHECK(a.to_vector<float>() == b.to_vector<float>());
  }
  const Finished json =
      attn_run({"convert", model, "--from", "hf-bert", "--prefix", "encoder.layer.0", "--type",
                "multi_head_cross", "--set", "num_heads=12", "--output", layer, "--json"});
  check_done(json);
  CHECK(parsed(json.out).at("type") == Json("multi_head_cross"));
  CHECK(parsed(json.out).at("config").at("dim") == Json(384));
  CHECK(parsed(json.out).at("weights").size() == 6);
  check_refused(attn_run({"convert", model, "--num-heads", "12", "--output", layer}),
                {"3 attention modules", "encoder.layer.0.attention (hf-bert)", "prefix"});
  check_refused(attn_run({"convert", model, "--prefix", "encoder.layer.0", "--output", back}),
                {"num_heads"});
  check_refused(attn_run({"convert", layer, "--to", "tims", "--output", back}), {"'tims'", "timm"});
  check_refused(attn_run({"convert", model, "--to", "timm", "--output", back}), {"attn-layer-1"});
  check_refused(attn_run({"convert", model, "--map", "m.json", "--output", back}), {"--config"});
  check_refused(attn_run({"convert", model, "--config", "m.json", "--output", back}), {"--map"});
  check_refused(attn_run({"convert", model, "--to", "timm", "--from", "timm", "--output", back}),
                {"--from"});
}

}  // namespace attn::test
