// SPDX-License-Identifier: Apache-2.0
#include "core/schema/validate.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>

#include "core/schema/describe.hpp"
#include "core/schema/json_text.hpp"
#include "core/schema/param_check.hpp"
#include "core/schema/testing_types.hpp"

namespace attn::schema {
namespace {

const attn_type& type(const char* id) { return *testing::find_type(id); }

InvalidArgument refusal(const char* id, const Json& parameters, const Json& name = nullptr) {
  try {
    static_cast<void>(validate(type(id), parameters, name));
  } catch (const InvalidArgument& error) {
    return error;
  }
  return InvalidArgument("accepted");
}

std::string text(const char* id, const Json& parameters) { return refusal(id, parameters).what(); }

Json big(const char* digits) { return Json::number(digits); }

}  // namespace

TEST_CASE("validate: effective values keep what was given, create() gets plain values") {
  const ValidatedConfig c = validate(type("non_local"), Json{{"output_norm_type", "layer"},
                                                             {"attention_channels", 8},
                                                             {"dropout_rate", 0},
                                                             {"kernel_size", 3}});
  CHECK(c.effective.as_object()[0].first == "attention_channels");
  CHECK(c.effective.as_object()[1] == Json::Member("normalization", Json("layer")));
  CHECK(c.effective.at("dropout_rate").python_repr() == "0");
  CHECK(c.effective.at("kernel_size").python_repr() == "3");
  CHECK_FALSE(c.effective.contains("output_norm_type"));
  CHECK(c.effective.size() == type("non_local").n_params);
  REQUIRE(c.values.size() == type("non_local").n_params);
  CHECK(c.values[0].u.i == 8);
  CHECK(std::string(c.values[1].u.s) == "layer");
  CHECK(c.values[3].kind == ATTN_VALUE_I64S);
  CHECK(c.values[3].u.is[0] == 3);
  CHECK(c.values[3].u.is[1] == 3);
  CHECK(c.values[15].kind == ATTN_VALUE_F64);
  CHECK(c.values[15].u.f == 0.0);
  CHECK(c.values[5].kind == ATTN_NULL);
  const ValidatedConfig moved = [] {
    ValidatedConfig made =
        validate(type("ring"), Json{{"dim", 64}, {"kernel_initializer", {{"class_name", "Ones"}}}});
    return made;
  }();
  CHECK(moved.values[5].kind == ATTN_VALUE_OBJECT);
  CHECK(std::string(moved.values[5].u.s) == R"({"class_name":"Ones"})");
  const Json full = serialized(type("ring"), moved.effective);
  CHECK(full.at("kernel_initializer").at("module").as_string() == "keras.initializers");
  CHECK(full.at("kernel_regularizer").is_null());
  CHECK_NOTHROW(validate(type("ring"), full));
  const ValidatedConfig seed =
      validate(type("performer"), Json{{"dim", 8}, {"seed", big("18446744073709551615")}});
  CHECK(static_cast<uint64_t>(seed.values[7].u.i) == std::numeric_limits<uint64_t>::max());
}

TEST_CASE("validate: integers of any size") {
  CHECK(text("performer", Json{{"dim", 8}, {"seed", big("18446744073709551616")}}) ==
        "Parameter 'seed' must be below 2^64");
  CHECK(text("performer", Json{{"dim", 8}, {"seed", big("-99999999999999999999999")}}) ==
        "Parameter 'seed' must not be negative");
  CHECK(text("performer", Json{{"dim", 8}, {"seed", 1.0}}) ==
        "Parameter 'seed' must be an integer or null");
  CHECK(text("ring", Json{{"dim", big("18446744073709551616")}}) ==
        "Parameter 'dim' must be below 2^63");
  CHECK(text("ring", Json{{"dim", big("-18446744073709551616")}}) ==
        "Parameter 'dim' must be positive");
  CHECK(text("non_local",
             Json{{"attention_channels", 8}, {"output_channels", big("-18446744073709551616")}}) ==
        "Parameter 'output_channels' must be at least -2^63");
  CHECK(text("ring", Json{{"dim", 9007199254740993}}) ==
        "dim (9007199254740993) must be divisible by num_heads (8)");
  CHECK(text("fnet", Json{{"epsilon", big("100000000000000000000000")}}) == "accepted");
  CHECK(text("fnet", Json{{"epsilon", std::nan("")}}) == "Parameter 'epsilon' must be a number");
  CHECK(text("fnet", Json{{"epsilon", std::numeric_limits<double>::infinity()}}) ==
        "Parameter 'epsilon' must be a number");
  CHECK(text("ring", Json{{"dim", 64}, {"dropout_rate", std::nan("")}}) ==
        "Parameter 'dropout_rate' must be a number");
}

TEST_CASE("validate: details beside the text") {
  InvalidArgument error = refusal("multi_head", {{"dim", 64}, {"num_head", 8}});
  CHECK(error.details().type == "multi_head");
  CHECK(error.details().parameter == "num_head");
  CHECK(error.details().hint == "did you mean 'num_heads'?");
  error = refusal("window",
                  {{"dim", 96}, {"window_size", 7}, {"num_heads", 4}, {"dropout_rate", 1.01}});
  CHECK(error.details().parameter == "dropout_rate");
  CHECK(error.details().value == "1.01");
  CHECK(error.details().expected == "between 0.0 and 1.0");
  error = refusal("multi_head", {{"dim", 64}, {"probability_type", "softmx"}});
  CHECK(error.details().parameter == "probability_type");
  CHECK(error.details().hint == "did you mean 'softmax'?");
  error = refusal(
      "multi_head",
      {{"dim", 64}, {"probability_type", "threshmax"}, {"probability_config", {{"slope", -1}}}});
  CHECK(error.details().parameter == "probability_config.slope");
  CHECK(error.details().value == "-1");
  error = refusal(
      "ring", {{"dim", 64},
               {"kernel_initializer", {{"class_name", "HeNormal"}, {"config", {{"sead", 1}}}}}});
  CHECK(error.details().parameter == "kernel_initializer.config.sead");
  CHECK(error.details().hint == "did you mean 'seed'?");
  error = refusal("ring", {{"dim", 64}, {"kernel_initializer", {{"class_name", "HeNormale"}}}});
  CHECK(error.details().parameter == "kernel_initializer.class_name");
  error = refusal("cbam", {{"channels", 20}});
  CHECK(error.details().parameter == "channels");
  CHECK(error.details().value == "20");
  error = refusal("fnet", {{"implementation", "ftt"}});
  CHECK(error.details().hint == "did you mean 'fft'?");
  CHECK(std::string(refusal("cbam", {{"channels", 32}}, "a/b").details().type) == "cbam");
  CHECK(unknown_type("multihead", testing::type_names()).details().hint ==
        "did you mean 'multi_head'?");
  CHECK(std::string(refusal("cbam", Json::list({1})).what()) == "Parameters must be an object");
}

TEST_CASE("validate: order of the rules") {
  CHECK(text("multi_head", {{"num_heads", -1}, {"foo", 1}}).find("unsupported") !=
        std::string::npos);
  CHECK(text("window", {{"dropout_rate", 2}, {"attn_dropout_rate", 2}})
            .find("are the same setting") != std::string::npos);
  CHECK(text("multi_head", {{"num_heads", -1}}).find("are missing") != std::string::npos);
  CHECK(text("multi_head", {{"dropout_rate", 2}, {"num_heads", -1}, {"dim", 64}}) ==
        "Parameter 'num_heads' must be positive");
  // Options at their own turn: after the type, before what follows in the schema, unknown keys first.
  CHECK(text("multi_head", {{"dim", 64},
                            {"qk_norm_type", 3},
                            {"probability_type", "threshmax"},
                            {"probability_config", {{"slope", -1}, {"b", 1}, {"a", 1}}}}) ==
        "Probability type 'threshmax' got unsupported argument(s): ['a', 'b']");
  CHECK(text("multi_head_cross", {{"dim", 60},
                                  {"use_adaptive_softmax", true},
                                  {"probability_type", "Sparsemax"},
                                  {"probability_config", {{"axis", 1}}}}) ==
        "Probability type 'adaptive' got unsupported argument(s): ['axis']");
  CHECK(text("multi_head_cross",
             {{"dim", 60}, {"use_adaptive_softmax", true}, {"probability_type", "sparsemax"}}) ==
        "dim (60) must be divisible by num_heads (8)");
  CHECK(std::string(refusal("cbam", {{"channels", 20}}, 3).what()) ==
        "channels (20) must be divisible by ratio (8)");
}

TEST_CASE("validate: options") {
  CHECK(text("multi_head", {{"dim", 64}, {"qk_norm_kwargs", {{"anything", 1}}}}) == "accepted");
  CHECK(text("multi_head",
             {{"dim", 64}, {"qk_norm_type", "rms_norm"}, {"qk_norm_kwargs", {{"anything", 1}}}}) ==
        "Normalization type 'rms_norm' got unsupported argument(s): ['anything']");
  CHECK(text("multi_head", {{"dim", 64}, {"qk_norm_type", "batch"}}) ==
        "Unknown normalization type 'batch'");
  CHECK(text("non_local", {{"attention_channels", 8}, {"output_norm_kwargs", {{"momentum", 2}}}}) ==
        "Argument 'momentum' of normalization type 'batch' must be between 0.0 and 1.0, got 2");
  CHECK(text("channel", {{"channels", 8},
                         {"gate_activation_type", nullptr},
                         {"gate_activation_args", {{"k", 1}}}}) ==
        "Activation 'linear' got unsupported argument(s): ['k']");
  CHECK(text("channel", {{"channels", 8}, {"gate_activation_type", 1}}) ==
        "Parameter 'gate_activation_type' must be a string or null");
  CHECK(text("multi_head", {{"dim", 64}, {"probability_config", {{"axis", 0}}}}).find("'axis'") !=
        std::string::npos);
  const Json capsule = {{"num_heads", 4},
                        {"probability_type", "threshmax"},
                        {"probability_config", {{"axis", 0}, {"slope", 2}}}};
  const ValidatedConfig forced = validate(type("capsule_routing"), capsule);
  CHECK(forced.effective.at("probability_config").contains("axis"));
  CHECK(std::string(forced.values[16].u.s) == R"({"slope":2})");
  CHECK(text("capsule_routing", {{"num_heads", 4}, {"probability_config", {{"axis", "x"}}}})
            .find("'axis'") != std::string::npos);
}

TEST_CASE("validate: an extension is taken, and listed where it is given") {
  const attn_type& fnet = type("fnet");
  attn_param extra{};
  extra.struct_size = sizeof extra;
  extra.kind = ATTN_PARAM_REAL;
  extra.flags = ATTN_PARAM_NULLABLE | ATTN_PARAM_EXTENSION;
  extra.name = "extra";
  extra.doc = "";
  extra.def = attn_value{};
  std::vector<const attn_param*> params(fnet.params, fnet.params + fnet.n_params);
  params.push_back(&extra);
  attn_type t = fnet;
  t.params = params.data();
  t.n_params = static_cast<uint32_t>(params.size());
  const auto text = [](const attn_type& of, const Json& parameters) -> std::string {
    try {
      static_cast<void>(validate(of, parameters));
    } catch (const InvalidArgument& error) {
      return error.what() + ("|" + error.details().hint);
    }
    return "accepted";
  };
  const Json none_given = Json::object(), given{{"extra", 2}};
  CHECK(validate(t, none_given).effective == validate(fnet, none_given).effective);
  CHECK(validate(t, none_given).values.size() == t.n_params);
  CHECK(validate(t, given).effective.at("extra") == 2);
  CHECK(validate(t, given).values[fnet.n_params].u.f == 2.0);
  CHECK(info_entry(t) == info_entry(fnet));
  CHECK(creating_line(t, validate(t, none_given).effective, nullptr) ==
        creating_line(fnet, validate(fnet, none_given).effective, nullptr));
  CHECK(creating_line(t, validate(t, given).effective, nullptr).find("'extra': 2") !=
        std::string::npos);
  CHECK(text(t, Json{{"zzz", 1}}) == text(fnet, Json{{"zzz", 1}}));
  CHECK(text(t, Json{{"extro", 1}}).find("did you mean 'extra'") != std::string::npos);
  CHECK(text(t, Json{{"zzz", 1}, {"extra", 2}}).find("'extra'") != std::string::npos);
  CHECK(text(t, Json{{"extra", "x"}}).find("'extra'") != std::string::npos);
}

TEST_CASE("validate: kinds and bounds that the twenty types do not use") {
  const auto check = [](attn_param p, const Json& value) -> std::string {
    p.struct_size = sizeof(p);
    p.name = "p";
    try {
      check_param(p, "p", value);
    } catch (const InvalidArgument& error) {
      return std::string(error.what()).substr(14);
    }
    return "";
  };
  const auto bound = [](int64_t x) {
    attn_value v{ATTN_VALUE_I64, 0, {}};
    v.u.i = x;
    return v;
  };
  attn_param p{};
  p.kind = ATTN_PARAM_TEXT;
  CHECK(check(p, "x").empty());
  CHECK(check(p, 1) == "must be a string");
  CHECK(check(p, std::string("a\0b", 3)) == "must not hold a NUL character");
  p.kind = ATTN_PARAM_INTS;
  p.flags = ATTN_PARAM_NULLABLE | ATTN_PARAM_HAS_MIN | ATTN_PARAM_HAS_MAX;
  p.min = bound(2);
  p.max = bound(9);
  CHECK(check(p, nullptr).empty());
  CHECK(check(p, Json::list({2, 9})).empty());
  CHECK(check(p, Json::list({2, 10})) == "must be between 2 and 9");
  CHECK(check(p, Json::list({2, 3.0})) == "must be a list of integers or null");
  p.flags = ATTN_PARAM_HAS_MIN;
  CHECK(check(p, Json::list({1})) == "must be at least 2");
  p.flags = ATTN_PARAM_HAS_MIN | ATTN_PARAM_EXCLUSIVE_MIN;
  CHECK(check(p, Json::list({2})) == "must be greater than 2");
  p.flags = ATTN_PARAM_HAS_MAX;
  CHECK(check(p, Json::list({10})) == "must be at most 9");
  CHECK(check(p, Json::list({Json::number("99999999999999999999")})) == "must be at most 9");
  p.flags = ATTN_PARAM_HAS_MAX | ATTN_PARAM_EXCLUSIVE_MAX;
  CHECK(check(p, Json::list({9})) == "must be less than 9");
  p.kind = ATTN_PARAM_INT;
  p.flags = ATTN_PARAM_HAS_MIN;
  p.min = bound(1);
  CHECK(check(p, 0) == "must be positive");
  p.kind = ATTN_PARAM_REALS;
  CHECK(check(p, Json::list({0.5})) == "must be at least 1.0");
  CHECK(check(p, Json::list({"a"})) == "must be a list of numbers");
  CHECK(check(p, Json::list({1, 2.5})).empty());
  p = {};
  p.kind = ATTN_PARAM_INT_OR_PAIR;
  CHECK(check(p, Json::list({1, 2})).empty());
  CHECK(check(p, Json::list({1})) == "must be an integer or a pair of integers");
  CHECK(check(p, true) == "must be an integer or a pair of integers");
  p.kind = 99;
  CHECK_FALSE(check(p, 1).empty());
}

TEST_CASE("validate: every default given explicitly is accepted") {
  for (const std::string& id : testing::type_names()) {
    INFO(id);
    const attn_type& t = *testing::find_type(id);
    Json parameters = info_entry(t).at("optional_params");
    for (uint32_t i = 0; i < t.n_params; ++i) {
      if ((t.params[i]->flags & ATTN_PARAM_REQUIRED) != 0) parameters.set(t.params[i]->name, 64);
    }
    const ValidatedConfig c = validate(t, parameters);
    CHECK(validate(t, c.effective).effective == c.effective);
    CHECK_NOTHROW(validate(t, serialized(t, c.effective)));
  }
}

TEST_CASE("validate: the configuration of every golden tensor file") {
  int files = 0;
  const std::filesystem::path root = std::filesystem::path(ATTN_SOURCE_DIR) / "tests" / "goldens";
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
    if (entry.path().extension() != ".safetensors") continue;
    std::ifstream file(entry.path(), std::ios::binary);
    unsigned char size[8] = {};
    file.read(reinterpret_cast<char*>(size), 8);
    std::string header(size[0] + 256u * size[1] + 65536u * size[2], ' ');
    file.read(header.data(), static_cast<std::streamsize>(header.size()));
    const Json all = parse_json(header);
    const Json* meta = all.find("__metadata__");
    const Json* type = meta == nullptr ? nullptr : meta->find("type");
    if (type == nullptr) continue;  // of another form than layers have
    const attn_type* t = testing::find_type(type->as_string());
    if (t == nullptr) continue;  // a single activation
    INFO(entry.path().filename().string());
    CHECK_NOTHROW(validate(*t, parse_json(meta->at("config").as_string())));
    ++files;
  }
  CHECK(files > 150);
}

}  // namespace attn::schema
