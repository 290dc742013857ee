// SPDX-License-Identifier: Apache-2.0
//
// Golden cases as attn verify reads them: one thing of their JSON replaced or gone, and their bytes changed.
#include <attn/config.hpp>
#include <attn/safetensors.hpp>

#include "host/cli/score_case.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace attn::fuzz {

namespace {

const std::string kGoldens = ATTN_SOURCE_DIR "/tests/goldens/";

// What replaces a value of a description.
std::vector<Json> values() {
  return {
      Json(0),     Json(-1),       Json(1),          Json(2147483648), Json(9223372036854775807),
      Json(1e300), Json(0.5),      Json("17"),       Json(""),         Json(nullptr),
      Json(true),  Json::list({}), Json::list({-1}), Json::object()};
}

// Every value of `j`, each replaced by one of values() in turn and each taken out of its object or list.
void damage(const Json& j, std::vector<Json>& out, size_t& turn) {
  const std::vector<Json> all = values();
  const auto with = [&](const auto& put, const Json& child) {
    std::vector<Json> inner;
    damage(child, inner, turn);
    for (int i = 0; i < 3; ++i) inner.push_back(all[turn++ % all.size()]);
    for (const Json& other : inner) out.push_back(put(other));
  };
  if (j.is_object()) {
    for (const auto& [key, value] : j.as_object()) {
      if (key == "words") continue;
      with(
          [&, key = key](const Json& other) {
            Json copy = j;
            copy.set(key, other);
            return copy;
          },
          value);
      Json copy = j;
      copy.erase(key);
      out.push_back(copy);
    }
  } else if (j.is_list()) {
    for (size_t i = 0; i < j.size(); ++i)
      with(
          [&](const Json& other) {
            Json copy = Json::list({});
            for (size_t k = 0; k < j.size(); ++k) copy.push_back(k == i ? other : j.at(k));
            return copy;
          },
          j.at(i));
  }
}
std::vector<Json> damaged(const Json& j) {
  std::vector<Json> out;
  size_t turn = 0;
  damage(j, out, turn);
  return out;
}

// A case that fails is refused here; what other libraries throw is none of its messages.
void judge(const cli::VerifyReport& report) {
  if (report.cases() == 0) throw Finding("neither passed nor failed");
  for (const cli::CaseFailure& f : report.failures)
    for (const char* foreign : {"std::", "vector::", "basic_string", "_M_", "length_error"})
      if (f.text.find(foreign) != std::string::npos)
        throw Finding("an exception of another library: " + f.text);
  if (report.failed == 0) return;
  std::string text;
  for (const cli::CaseFailure& f : report.failures) text += f.text;
  throw InvalidArgument(text);
}

// What is sound passes; everything damaged is read without a finding, and a quarter of it at least is refused.
template <class Read>
void read_all(const std::vector<Json>& sound, Read&& read) {
  bool refused = false;
  std::vector<Json> files;
  for (const Json& file : sound) {
    INFO(file.dump());
    REQUIRE(fault_of([&] { read(file); }, refused) == "");
    REQUIRE_FALSE(refused);
    for (Json& changed : damaged(file)) files.push_back(std::move(changed));
  }
  size_t refusals = 0;
  const MemoryLimit limit;
  for (const Json& file : files) {
    INFO(file.dump());
    alarm(60);
    const std::string fault = fault_of([&] { read(file); }, refused);
    alarm(0);
    REQUIRE(fault == "");
    refusals += refused ? 1 : 0;
  }
  CHECK(refusals > files.size() / 4);
}

// A case of a model whose description is text.
void read_model(const std::string& base, const std::string& text) {
  std::ofstream(base + ".json", std::ios::trunc) << text;
  if (!cli::is_model_case(base + ".safetensors")) throw InvalidArgument("another format");
  cli::VerifyReport report;
  cli::verify_model(base + ".safetensors", {}, report);
  judge(report);
}

// read(path) for a safetensors file with its metadata damaged.
template <class Read>
void read_metadata(const std::string& path, Read&& read) {
  const ScratchFile scratch(".safetensors");
  const SafetensorsFile file(path);
  std::vector<Array> arrays;
  std::vector<NamedView> views;
  arrays.reserve(file.entries().size());
  for (const SafetensorsEntry& e : file.entries()) {
    arrays.push_back(file.read(e.name));
    views.push_back({e.name, arrays.back().view()});
  }
  // As one object, texts that are no JSON as strings.
  Json all = Json::object();
  for (const auto& [key, text] : file.metadata()) {
    if (key == "format" || key == "note" || key == "reference") continue;
    try {
      all.set(key, parse_config(text, key));
    } catch (const InvalidArgument&) {
      all.set(key, text);
    }
  }
  read_all({all}, [&](const Json& changed) {
    std::map<std::string, std::string> metadata{{"format", file.metadata().at("format")}};
    for (const auto& [key, value] : changed.as_object())
      metadata[key] = value.is_string() ? value.as_string() : value.dump();
    save_safetensors(scratch.path(), views, metadata);
    read(scratch.path());
  });
}

}  // namespace

TEST_CASE("fuzz: descriptions of models' cases") {
  const ScratchFile tensors(".safetensors");
  const std::string base = tensors.path().substr(0, tensors.path().rfind('.'));
  for (const std::string name : {"llama_0", "deepseek_v3_0", "gpt_oss_window_0"}) {
    const std::string text = contents(kGoldens + "decoders/" + name + ".json");
    tensors.write(contents(kGoldens + "decoders/" + name + ".safetensors"));
    const auto read = [&](const std::string& changed) { read_model(base, changed); };
    fuzz({text}, read, {}, 32);
    read_all({parse_config(text, "case")}, [&](const Json& changed) { read(changed.dump()); });
  }
  unlink((base + ".json").c_str());
}

TEST_CASE("fuzz: metadata of score programs' cases") {
  for (const std::string name : {"alibi", "tree", "softcap_window", "keep_zero"})
    read_metadata(kGoldens + "score/" + name + ".safetensors", [](const std::string& path) {
      cli::VerifyReport report;
      cli::verify_score(path, {.gradients = true}, report);
      judge(report);
    });
}

TEST_CASE("fuzz: metadata of layers' cases") {
  for (const std::string name :
       {"group_query/causal_decode", "multi_head/seed_example_small", "activation/gelu"})
    read_metadata(kGoldens + name + ".safetensors", [](const std::string& path) {
      cli::VerifyReport report;
      cli::verify_golden(cli::GoldenCase(path), {.gradients = true}, report);
      judge(report);
    });
}

TEST_CASE("fuzz: lists of refused programs") {
  const ScratchFile scratch(".json");
  const Json all = parse_config(contents(kGoldens + "score/refused.json"), "refused");
  read_all(all.as_list(), [&](const Json& entry) {
    scratch.write(Json::list({entry}).dump());
    cli::VerifyReport report;
    cli::verify_refused(scratch.path(), report);
    judge(report);
  });
}

}  // namespace attn::fuzz
