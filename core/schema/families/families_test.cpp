// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>
#include <cmath>

#include "core/error/error.hpp"
#include "core/schema/families/activation.hpp"
#include "core/schema/families/constraint.hpp"
#include "core/schema/families/initializer.hpp"
#include "core/schema/families/norm.hpp"
#include "core/schema/families/probability.hpp"
#include "core/schema/families/regularizer.hpp"

namespace attn::schema {
namespace {

using Catch::Matchers::Contains;

attn_shape shape(std::vector<int64_t> dims) {
  attn_shape s{};
  s.rank = static_cast<int32_t>(dims.size());
  s.present = 1;
  for (std::size_t i = 0; i < dims.size(); ++i) s.dim[i] = dims[i];
  return s;
}

// "0 gamma (8)" for each weight: slot, name, shape.
std::vector<std::string> weights(const Component& component) {
  std::vector<std::string> lines;
  for (const WeightDeclaration& w : component.weights) {
    std::string line = std::to_string(w.slot) + " " + w.name + " (";
    for (std::size_t i = 0; i < w.shape.size(); ++i)
      line += (i ? "," : "") + std::to_string(w.shape[i]);
    lines.push_back(line + ")" + (w.trainable ? "" : " frozen") +
                    (w.statistic ? " statistic" : ""));
  }
  return lines;
}

std::vector<int64_t> axes(const Component& component) {
  const attn_value& v = component.attributes.at(1);
  return {v.u.is, v.u.is + v.count};
}

using Lines = std::vector<std::string>;
using Axes = std::vector<int64_t>;

Component norm(const Json& name, const Json& options = nullptr,
               attn_shape input = shape({-1, 2, -1, 8}), const char* site = "x/q_norm") {
  return norm_component(resolve_norm(name, options), input, site);
}

Component activation(const Json& name, const Json& options = nullptr,
                     attn_shape input = shape({-1, -1, 6})) {
  return activation_component(resolve_activation(name, options), input, "gate");
}

}  // namespace

TEST_CASE("families: probability types") {
  CHECK(resolve_probability("SoftMax", nullptr).options.kind == ProbabilityKind::softmax);
  CHECK(resolve_probability("Thresh_Max", nullptr).options.kind == ProbabilityKind::threshmax);
  CHECK(resolve_probability("adaptive_softmax", nullptr).options.kind == ProbabilityKind::adaptive);
  CHECK_THROWS_WITH(resolve_probability("Routing", nullptr),
                    "Probability type 'Routing' is not supported by attention layers");
  CHECK_THROWS_WITH(resolve_probability("soft", nullptr), "Unknown probability type 'soft'");
  CHECK_THROWS_WITH(resolve_probability("SoftMax", Json{{"slope", 1}, {"b", 2}}),
                    "Probability type 'SoftMax' got unsupported argument(s): ['b', 'slope']");
  CHECK_THROWS_WITH(resolve_probability("adaptive", Json{{"axis", -1}}),
                    "Probability type 'adaptive' got unsupported argument(s): ['axis']");

  const Component soft =
      probability_component(resolve_probability("softmax", Json{{"axis", std::vector<int>{3, 1}}}));
  CHECK(axes(soft) == Axes{-3, -1});
  CHECK(soft.flags == ATTN_COMPONENT_OTHER_AXIS);
  CHECK(soft.attributes.size() == kProbabilityAttributes);
  CHECK(probability_component(resolve_probability("sparsemax", nullptr)).flags == 0);

  const std::pair<Json, const char*> bad[] = {
      {{{"axis", 0}}, "axis"},
      {{{"axis", -4}}, "axis"},
      {{{"axis", 4}}, "axis"},
      {{{"axis", true}}, "axis"},
      {{{"axis", 1.0}}, "axis"},
      {{{"axis", std::vector<int>{-1}}}, "axis"},
      {{{"slope", 0}}, "slope"},
      {{{"slope", "a"}}, "slope"},
      {{{"epsilon", -1e-9}}, "epsilon"},
      {{{"epsilon", nullptr}}, "epsilon"},
      {{{"trainable_slope", 1}}, "trainable_slope"},
      {{{"slope_initializer", "x"}}, "slope_initializer"},
      {{{"slope", std::nan("")}}, "slope"},
      {{{"slope_initializer", nullptr}}, "slope_initializer"},
      {{{"slope_regularizer", "l7"}}, "slope_regularizer"},
      {{{"slope_constraint", "clip"}}, "slope_constraint"}};
  for (const auto& [options, key] : bad) {
    INFO(options.brief());
    CHECK_THROWS_WITH(resolve_probability("threshmax", options),
                      Contains(std::string("'") + key + "'"));
  }
  for (const Json& list : {Json::list({}), Json::list({1, 1}), Json::list({-1, 3}),
                           Json::list({1.0}), Json::list({0})}) {
    CHECK_THROWS_AS(resolve_probability("softmax", Json{{"axis", list}}), InvalidArgument);
  }
  CHECK_THROWS_WITH(resolve_probability("threshmax", Json{{"slope", -2.5}}),
                    "Argument 'slope' of probability type 'threshmax' must be positive, got -2.5");
  CHECK(resolve_probability("threshmax", Json{{"axis", 0}}, true).axes == Axes{-1});
}

TEST_CASE("families: the slope of threshmax") {
  const auto declare = [](const Json& options) {
    Component component = probability_component(resolve_probability("threshmax", options));
    REQUIRE(component.weights.size() == 1);
    return component.weights[0];
  };
  const WeightDeclaration plain = declare(nullptr);
  CHECK(plain.name == "threshmax/slope");
  CHECK(plain.shape.empty());
  CHECK_FALSE(plain.trainable);
  CHECK(plain.regularizer.kind == RegularizerKind::kNone);
  CHECK(plain.initializer.value == 10.0);
  CHECK(plain.clip == std::make_pair(1.0, 50.0));
  const WeightDeclaration trained = declare({{"slope", 6}, {"trainable_slope", true}});
  CHECK(trained.trainable);
  CHECK(trained.initializer.value == 6.0);
  CHECK(trained.regularizer.l2 == -1e-4);
  CHECK(
      declare({{"slope", 6}, {"slope_initializer", {{"class_name", "Ones"}}}}).initializer.value ==
      6.0);
  CHECK(declare({{"slope_initializer", {{"class_name", "Constant"}, {"config", {{"value", 1}}}}}})
            .initializer.value == 1.0);
  CHECK(declare({{"trainable_slope", true}, {"slope_regularizer", nullptr}}).regularizer.kind ==
        RegularizerKind::kNone);
  CHECK_FALSE(declare({{"slope_constraint", nullptr}}).clip);
}

TEST_CASE("families: adaptive") {
  const Component c = probability_component(resolve_probability(
      "adaptive", Json{{"min_temp", 0.2}, {"polynomial_coeffs", Json::list({1, 2.5})}}));
  CHECK(c.attributes[2].u.f == 1e-7);
  CHECK(c.attributes[3].u.f == 0.2);
  CHECK(c.attributes[4].u.f == 1.0);
  CHECK(c.attributes[5].u.f == 0.5);
  REQUIRE(c.attributes[6].count == 2);
  CHECK(c.attributes[6].u.fs[1] == 2.5);
  CHECK(
      resolve_probability("adaptive", Json{{"polynomial_coeffs", Json::list({})}, {"eps", nullptr}})
          .coefficients.size() == 5);
  for (const Json& options :
       {Json{{"min_temp", 2.0}}, Json{{"max_temp", 0.05}}, Json{{"eps", 0}}, Json{{"eps", "x"}},
        Json{{"entropy_threshold", -1}}, Json{{"polynomial_coeffs", 3}},
        Json{{"polynomial_coeffs", Json::list({true})}}}) {
    INFO(options.brief());
    CHECK_THROWS_AS(resolve_probability("adaptive", options), InvalidArgument);
  }
}

TEST_CASE("families: adaptive in its paper's form") {
  const Component c =
      probability_component(resolve_probability("adaptive", Json{{"form", "paper"}}));
  CHECK(c.attributes[0].u.i == static_cast<int64_t>(ProbabilityKind::adaptive_paper));
  CHECK(c.attributes[5].u.f == 0.5);
  CHECK(std::vector<double>(c.attributes[6].u.fs, c.attributes[6].u.fs + c.attributes[6].count) ==
        std::vector<double>{-0.037, 0.481, -2.3, 4.917, -1.791});
  const Component keras =
      probability_component(resolve_probability("adaptive", Json{{"form", "keras"}}));
  CHECK(keras.attributes[0].u.i == static_cast<int64_t>(ProbabilityKind::adaptive));
  CHECK(keras.attributes[6].u.fs[0] == -1.791);
  const Component own = probability_component(
      resolve_probability("adaptive_softmax", Json{{"form", "paper"},
                                                   {"entropy_threshold", 1},
                                                   {"eps", nullptr},
                                                   {"polynomial_coeffs", Json::list({1, 2.5})}}));
  CHECK(own.attributes[5].u.f == 1);
  CHECK(own.attributes[6].count == 2);
  CHECK_THROWS_WITH(resolve_probability("adaptive", Json{{"form", "Paper"}}),
                    "Argument 'form' of probability type 'adaptive' must be one of "
                    "['keras', 'paper'], got \"Paper\"");
  for (const char* limit : {"min_temp", "max_temp", "eps"})
    CHECK_THROWS_WITH(resolve_probability("adaptive", Json{{limit, 0.5}, {"form", "paper"}}),
                      "Argument '" + std::string(limit) +
                          "' of probability type 'adaptive' must be left out where form is "
                          "'paper', which does not use it, got 0.5");
}

TEST_CASE("families: norms declare their weights") {
  CHECK(weights(norm("layer_norm")) == Lines{"0 gamma (8)", "1 beta (8)"});
  CHECK(weights(norm("layer_norm", Json{{"center", false}})) == Lines{"0 gamma (8)"});
  CHECK(weights(norm("layer", Json{{"scale", false}})) == Lines{"1 beta (8)"});
  CHECK(weights(norm("rms_norm", Json{{"axis", std::vector<int>{3, 1}}})) ==
        Lines{"0 scale (2,8)"});
  CHECK(weights(norm("zero_centered_rms_norm", Json{{"use_scale", false}})).empty());
  CHECK(weights(norm("band_rms")) == Lines{"0 band_param ()"});
  CHECK(weights(norm("adaptive_band_rms")) ==
        Lines{"0 band_dense/kernel (1,8)", "1 band_dense/bias (8)"});
  CHECK(weights(norm("adaptive_band_rms", Json{{"axis", std::vector<int>{1, -1}}})) ==
        Lines{"0 band_dense/kernel (1,16)", "1 band_dense/bias (16)"});
  CHECK(weights(norm("adaptive_band_rms", Json{{"axis", std::vector<int>{1, 2, 3}}})) ==
        Lines{"0 band_dense/kernel (1,1)", "1 band_dense/bias (1)"});
  CHECK(weights(norm("zero_centered_adaptive_band_rms_norm", nullptr, shape({3, 8}))) ==
        Lines{"0 band_dense/kernel (1,8)", "1 band_dense/bias (8)"});
  CHECK(weights(norm("band_logit_norm")) ==
        Lines{"0 q_norm_layer_norm/gamma (1)", "1 q_norm_layer_norm/beta (1)"});
  CHECK(weights(norm("band_logit_norm", Json{{"axis", 1}}, shape({-1, 2, -1, 8}), "k_norm")) ==
        Lines{"0 k_norm_layer_norm/gamma (8)", "1 k_norm_layer_norm/beta (8)"});
  CHECK(weights(norm("logit_norm", nullptr, shape({-1, -1, -1}))).empty());
  CHECK(weights(norm("max_logit_norm")).empty());
  CHECK(weights(norm("global_response_norm")) == Lines{"0 gamma (1,1,1,8)", "1 beta (1,1,1,8)"});
  CHECK(weights(norm("global_response_norm", Json{{"use_beta", false}}, shape({-1, 5}))) ==
        Lines{"0 gamma (1,5)"});
  CHECK(weights(norm("dynamic_tanh")) == Lines{"0 weight (8)", "1 bias (8)", "2 alpha ()"});
  CHECK(weights(norm("energy_layer_norm")) == Lines{"0 gamma ()", "1 delta (8)"});
  CHECK(weights(norm("batch_norm")) == Lines{"0 gamma (8)", "1 beta (8)",
                                             "2 moving_mean (8) frozen statistic",
                                             "3 moving_variance (8) frozen statistic"});
  CHECK(weights(norm("batch", Json{{"scale", false}, {"axis", 1}})) ==
        Lines{"1 beta (2)", "2 moving_mean (2) frozen statistic",
              "3 moving_variance (2) frozen statistic"});
  CHECK(weights(norm("bias_free_batch_norm")) ==
        Lines{"0 gamma (8)", "3 running_var (8) frozen statistic"});
  CHECK(weights(norm("rms_norm", Json{{"trainable", false}})) == Lines{"0 scale (8) frozen"});
  CHECK(norm(nullptr, Json{{"anything", 1}}).flags == ATTN_COMPONENT_NONE);
}

TEST_CASE("families: norms as attributes") {
  for (const FamilyMember& member : norms().members) {
    INFO(member.name);
    const Component c = norm(member.name);
    REQUIRE(c.attributes.size() == kNormAttributes);
    CHECK(c.slots == kNormSlots);
    CHECK(c.attributes[0].u.i == member.kind);
    CHECK(c.attributes[2].u.f == 1e-6);
    CHECK(axes(c) == Axes{-1});
    CHECK((c.flags == 0 || member.kind == static_cast<int>(NormKind::global_response) ||
           member.kind == static_cast<int>(NormKind::adaptive_band_rms) ||
           member.kind == static_cast<int>(NormKind::zero_centered_adaptive_band_rms) ||
           c.flags == ATTN_COMPONENT_STATISTICS));
  }
  CHECK(norm("band_rms").attributes[3].u.f == 0.1);
  CHECK(norm("band_logit_norm").attributes[3].u.f == 0.01);
  CHECK(norm("logit_norm", Json{{"temperature", 0.5}}).attributes[3].u.f == 0.5);
  CHECK(norm("batch_norm").attributes[3].u.f == 0.99);
  CHECK(norm("global_response_norm", Json{{"eps", 0.5}, {"epsilon", 0.25}}).attributes[2].u.f ==
        0.5);
  CHECK(norm("global_response_norm", Json{{"epsilon", 0.25}}).attributes[2].u.f == 0.25);
  CHECK(norm("rms_norm", Json{{"axis", 2}, {"use_scale", false}}).flags ==
        ATTN_COMPONENT_MIXES_POSITIONS);
  CHECK(norm("rms_norm", Json{{"axis", 1}}).flags == 0);
  // Of a feature map axis 1 is the height, and no axis of heads.
  CHECK(norm_component(resolve_norm("rms_norm", Json{{"axis", 1}}), shape({-1, 3, 5, 6}), "n", true)
            .flags == (ATTN_COMPONENT_MIXES_POSITIONS | ATTN_COMPONENT_BY_POSITION));
  CHECK(norm("dynamic_tanh", Json{{"axis", 2}}, shape({-1, 2, 5, 8})).flags ==
        ATTN_COMPONENT_BY_POSITION);
  CHECK(norm("dynamic_tanh").flags == 0);
  CHECK(resolve_norm("band_rms", nullptr).weights[0]->regularizer.l2 == 1e-5);
  const Json off = {{"band_regularizer", {{"class_name", "L2"}, {"config", {{"l2", 0.0}}}}}};
  CHECK(resolve_norm("band_rms", off).weights[0]->regularizer.l2 == 0.0);
  CHECK(resolve_norm("adaptive_band_rms", nullptr).weights[0]->regularizer.kind ==
        RegularizerKind::kNone);
  CHECK(resolve_norm("energy_layer_norm", nullptr).weights[0]->clip->first == 1e-3);
  CHECK_FALSE(
      resolve_norm("energy_layer_norm", Json{{"gamma_constraint", nullptr}}).weights[0]->clip);
}

TEST_CASE("families: norms refuse") {
  CHECK_THROWS_WITH(resolve_norm("Layer_Norm", nullptr), "Unknown normalization type 'Layer_Norm'");
  CHECK_THROWS_WITH(resolve_norm("decoupled_max_logit", nullptr),
                    "Normalization type 'decoupled_max_logit' does not preserve the shape and "
                    "cannot be used here");
  const std::pair<const char*, Json> bad[] = {{"layer_norm", {{"momentum", 0.9}}},
                                              {"layer_norm", {{"epsilon", 0}}},
                                              {"layer_norm", {{"name", "x"}}},
                                              {"layer_norm", {{"dtype", "float16"}}},
                                              {"layer_norm", {{"gamma_constraint", "c"}}},
                                              {"layer_norm", {{"axis", Json::list({})}}},
                                              {"layer_norm", {{"axis", Json::list({1, 1})}}},
                                              {"layer_norm", {{"center", 1}}},
                                              {"band_rms", {{"max_band_width", 1.0}}},
                                              {"band_rms", {{"max_band_width", 0}}},
                                              {"logit_norm", {{"temperature", 0.0}}},
                                              {"logit_norm", {{"axis", Json::list({1})}}},
                                              {"batch_norm", {{"momentum", 1.5}}},
                                              {"dynamic_tanh", {{"alpha_init_value", 0}}},
                                              {"rms_norm", {{"scale_initializer", "twos"}}},
                                              {"max_logit_norm", {{"epsilon", true}}}};
  for (const auto& [name, options] : bad) {
    INFO(name << " " << options.brief());
    CHECK_THROWS_WITH(resolve_norm(name, options),
                      Contains("'" + options.as_object()[0].first + "'"));
  }
  CHECK_NOTHROW(resolve_norm("dynamic_tanh", Json{{"epsilon", -1}}));
  CHECK_NOTHROW(
      resolve_norm("layer_norm", Json{{"dtype", "float32"}, {"gamma_constraint", nullptr}}));
  CHECK_THROWS_WITH(norm("layer_norm", nullptr, shape({-1, 4, -1})), Contains("must be known"));
  CHECK_THROWS_WITH(norm("layer_norm", Json{{"axis", 4}}), Contains("not an axis"));
  CHECK_THROWS_WITH(norm("layer_norm", Json{{"axis", std::vector<int>{-1, 3}}}),
                    Contains("duplicate"));
  CHECK_THROWS_WITH(norm("adaptive_band_rms", Json{{"axis", 0}}, shape({2, 3, 4})),
                    Contains("must not be the batch axis"));
  CHECK_THROWS_WITH(norm("global_response_norm", nullptr, shape({1, 2, 3, 4, 5})),
                    Contains("rank 2, 3 or 4"));
  CHECK_THROWS_AS(norm("logit_norm", nullptr, shape({})), InvalidArgument);
}

TEST_CASE("families: no member of any family runs over the batch axis, however that is written") {
  const auto refusal = [](const auto& f) {
    try {
      static_cast<void>(f());
    } catch (const InvalidArgument& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  int members = 0;
  for (const Family* family : {&norms(), &activations(), &probabilities()})
    for (const FamilyMember& m : family->members)
      for (const Option& option : m.options) {
        if (option.kind != OptionKind::axis && option.kind != OptionKind::axes) continue;
        ++members;
        const int rank = family == &probabilities() ? 4 : 3;
        std::vector<Json> axes{0, -rank};
        if (option.kind == OptionKind::axes)
          axes.insert(axes.end(),
                      {Json::list({0, -1}), Json::list({-1, -rank}), Json::list({1, 0})});
        for (const Json& axis : axes) {
          CAPTURE(m.name, axis.dump());
          const Json options{{option.name, axis}};
          CHECK_THAT(refusal([&] {
                       if (family == &norms())
                         static_cast<void>(norm(m.name, options, shape({2, 5, 6})));
                       else if (family == &activations())
                         static_cast<void>(activation(m.name, options, shape({2, 5, 6})));
                       else
                         static_cast<void>(resolve_probability(m.name, options));
                     }),
                     Contains("'axis'") && Contains("must not be the batch axis"));
        }
      }
  CHECK(members >= 20);
}

TEST_CASE("families: activations") {
  for (const FamilyMember& member : activations().members) {
    INFO(member.name);
    const Component c = activation(member.name);
    REQUIRE(c.attributes.size() == kActivationAttributes);
    CHECK(c.attributes[0].u.i == member.kind);
    CHECK(c.attributes[2].u.i == -1);
    CHECK(c.slots == kActivationSlots);
  }
  CHECK(activation(nullptr).flags == ATTN_COMPONENT_NONE);
  const auto constants = [](const Json& name, const Json& options = nullptr) {
    const Component c = activation(name, options);
    return std::vector<double>(c.attributes[1].u.fs, c.attributes[1].u.fs + c.attributes[1].count);
  };
  const double inf = std::numeric_limits<double>::infinity();
  CHECK(constants("relu") == std::vector<double>{inf, 0, 0});
  CHECK(constants("relu", Json{{"max_value", 2}, {"threshold", 0.5}}) ==
        std::vector<double>{2, 0, 0.5});
  CHECK(constants("relu6") == std::vector<double>{6, 0, 0});
  CHECK(constants("leaky_relu") == std::vector<double>{inf, 0.2, 0});
  CHECK(constants("relu_k", Json{{"k", 1}}) == std::vector<double>{1});
  CHECK(constants("golu") == std::vector<double>{1, 1, 1});
  CHECK(constants("saturated_mish") == std::vector<double>{3, 0.5});
  CHECK(constants("squash") == std::vector<double>{1e-7});
  CHECK(constants("thresh_max") == std::vector<double>{1e-12});
  CHECK(constants("adaptive_softmax").size() == 9);
  CHECK(constants("adaptive_softmax", Json{{"form", "paper"}})[4] == -0.037);
  CHECK(activation("adaptive_softmax", Json{{"form", "paper"}}).attributes[0].u.i ==
        static_cast<int64_t>(ActivationKind::adaptive_paper));
  CHECK(constants("swish").empty());
  CHECK(weights(activation("xsilu")) == Lines{"0 alpha ()"});
  CHECK(weights(activation("thresh_max")) == Lines{"0 slope () frozen"});
  CHECK(weights(activation("differentiable_step")) == Lines{"0 slope (1,1,6)", "1 shift (1,1,6)"});
  CHECK(weights(activation("differentiable_step", Json{{"axis", nullptr}})) ==
        Lines{"0 slope ()", "1 shift ()"});
  CHECK(weights(activation("differentiable_step", Json{{"axis", 1}}, shape({-1, 4, 6}))) ==
        Lines{"0 slope (1,4,1)", "1 shift (1,4,1)"});
  CHECK(activation("squash", Json{{"axis", 1}}).flags == ATTN_COMPONENT_MIXES_POSITIONS);
  CHECK_THROWS_WITH(activation("differentiable_step", Json{{"axis", 1}}),
                    Contains("must be known"));
  CHECK_THROWS_AS(activation("squash", Json{{"axis", -3}}), InvalidArgument);
  CHECK_THROWS_AS(activation("squash", Json{{"axis", 3}}), InvalidArgument);

  const std::tuple<const char*, Json, const char*> bad[] = {
      {"Relu", nullptr, "Unknown activation 'Relu'"},
      {"glu", nullptr, "Unknown activation 'glu'"},
      {"threshold", nullptr, "Unknown activation 'threshold'"},
      {"batch", nullptr, "Unknown activation 'batch'"},
      {"sigmoid", Json{{"b", 1}, {"a", 1}},
       "Activation 'sigmoid' got unsupported argument(s): ['a', 'b']"},
      {"relu6", Json{{"max_value", 1}},
       "Activation 'relu6' got unsupported argument(s): ['max_value']"},
      {"relu", Json{{"negative_slope", -1}},
       "Activation argument 'negative_slope' must not be negative"},
      {"relu", Json{{"max_value", "x"}}, "Activation argument 'max_value' must be a number"},
      {"relu_k", Json{{"k", 2.0}}, "Activation argument 'k' must be an integer"},
      {"relu_k", Json{{"k", 0}}, "Activation argument 'k' must be positive"},
      {"golu", Json{{"gamma", 0.0}}, "Activation argument 'gamma' must be positive"},
      {"golu", Json{{"alpha", true}}, "Activation argument 'alpha' must be a number"},
      {"squash", Json{{"epsilon", 0}}, "Activation argument 'epsilon' must be positive"},
      {"sparsemax", Json{{"axis", 0}}, "Activation argument 'axis' must not be the batch axis"}};
  for (const auto& [name, options, text] : bad)
    CHECK_THROWS_WITH(resolve_activation(name, options), text);
  CHECK_THROWS_WITH(resolve_activation(nullptr, Json{{"k", 1}}),
                    "Activation 'linear' got unsupported argument(s): ['k']");
}

TEST_CASE("families: initializers") {
  CHECK(resolve_initializer(nullptr).kind == InitializerKind::kZeros);
  CHECK(resolve_initializer("HeNormal").kind == InitializerKind::kHeNormal);
  CHECK(resolve_initializer("zero").kind == InitializerKind::kZeros);
  CHECK(resolve_initializer("normal").stddev == 0.05);
  const Json keras = {{"module", "keras.initializers"},
                      {"class_name", "VarianceScaling"},
                      {"config",
                       {{"scale", 2.0},
                        {"mode", "fan_avg"},
                        {"distribution", "untruncated_normal"},
                        {"seed", 7},
                        {"input_axes", nullptr}}},
                      {"registered_name", nullptr}};
  const InitializerSpec spec = resolve_initializer(keras);
  CHECK(spec.scale == 2.0);
  CHECK(spec.mode == FanMode::kFanAvg);
  CHECK(spec.distribution == ScalingDistribution::kUntruncatedNormal);
  CHECK(spec.seed == 7u);
  CHECK_FALSE(resolve_initializer("glorot_uniform").seed);
  CHECK(resolve_initializer(Json{{"class_name", "identity"}, {"config", {{"gain", 2}}}}).gain ==
        2.0);
  CHECK(
      serialize_initializer("he_normal").dump() ==
      R"({"module":"keras.initializers","class_name":"HeNormal","config":{"seed":null},"registered_name":null})");
  CHECK(resolve_initializer(serialize_initializer(keras)).seed == 7u);
  CHECK(serialize_initializer(nullptr).is_null());
  for (const FamilyMember& member : initializers().members) {
    if (std::string(member.name) == "constant") continue;
    INFO(member.name);
    const Json full = serialize_initializer(member.name);
    CHECK(resolve_initializer(full).kind == static_cast<InitializerKind>(member.kind));
    CHECK(serialize_initializer(full) == full);
  }
  const std::pair<Json, const char*> bad[] = {
      {"he", "Unknown initializer 'he'"},
      {"constant", "'value'"},
      {Json{{"class_name", "he"}}, "Unknown initializer 'he'"},
      {Json{{"class_name", "HeNormal"}, {"config", {{"sede", 1}}}}, "['sede']"},
      {Json{{"class_name", "HeNormal"}, {"config", {{"seed", 1.5}}}}, "'seed'"},
      {Json{{"class_name", "HeNormal"}, {"config", {{"input_axes", 1}}}}, "'input_axes'"},
      {Json{{"class_name", "HeNormal"}, {"config", 3}}, "config"},
      {Json{{"class_name", "HeNormal"}, {"cfg", 3}}, "'cfg'"},
      {Json{{"class_name", "RandomNormal"}, {"config", {{"stddev", -1}}}}, "'stddev'"},
      {Json{{"class_name", "RandomUniform"}, {"config", {{"minval", 1}}}}, "'maxval'"},
      {Json{{"class_name", "VarianceScaling"}, {"config", {{"mode", "fan"}}}}, "'mode'"},
      {Json{{"class_name", "VarianceScaling"}, {"config", {{"scale", 0}}}}, "'scale'"}};
  for (const auto& [given, text] : bad) {
    INFO(given.brief());
    CHECK_THROWS_WITH(resolve_initializer(given), Contains(text));
  }
}

TEST_CASE("families: regularizers") {
  CHECK(resolve_regularizer(nullptr).kind == RegularizerKind::kNone);
  CHECK(resolve_regularizer("l2").l2 == 0.01);
  const RegularizerSpec both = resolve_regularizer("L1L2");
  CHECK(both.l1 == 0.01);
  CHECK(both.l2 == 0.01);
  CHECK(resolve_regularizer(Json{{"class_name", "L1L2"}, {"config", {{"l1", 0.5}}}}).l2 == 0.0);
  CHECK(resolve_regularizer(serialize_regularizer("l1_l2")).l1 == 0.01);
  const RegularizerSpec columns = resolve_regularizer(Json{
      {"class_name", "OrthogonalRegularizer"}, {"config", {{"mode", "columns"}, {"factor", 2}}}});
  CHECK(columns.mode == OrthogonalMode::kColumns);
  const Component component = regularizer_component(columns);
  REQUIRE(component.attributes.size() == kRegularizerAttributes);
  CHECK(component.attributes[0].u.i == static_cast<int>(attn::RegularizerKind::orthogonal_columns));
  CHECK(component.attributes[3].u.f == 2.0);
  CHECK(regularizer_component(resolve_regularizer("l1")).attributes[2].u.f == 0.0);
  CHECK(regularizer_component(resolve_regularizer(nullptr)).flags == ATTN_COMPONENT_NONE);
  CHECK_THROWS_WITH(resolve_regularizer("l3"), "Unknown regularizer 'l3'");
  CHECK_THROWS_WITH(resolve_regularizer(Json{{"class_name", "L2"}, {"config", {{"l2", -1}}}}),
                    Contains("'l2'"));
  CHECK_THROWS_AS(resolve_constraint(Json{{"class_name", "NonNeg"}}), InvalidArgument);
  const Json range = {{"class_name", "ValueRangeConstraint"},
                      {"config", {{"min_value", 1}, {"max_value", 3}}}};
  CHECK(resolve_constraint(range) == std::make_pair(1.0, 3.0));
}

}  // namespace attn::schema
