// SPDX-License-Identifier: Apache-2.0
//
// The oracle against the golden cases, of all types, whether their plugins exist or not: what the property
// tests compare with is itself compared with numbers of another implementation.
#include <attn/config.hpp>
#include <attn/safetensors.hpp>
#include <catch2/catch.hpp>

#include <filesystem>
#include <set>

#include "host/check/generator/arrays.hpp"
#include "tests/oracle/parts.hpp"
#include "tests/oracle/types/types.hpp"

using namespace attn;
using namespace attn::check;

namespace {

// Inputs and results are stored in float32: half an ulp of each result, and the errors of the reference's own
// tables, which are of the same size.
constexpr double kStored = 1e-6;

struct Golden {
  explicit Golden(const std::string& path) : file(path) {
    problem.type = file.metadata().at("type");
    problem.config = json("config");
    problem.arguments = json("call");
    if (const Json* training = problem.arguments.find("training"))
      problem.training = training->as_bool();
    problem.inputs = tensors("input/");
    problem.weights = tensors("weight/");
  }

  [[nodiscard]] Json json(const char* key) const {
    return parse_config(file.metadata().at(key), key);
  }
  [[nodiscard]] std::map<std::string, Tensor> tensors(const std::string& prefix) const {
    std::map<std::string, Tensor> out;
    for (const SafetensorsEntry& e : file.entries())
      if (e.name.starts_with(prefix))
        out[e.name.substr(prefix.size())] = to_tensor(file.read(e.name).view());
    return out;
  }

  SafetensorsFile file;
  oracle::Problem problem{};
};

std::vector<std::string> golden_files() {
  std::vector<std::string> paths;
  for (const auto& e :
       std::filesystem::recursive_directory_iterator(ATTN_SOURCE_DIR "/tests/goldens"))
    if (e.path().extension() == ".safetensors" &&
        SafetensorsFile(e.path().string()).metadata().contains("type"))
      paths.push_back(e.path().string());
  std::sort(paths.begin(), paths.end());
  return paths;
}

void compare(const std::map<std::string, Tensor>& expected,
             const std::map<std::string, Tensor>& found) {
  for (const auto& [name, value] : expected) {
    INFO(name);
    REQUIRE(found.contains(name));
    CHECK(largest_difference(found.at(name), value) <= kStored * magnitude(value));
  }
}

}  // namespace

TEST_CASE("oracle: every type meets its golden cases") {
  std::set<std::string> seen;
  for (const std::string& path : golden_files()) {
    const Golden golden(path);
    if (golden.problem.type == "activation") continue;
    INFO(path);
    seen.insert(golden.problem.type);
    const oracle::Answer answer = oracle::solve(golden.problem);
    compare(golden.tensors("output/"), answer.outputs);
    compare(golden.tensors("weight_after/"), answer.statistics);
  }
  CHECK(seen.size() >= 20);
}

TEST_CASE("oracle: every activation meets its golden case") {
  size_t seen = 0;
  for (const std::string& path : golden_files()) {
    Golden golden(path);
    if (golden.problem.type != "activation") continue;
    INFO(path);
    ++seen;
    std::map<std::string, Tensor> weights;
    for (auto& [name, value] : golden.problem.weights) weights["site/" + name] = value;
    golden.problem.weights = std::move(weights);
    oracle::Run run(golden.problem);
    const Json* args = golden.problem.config.find("args");
    const Tensor y =
        oracle::activation(run, "site", golden.problem.config.at("activation").as_string(),
                           args ? *args : Json::object(), run.need("input"));
    const Tensor expected = golden.tensors("output/").at("output");
    // Element by element: the largest value of an exponential says nothing of the others.
    for (size_t i = 0; i < y.v.size(); ++i)
      REQUIRE(std::fabs(y.v[i] - expected.v[i]) <= kStored * std::fabs(expected.v[i]) + kStored);
  }
  CHECK(seen > 40);
}

TEST_CASE("oracle: performer's projection is the one that its seed draws") {
  size_t seen = 0;
  for (const std::string& path : golden_files()) {
    const Golden golden(path);
    if (golden.problem.type != "performer") continue;
    INFO(path);
    ++seen;
    const Tensor& stored = golden.problem.weights.at("projection_matrix");
    const oracle::Run run(golden.problem);
    const Tensor drawn = oracle::performer_projection(
        *golden.problem.config.at("seed").to_uint64(), stored.dim(0),
        run.integer("nb_features", 256), stored.dim(2), run.number("ortho_scaling", 0),
        run.text("feature_map", "positive") != "positive");
    CHECK(largest_difference(drawn, stored) <= kStored * magnitude(stored));
  }
  CHECK(seen > 10);
}
