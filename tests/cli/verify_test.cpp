// SPDX-License-Identifier: Apache-2.0
//
// attn verify finds what is wrong: one number of a golden, one letter of a text.
#include <cmath>
#include <cstring>

#include "tests/cli/program.hpp"
#include "tests/tools/build.hpp"

namespace attn::test {

namespace {

const std::string kCase = kGoldens + "/multi_head/seed_example_small.safetensors";

// The file with element `at` of a tensor replaced.
std::string with_number(const std::string& path, const std::string& tensor, size_t at,
                        float value) {
  std::string bytes = read_file(path);
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), 8);
  const SafetensorsFile file(path);
  std::memcpy(bytes.data() + 8 + header + file.entry(tensor).begin + 4 * at, &value, 4);
  return bytes;
}

// A golden case of thresh_max with slope 5 over an axis: y = g / (sum g + 1e-12), g = p (tanh(5 (p - 1/n)) + 1) / 2,
// p = softmax(x).
void write_threshmax(const std::string& path, const Shape& shape, int axis, int64_t given) {
  const Array x = Folder::numbers(shape);
  Array y(ATTN_F32, shape), slope(ATTN_F32, {1});
  slope.data<float>()[0] = 5;
  const int64_t n = shape[static_cast<size_t>(axis)];
  const int64_t inner = shape.dense_strides()[static_cast<size_t>(axis)];
  for (int64_t line = 0; line < x.size() / n; ++line) {
    const int64_t first = line / inner * inner * n + line % inner;
    std::vector<double> g;
    double sum = 0, total = 1e-12;
    for (int64_t i = 0; i < n; ++i)
      sum += g.emplace_back(std::exp(static_cast<double>(x.data<float>()[first + i * inner])));
    for (double& p : g) {
      p *= (std::tanh(5 * (p / sum - 1 / static_cast<double>(n))) + 1) / 2 / sum;
      total += p;
    }
    for (int64_t i = 0; i < n; ++i)
      y.data<float>()[first + i * inner] = static_cast<float>(g[static_cast<size_t>(i)] / total);
  }
  const Json config{{"activation", "thresh_max"}, {"args", Json{{"axis", given}}}};
  save_safetensors(
      path,
      {{"input/input", x.view()}, {"output/output", y.view()}, {"weight/slope", slope.view()}},
      {{"format", "attn-golden-1"},
       {"type", "activation"},
       {"case", "axis"},
       {"config", config.dump()},
       {"call", "{}"},
       {"inputs", R"(["input"])"},
       {"outputs", R"(["output"])"}});
}

}  // namespace

TEST_CASE("cli: verify passes a golden") {
  const Finished f = attn_run({"verify", kCase, "--grad"});
  check_done(f);
  CHECK_THAT(f.out, Catch::Matchers::Contains("1 cases: 1 passed, 0 failed, 0 skipped"));
  check_done(attn_run({"verify", kCase, "--grad", "--dtype", "float64"}));
  const Json json = parsed(attn_run({"verify", kCase, "--json"}).out);
  CHECK(json.at("passed") == Json(1));
}

TEST_CASE("cli: verify sees one changed number") {
  const Folder folder;
  const SafetensorsFile golden(kCase);
  const Array y = golden.read("output/output");
  float largest = 0;
  for (int64_t i = 0; i < y.size(); ++i) largest = std::max(largest, std::fabs(y.data<float>()[i]));
  // Just above the tolerance of 1e-5 of the largest, at the last element.
  const size_t last = static_cast<size_t>(y.size()) - 1;
  const float wrong = y.data<float>()[last] + 5e-5F * largest;
  const std::string path =
      folder.write("changed.safetensors", with_number(kCase, "output/output", last, wrong));
  const Finished f = attn_run({"verify", path});
  INFO(f.out);
  CHECK(f.code == 1);
  std::string index = "[";
  for (int i = 0; i < y.shape().rank(); ++i)
    index += (i ? ", " : "") + std::to_string(y.shape()[static_cast<size_t>(i)] - 1);
  for (const std::string& part :
       {std::string("FAIL multi_head/"), "output/output" + index + "]", std::string("got "),
        std::string("expected "), std::string("tolerance 1e-05"),
        std::string("1 cases: 0 passed, 1 failed")})
    CHECK_THAT(f.out, Catch::Matchers::Contains(part));
  const Json json = parsed(attn_run({"verify", path, "--json"}).out);
  const Json& failure = json.at("failures").at(0);
  CHECK(failure.at("tensor") == Json("output/output"));
  CHECK(failure.at("index") == Json(index + "]"));
  CHECK(failure.at("expected").to_double() == Approx(static_cast<double>(wrong)));
  CHECK(failure.at("tolerance").to_double() == 1e-5);
  CHECK(failure.at("error").to_double() > 2e-5);

  // A gradient is looked at only when asked for.
  const std::string gradient = "grad_weight/cross_attention/proj/kernel";
  const std::string other =
      folder.write("gradient.safetensors", with_number(kCase, gradient, 3, 1e6F));
  check_done(attn_run({"verify", other}));
  const Finished g = attn_run({"verify", other, "--grad"});
  CHECK(g.code == 1);
  CHECK_THAT(g.out, Catch::Matchers::Contains(gradient + "[0, 3]") &&
                        Catch::Matchers::Contains("tolerance 0.0005"));
  const std::string nan =
      folder.write("nan.safetensors", with_number(kCase, "output/output", 0, std::nanf("")));
  CHECK(attn_run({"verify", nan}).code == 1);
}

TEST_CASE("cli: verify counts an activation's axis by the rank of its input") {
  const Folder folder;
  const std::string path = folder / "axis.safetensors";
  for (const Shape& shape : {Shape{8, 6}, Shape{3, 4, 5}, Shape{2, 3, 4, 5}, Shape{2, 3, 2, 3, 2}})
    for (int axis = 1; axis < shape.rank(); ++axis)
      for (const int64_t given : {axis, axis - shape.rank()}) {
        write_threshmax(path, shape, axis, given);
        INFO(shape.to_string() << ", axis " << given);
        check_done(attn_run({"verify", path, "--dtype", "float64"}));
      }
  // An axis that the tensor does not have is refused, and so is that of the batch.
  write_threshmax(path, {8, 6}, 1, 2);
  CHECK(attn_run({"verify", path}).code != 0);
  write_threshmax(path, {8, 6}, 1, -2);
  CHECK(attn_run({"verify", path}).code != 0);
}

TEST_CASE("cli: verify sees one changed letter") {
  const Folder folder;
  std::string text = read_file(kGoldens + "/factory.json");
  const auto verify = [&](const std::string& content) {
    return attn_run({"verify", folder.write("factory_cases.json", content)});
  };
  check_done(verify(text));
  const std::string message = "Parameter 'dim' must be positive";
  const size_t at = text.find(message);
  REQUIRE(at != std::string::npos);
  text[at + message.size() - 1] = 'f';
  const Finished f = verify(text);
  INFO(f.out);
  CHECK(f.code == 1);
  CHECK_THAT(f.out, Catch::Matchers::Contains("FAIL factory case") &&
                        Catch::Matchers::Contains("must be positive\n") &&
                        Catch::Matchers::Contains("must be positivf\n") &&
                        Catch::Matchers::Contains("character 31") &&
                        Catch::Matchers::Contains("1 failed"));
  std::string logs = read_file(kGoldens + "/factory_logs.json");
  const std::string line = "Creating 'group_query' layer";
  REQUIRE(logs.find(line) != std::string::npos);
  logs.replace(logs.find(line), 1, "c");
  const Finished l = attn_run({"verify", folder.write("factory_logs.json", logs)});
  CHECK(l.code == 1);
  CHECK_THAT(l.out, Catch::Matchers::Contains("FAIL factory log"));
  std::string info = read_file(kGoldens + "/factory_info.json");
  const std::string value = "\"max_seq_len\": 2048";
  REQUIRE(info.find(value) != std::string::npos);
  info.replace(info.find(value), value.size(), "\"max_seq_len\": 2049");
  const Finished i = attn_run({"verify", folder.write("factory_info.json", info)});
  CHECK(i.code == 1);
  CHECK_THAT(i.out, Catch::Matchers::Contains("2049"));
}

TEST_CASE("cli: verify skips types that are not loaded") {
  const Folder folder, empty;
  std::filesystem::copy_file(test::built("lib/attn/plugins/perceiver.so"), folder / "perceiver.so");
  const std::vector<std::string> base{"verify", kCase, "--plugin-path", folder / ""};
  const Finished f = attn_run(base);
  check_done(f);
  CHECK_THAT(f.out, Catch::Matchers::Contains("SKIP multi_head: 1 cases") &&
                        Catch::Matchers::Contains("0 passed, 0 failed, 1 skipped"));
  std::vector<std::string> all = base;
  all.emplace_back("--require-all");
  CHECK(attn_run(all).code == 1);
}

TEST_CASE("cli: verify refuses what it cannot read") {
  const Folder folder;
  check_refused(attn_run({"verify", folder / "none"}), {"none"});
  check_refused(attn_run({"verify", folder / ""}), {"no golden cases"});
  const std::string bytes = read_file(kCase);
  check_refused(attn_run({"verify", folder.write("short.safetensors", bytes.substr(0, 3000))}),
                {"short.safetensors"});
  const Array a = Folder::numbers({2});
  save_safetensors(folder / "other.safetensors", {{"a", a.view()}});
  check_refused(attn_run({"verify", folder / "other.safetensors"}),
                {"other.safetensors", "metadata 'format'", "golden case"});
  check_refused(attn_run({"verify", folder.write("factory_x.json", "[{]")}),
                {"factory_x.json:1:3"});
  check_refused(attn_run({"verify", folder.write("factory_y.json", "[{}]")}), {"factory_y.json"});
  // Nothing in a file is nothing compared.
  for (const char* name : {"factory_z.json", "refused.json"})
    check_refused(attn_run({"verify", folder.write(name, "[]")}), {name, "holds no cases"});
  check_refused(attn_run({"verify", folder.write("factory_o.json", "{}")}), {"holds no cases"});
  // A configuration is no case of a type called "dim".
  check_refused(attn_run({"verify", layer_file(folder)}), {"layer.json", "required_params"});
}

}  // namespace attn::test
