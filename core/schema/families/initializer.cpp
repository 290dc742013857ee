// SPDX-License-Identifier: Apache-2.0
#include "core/schema/families/initializer.hpp"

#include "core/error/error.hpp"

namespace attn::schema {
namespace {

using K = InitializerKind;

const Option& seed_option() {
  static const Option option{"seed", OptionKind::seed, Range::any, "null", true};
  return option;
}

}  // namespace

const Family& initializers() {
  static const Family family = [] {
    const auto random = [](const char* name, const char* class_name, K kind) {
      return FamilyMember{name, {class_name}, static_cast<int>(kind), {seed_option()}};
    };
    const Option gain{"gain", OptionKind::real, Range::any, "1.0"};
    const Option mean{"mean", OptionKind::real, Range::any, "0.0"};
    const Option stddev{"stddev", OptionKind::real, Range::not_negative, "0.05"};
    const Option input_axes{"input_axes", OptionKind::nothing, Range::any, "null", true};
    const Option output_axes{"output_axes", OptionKind::nothing, Range::any, "null", true};
    const Option value{"value", OptionKind::real, Range::any, "null", false, {}, true};
    const Option scale{"scale", OptionKind::real, Range::positive, "1.0"};
    const Option mode{"mode",     OptionKind::text,
                      Range::any, "\"fan_in\"",
                      false,      {"fan_in", "fan_out", "fan_avg"}};
    const Option distribution{
        "distribution", OptionKind::text,
        Range::any,     "\"truncated_normal\"",
        false,          {"uniform", "truncated_normal", "normal", "untruncated_normal"}};
    const Option minval{"minval", OptionKind::real, Range::any, "-0.05"};
    const Option maxval{"maxval", OptionKind::real, Range::any, "0.05"};
    Family made{"Initializer", "initializer", false, {}};
    made.members = {
        random("glorot_uniform", "GlorotUniform", K::kGlorotUniform),
        random("glorot_normal", "GlorotNormal", K::kGlorotNormal),
        random("he_uniform", "HeUniform", K::kHeUniform),
        random("he_normal", "HeNormal", K::kHeNormal),
        random("lecun_uniform", "LecunUniform", K::kLecunUniform),
        random("lecun_normal", "LecunNormal", K::kLecunNormal),
        {"variance_scaling",
         {"VarianceScaling"},
         static_cast<int>(K::kVarianceScaling),
         {scale, mode, distribution, seed_option()}},
        {"zeros", {"Zeros", "zero"}, static_cast<int>(K::kZeros), {}},
        {"ones", {"Ones", "one"}, static_cast<int>(K::kOnes), {}},
        {"constant", {"Constant"}, static_cast<int>(K::kConstant), {value}},
        {"random_normal",
         {"RandomNormal", "normal"},
         static_cast<int>(K::kRandomNormal),
         {mean, stddev, seed_option()}},
        {"random_uniform",
         {"RandomUniform", "uniform"},
         static_cast<int>(K::kRandomUniform),
         {minval, maxval, seed_option()}},
        {"truncated_normal",
         {"TruncatedNormal"},
         static_cast<int>(K::kTruncatedNormal),
         {mean, stddev, seed_option()}},
        {"orthogonal", {"Orthogonal"}, static_cast<int>(K::kOrthogonal), {gain, seed_option()}},
        {"identity", {"Identity"}, static_cast<int>(K::kIdentity), {gain}},
    };
    // Keras writes these two into the configs of the whole scaling family, always null.
    for (FamilyMember& member : made.members) {
      const auto kind = static_cast<K>(member.kind);
      const bool scaling = kind >= K::kVarianceScaling && kind <= K::kLecunNormal;
      if (scaling) member.options.insert(member.options.end(), {input_axes, output_axes});
    }
    return made;
  }();
  return family;
}

NamedSpec read_named(const Family& family, const char* unknown, const Json& given) {
  NamedSpec spec;
  if (given.is_string()) {
    spec.name = given.as_string();
  } else {
    for (const Json::Member& member : given.as_object()) {
      const std::string& key = member.first;
      if (key == "class_name") {
        if (member.second.is_string()) spec.name = member.second.as_string();
      } else if (key == "config") {
        spec.config = member.second;
      } else if (key != "module" && key != "registered_name") {
        ErrorDetails details;
        details.parameter = key;
        details.expected = "the keys class_name and config";
        details.hint = did_you_mean(key, {"class_name", "config"});
        throw InvalidArgument(std::string(family.noun) + " object got unsupported key '" + key +
                                  "', expected class_name and config",
                              std::move(details));
      }
    }
    const Json* class_name = given.find("class_name");
    if (class_name == nullptr || !class_name->is_string()) {
      ErrorDetails details;
      if (class_name != nullptr) {
        details.parameter = "class_name";
        details.value = class_name->brief();
      }
      details.expected = "the key class_name with a name";
      throw InvalidArgument(std::string(family.noun) + " object must have a class_name",
                            std::move(details));
    }
  }
  spec.member = family.find(spec.name);
  if (spec.member == nullptr) {
    ErrorDetails details;
    if (given.is_object()) details.parameter = "class_name";
    details.value = json_quoted(spec.name);
    details.expected = "one of " + name_list(sorted(family.names()));
    details.hint = did_you_mean(spec.name, family.names());
    throw InvalidArgument(std::string(unknown) + " '" + spec.name + "'", std::move(details));
  }
  if (spec.config.is_null()) spec.config = Json::object();
  if (!spec.config.is_object()) {
    ErrorDetails details;
    details.parameter = "config";
    details.value = spec.config.brief();
    details.expected = "an object";
    throw InvalidArgument(
        std::string("The config of ") + family.option_of + " '" + spec.name + "' must be an object",
        std::move(details));
  }
  return spec;
}

Json serialize_named(const Family& family, const NamedSpec& spec, const char* module) {
  const Options options(family, *spec.member, spec.name, spec.config);
  Json config = Json::object();
  for (const Option& option : spec.member->options) {
    if (option.kind != OptionKind::nothing) config.set(option.name, options.value(option.name));
  }
  return {{"module", module},
          {"class_name", spec.member->aliases.front()},
          {"config", config},
          {"registered_name", nullptr}};
}

namespace {

NamedSpec read(const Json& given) {
  return read_named(initializers(), "Unknown initializer", given);
}

std::optional<std::uint64_t> seed_of(const Options& options) {
  const Json seed = options.value("seed");
  if (seed.is_null()) return std::nullopt;
  if (const auto value = seed.to_uint64()) return *value;
  return static_cast<std::uint64_t>(seed.to_int64().value_or(0));
}

}  // namespace

InitializerSpec resolve_initializer(const Json& given) {
  InitializerSpec result;
  if (given.is_null()) {
    result.kind = K::kZeros;
    return result;
  }
  const NamedSpec spec = read(given);
  const Options options(initializers(), *spec.member, spec.name, spec.config);
  result.kind = static_cast<K>(spec.member->kind);
  if (options.has("value")) result.value = options.real("value");
  if (options.has("mean")) result.mean = options.real("mean");
  if (options.has("stddev")) result.stddev = options.real("stddev");
  if (options.has("minval")) {
    result.minval = options.real("minval");
    result.maxval = options.real("maxval");
    if (result.maxval < result.minval) options.fail("maxval", "must not be below minval");
  }
  if (options.has("gain")) result.gain = options.real("gain");
  if (options.has("mode")) {
    result.scale = options.real("scale");
    const std::string mode = options.value("mode").as_string();
    result.mode = mode == "fan_in"    ? FanMode::kFanIn
                  : mode == "fan_out" ? FanMode::kFanOut
                                      : FanMode::kFanAvg;
    const std::string distribution = options.value("distribution").as_string();
    result.distribution = distribution == "uniform" ? ScalingDistribution::kUniform
                          : distribution == "untruncated_normal"
                              ? ScalingDistribution::kUntruncatedNormal
                              : ScalingDistribution::kTruncatedNormal;
  }
  if (options.has("seed")) result.seed = seed_of(options);
  return result;
}

Json serialize_initializer(const Json& given) {
  if (given.is_null()) return given;
  return serialize_named(initializers(), read(given), "keras.initializers");
}

InitializerSpec constant(double value) {
  InitializerSpec result;
  result.kind = K::kConstant;
  result.value = value;
  return result;
}

}  // namespace attn::schema
