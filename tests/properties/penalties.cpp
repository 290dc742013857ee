// SPDX-License-Identifier: Apache-2.0
//
// Penalties of regularizers: which weights have one, and how large it is.
#include <attn/factory.hpp>

#include "tests/oracle/parts.hpp"
#include "tests/properties/own.hpp"

namespace attn::properties {
namespace {

double l1_l2(const Tensor& x, double l1, double l2) {
  double sum = 0;
  for (const double e : x.v) sum += l1 * std::fabs(e) + l2 * e * e;
  return sum;
}

double orthogonal(Tensor x, double factor, bool rows) {
  if (!rows) x = oracle::permute(x, {1, 0});
  const int64_t m = x.dim(0), n = x.dim(1);
  const auto gram = [&](int64_t i, int64_t j) {
    double s = 0;
    for (int64_t k = 0; k < n; ++k) s += x.at(i, k) * x.at(j, k);
    return s;
  };
  double sum = 0;
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < m; ++j)
      if (i != j) sum += std::fabs(gram(i, j)) / std::sqrt(gram(i, i) * gram(j, j));
  return m < 2 ? 0 : factor * 0.5 * sum / (static_cast<double>(m * (m - 1)) / 2);
}

// A regularizer as a user writes it, of a tensor.
double penalty(const Json& given, const Tensor& x) {
  if (given.is_null()) return 0;
  const bool named = given.is_string();
  const std::string name = named ? given.as_string() : given.at("class_name").as_string();
  const Json config = named ? Json::object() : given.at("config");
  const auto number = [&](const char* key, double otherwise) {
    const Json* j = config.find(key);
    return j ? j->to_double() : otherwise;
  };
  if (name == "l1" || name == "L1") return l1_l2(x, number("l1", 0.01), 0);
  if (name == "l2" || name == "L2") return l1_l2(x, 0, number("l2", 0.01));
  if (name == "l1_l2" || name == "L1L2")
    return l1_l2(x, number("l1", named ? 0.01 : 0), number("l2", named ? 0.01 : 0));
  const Json* mode = config.find("mode");
  return orthogonal(x, number("factor", 0.01), !mode || mode->as_string() == "rows");
}

Json l2(double factor) { return {{"class_name", "L2"}, {"config", Json{{"l2", factor}}}}; }

class Rules {
 public:
  explicit Rules(const Case& c) : c_(c) {}

  // The regularizer of a weight, by its name.
  [[nodiscard]] Json of(const WeightInfo& w) const {
    if (!w.trainable) return nullptr;
    const std::string name = w.name.substr(w.name.rfind('/') + 1);
    if (w.name.find("norm") != std::string::npos) return of_norm(w.name, name);
    if (w.name.find("activation/") != std::string::npos && !w.name.starts_with("score_"))
      return of_activation(w.name, name);
    if (w.name.find("/captures/") != std::string::npos) return nullptr;
    if (name == "slope")
      return given_or(parameter(c_, "probability_config"), "slope_regularizer", l2(-1e-4));
    if (name == "kernel" || name == "vertical_aggregation_weights" || name == "lambda_param" ||
        name == "w_key" || name == "w_query")
      return staged("kernel_regularizer", w.name);
    if (name == "bias" || name == "vertical_aggregation_bias")
      return w.name == "downsample/bias" ? Json() : parameter(c_, "bias_regularizer");
    return nullptr;
  }

 private:
  static Json given_or(const Json& options, const char* key, const Json& otherwise) {
    const Json* j = options.is_object() ? options.find(key) : nullptr;
    return j ? *j : otherwise;
  }
  // Two stages, each with its own setting, begin with their names.
  [[nodiscard]] Json staged(const std::string& setting, const std::string& weight) const {
    if (!parameter(c_, "channel_" + setting).is_null() ||
        !parameter(c_, "spatial_" + setting).is_null())
      return parameter(c_, (weight.starts_with("channel") ? "channel_" : "spatial_") + setting);
    return parameter(c_, setting);
  }

  [[nodiscard]] Json of_norm(const std::string& path, const std::string& name) const {
    if (path.starts_with("v_norm")) return nullptr;
    const attn_type& type = *find_attention_type(c_.id.type).type;
    const Json options =
        parameter(c_, path.starts_with("output_norm")             ? "normalization_kwargs"
                      : has_parameter(type, "latent_norm_kwargs") ? "latent_norm_kwargs"
                                                                  : "qk_norm_kwargs");
    if (path.find("_layer_norm/") != std::string::npos) return nullptr;  // band_logit_norm's own
    if (name == "gamma") return given_or(options, "gamma_regularizer", nullptr);
    if (name == "beta") return given_or(options, "beta_regularizer", nullptr);
    if (name == "band_param") {
      const Json given = given_or(options, "band_regularizer", nullptr);
      return given.is_null() ? l2(1e-5) : given;
    }
    if (path.find("band_dense") != std::string::npos)
      return name == "kernel" ? given_or(options, "band_regularizer", nullptr) : Json();
    if (name == "weight") return given_or(options, "kernel_regularizer", nullptr);
    if (name == "bias") return given_or(options, "bias_regularizer", nullptr);
    return nullptr;
  }

  [[nodiscard]] Json of_activation(const std::string& path, const std::string& name) const {
    for (const auto& [site, type, args] : sites()) {
      if (path.find(site) == std::string::npos) continue;
      const Json options = parameter(c_, args), used = parameter(c_, type);
      if (name == "alpha") return given_or(options, "alpha_regularizer", nullptr);
      if (name == "shift") return given_or(options, "shift_regularizer", l2(1e-3));
      if (used.is_string() && used.as_string() == "thresh_max")
        return given_or(options, "slope_regularizer", l2(-1e-4));
      return l2(-1e-3);
    }
    return nullptr;
  }
  [[nodiscard]] std::vector<std::array<std::string, 3>> sites() const {
    const bool long_names = !parameter(c_, "gate_activation_type").is_null() ||
                            c_.id.type == "channel" || c_.id.type == "spatial" ||
                            c_.id.type == "gated";
    if (long_names)
      return {{"intermediate_activation", "intermediate_activation_type",
               "intermediate_activation_args"},
              {"gate_activation", "gate_activation_type", "gate_activation_args"}};
    return {{"output_activation", "output_activation", "output_activation_args"},
            {"_activation", "intermediate_activation", "intermediate_activation_args"}};
  }

  const Case& c_;
};

}  // namespace

void check_penalties(Trial& t) {
  const Case& c = t.c;
  Call call(*t.layer64, c, c.problem.inputs, spec_of(c));
  const Outputs outputs = call.run();
  std::map<std::string, double> found;
  for (const Penalty& p : t.layer64->losses(call.context())) found[p.name] = p.value;
  std::map<std::string, double> expected;
  const Rules rules(c);
  for (const WeightInfo& w : t.layer64->weights()) {
    if (w.not_stored) continue;
    const Json regularizer = rules.of(w);
    if (!regularizer.is_null())
      expected[w.name] = penalty(regularizer, c.problem.weights.at(w.name));
  }
  if (const Json activity = parameter(c, "activity_regularizer"); !activity.is_null())
    expected["activity"] =
        penalty(activity, outputs.at("output")) / static_cast<double>(outputs.at("output").dim(0));
  for (const auto& [name, value] : expected) {
    const auto it = found.find(name);
    if (it == found.end())
      t.fail("no penalty of " + name);
    else if (!(std::fabs(it->second - value) <= 1e-9 * (std::fabs(value) + 1e-3)))
      t.fail("the penalty of " + name + " is " + std::to_string(it->second) + ", expected " +
             std::to_string(value));
  }
  for (const auto& [name, value] : found)
    if (!expected.contains(name) && !name.ends_with("/activity") && value != 0)
      t.fail("a penalty of " + name + " that no regularizer gives");
}

}  // namespace attn::properties
