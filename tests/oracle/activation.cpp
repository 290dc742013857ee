// SPDX-License-Identifier: Apache-2.0
#include <functional>

#include "tests/oracle/parts.hpp"

namespace attn::oracle {
namespace {

constexpr double kPi = 3.14159265358979323846;

double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::fabs(x))); }
double clip(double x, double low, double high) { return std::min(std::max(x, low), high); }
double elu(double x) { return x > 0 ? x : std::expm1(x); }
double mish(double x) { return x * std::tanh(softplus(x)); }
double normal_cdf(double x) { return 0.5 * (1 + std::erf(x / std::sqrt(2.0))); }
double hard_sigmoid(double x) { return clip(x + 3, 0, 6) / 6; }

using Function = std::function<double(double)>;

const std::map<std::string, Function>& plain() {
  static const std::map<std::string, Function> table{
      {"linear", [](double x) { return x; }},
      {"sigmoid", logistic},
      {"tanh", [](double x) { return std::tanh(x); }},
      {"relu6", [](double x) { return clip(x, 0, 6); }},
      {"leaky_relu", [](double x) { return x > 0 ? x : 0.2 * x; }},
      {"elu", elu},
      {"celu", elu},
      {"selu",
       [](double x) {
         return 1.0507009873554805 * (x > 0 ? x : 1.6732632423543772 * std::expm1(x));
       }},
      {"elu_plus_one", [](double x) { return elu(x) + 1 + 1e-7; }},
      {"gelu", [](double x) { return x * normal_cdf(x); }},
      {"silu", [](double x) { return x * logistic(x); }},
      {"swish", [](double x) { return x * logistic(x); }},
      {"basis_function", [](double x) { return x * logistic(x); }},
      {"mish", mish},
      {"hard_sigmoid", hard_sigmoid},
      {"hard_swish", [](double x) { return x * hard_sigmoid(x); }},
      {"hard_silu", [](double x) { return x * hard_sigmoid(x); }},
      {"hard_tanh", [](double x) { return clip(x, -1, 1); }},
      {"hard_shrink", [](double x) { return std::fabs(x) > 0.5 ? x : 0.0; }},
      {"soft_shrink",
       [](double x) { return (x > 0 ? 1 : -1) * std::max(std::fabs(x) - 0.5, 0.0); }},
      {"tanh_shrink", [](double x) { return x - std::tanh(x); }},
      {"softplus", softplus},
      {"softsign", [](double x) { return x / (1 + std::fabs(x)); }},
      {"sparse_plus", [](double x) { return x <= -1 ? 0.0
                                            : x < 1 ? (x + 1) * (x + 1) / 4
                                                    : x; }},
      {"sparse_sigmoid", [](double x) { return x <= -1  ? 0.0
                                               : x >= 1 ? 1.0
                                                        : (x + 1) / 2; }},
      {"squareplus", [](double x) { return (x + std::sqrt(x * x + 4)) / 2; }},
      {"log_sigmoid", [](double x) { return -softplus(-x); }},
      {"exponential", [](double x) { return std::exp(x); }},
  };
  return table;
}

class Activation {
 public:
  Activation(Run& run, std::string site, const Json& args, const Tensor& x)
      : run_(run), site_(std::move(site)), args_(args), x_(x) {}

  Tensor apply(const std::string& name) {
    if (name == "hard_shrink")
      for (const double x : x_.v) run_.near(std::fabs(x) - 0.5);
    if (const auto it = plain().find(name); it != plain().end()) return map(x_, it->second);
    if (name == "relu") return relu();
    if (name == "relu_k") {
      const double k = number("k", 3);
      return map(x_, [=](double x) { return std::pow(std::max(x, 0.0), k); });
    }
    if (name == "saturated_mish") {
      const double alpha = number("alpha", 3), beta = number("beta", 0.5);
      return map(x_, [=](double x) {
        const double w = logistic((x - alpha) / beta);
        return mish(x) * (1 - w) + mish(alpha) * w;
      });
    }
    if (name == "golu") {
      const double alpha = number("alpha", 1), beta = number("beta", 1), gamma = number("gamma", 1);
      return map(x_, [=](double x) {
        const double e = beta * std::exp(-gamma * x);
        return e > 700 ? 0.0 : x * alpha * std::exp(-e);
      });
    }
    if (name == "xatlu") return gated([](double x) { return std::atan(x) / kPi + 0.5; });
    if (name == "xgelu") return gated(normal_cdf);
    if (name == "xsilu") return gated(logistic);
    if (name == "differentiable_step") return step();
    return over_rows(name);
  }

 private:
  [[nodiscard]] double number(const char* key, double otherwise) const {
    const Json* j = args_.find(key);
    return j && !j->is_null() ? j->to_double() : otherwise;
  }

  Tensor relu() {
    const double most = number("max_value", std::numeric_limits<double>::infinity());
    const double slope = number("negative_slope", 0), threshold = number("threshold", 0);
    if (threshold > 0)
      for (const double x : x_.v) run_.near(x - threshold);
    return map(x_, [=](double x) {
      if (x > threshold) return std::min(x, most);
      return slope == 0 ? 0.0 : -slope * (threshold - x);
    });
  }

  Tensor gated(const Function& gate) {
    const double alpha = run_.scalar(site_ + "/alpha");
    return map(x_, [&](double x) { return x * (gate(x) * (1 + 2 * alpha) - alpha); });
  }

  Tensor step() {
    const auto laid = [&](const char* name) {
      const Tensor& w = run_.kernel(site_ + "/" + name);
      const Json* axis = args_.find("axis");
      Extents shape(x_.shape.size(), 1);
      if (!axis || !axis->is_null()) {
        const size_t a = x_.axis(axis ? *axis->to_int64() : -1);
        shape[a] = x_.shape[a];
      }
      return reshape(w, shape);
    };
    const Tensor t = multiply(laid("slope"), subtract(x_, laid("shift")));
    return map(t, [](double e) { return (std::tanh(e) + 1) / 2; });
  }

  Tensor over_rows(const std::string& name) {
    const Json* axis = args_.find("axis");
    const std::vector<size_t> axes{x_.axis(axis ? *axis->to_int64() : -1)};
    const double epsilon = number("epsilon", name == "squash" ? 1e-7 : 1e-12);
    double slope = 0;
    if (name == "thresh_max") slope = run_.scalar(site_ + "/slope");
    return along(x_, axes, [&](std::vector<double>& row, int64_t) {
      if (name == "softmax") return softmax_row(row);
      if (name == "sparsemax") return sparsemax_row(row);
      if (name == "thresh_max") return threshmax_row(row, slope, epsilon);
      if (name == "adaptive_softmax") return adaptive_row(run_, row, args_);
      if (name == "log_softmax") {
        const double largest = *std::max_element(row.begin(), row.end());
        double total = 0;
        for (const double x : row) total += std::exp(x - largest);
        for (double& x : row) x -= largest + std::log(total);
        return;
      }
      demand(name == "squash", "unknown activation");
      double n = 0;
      for (const double x : row) n += x * x;
      for (double& x : row) x *= n / (1 + n) / std::sqrt(n + epsilon);
    });
  }

  Run& run_;
  std::string site_;
  const Json& args_;
  const Tensor& x_;
};

}  // namespace

double logistic(double x) {
  const double e = std::exp(-std::fabs(x));
  return x >= 0 ? 1 / (1 + e) : e / (1 + e);
}

Tensor activation(Run& run, const std::string& site, const std::string& name, const Json& args,
                  const Tensor& x) {
  return Activation(run, site, args, x).apply(name);
}

Tensor activation_of(Run& run, const std::string& site, const char* parameter,
                     const char* otherwise, const char* args, const Tensor& x) {
  // A null is linear; only an absent parameter has the default.
  const Json* given = run.problem.config.find(parameter);
  const std::string name = !given ? otherwise : given->is_null() ? "linear" : given->as_string();
  return activation(run, site, name, run.options(args), x);
}

}  // namespace attn::oracle
