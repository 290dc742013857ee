// SPDX-License-Identifier: Apache-2.0
#include <functional>

#include "tests/oracle/parts.hpp"

namespace attn::oracle {

std::string canonical_probability(const std::string& name) {
  std::string lower = name;
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  if (lower == "thresh_max") return "threshmax";
  if (lower == "adaptive_softmax") return "adaptive";
  return lower;
}

Probability probability(const Run& run, const std::string& site) {
  Probability p;
  p.type = run.text("probability_type", "softmax");
  if (run.flag("use_adaptive_softmax", false)) p.type = "adaptive";
  p.config = run.options("probability_config");
  p.site = site;
  if (canonical_probability(p.type) == "threshmax") p.slope = run.scalar(site + "/threshmax/slope");
  return p;
}

std::vector<size_t> Probability::axes() const {
  const Json* axis = config.find("axis");
  std::vector<size_t> out;
  const auto add = [&](const Json& j) {
    const int64_t a = *j.to_int64();
    out.push_back(static_cast<size_t>(a < 0 ? a + 4 : a));
  };
  if (!axis || axis->is_null())
    out.push_back(3);
  else if (axis->is_list())
    for (const Json& j : axis->as_list()) add(j);
  else
    add(*axis);
  return out;
}

void softmax_row(std::vector<double>& row) {
  const double largest = *std::max_element(row.begin(), row.end());
  for (double& x : row) x = std::exp(x - largest);
  const double total = sum_of(row);
  for (double& x : row) x /= total;
}

void sparsemax_row(std::vector<double>& row) {
  const double largest = *std::max_element(row.begin(), row.end());
  for (double& x : row) x -= largest;
  std::vector<double> falling = row;
  std::sort(falling.begin(), falling.end(), std::greater<>());
  double sum = 0, sum_of_support = 0, support = 0;
  for (size_t k = 0; k < falling.size(); ++k) {
    sum += falling[k];
    if (1 + static_cast<double>(k + 1) * falling[k] - sum > 0) {
      support = static_cast<double>(k + 1);
      sum_of_support = sum;
    }
  }
  const double tau = (sum_of_support - 1) / support;
  for (double& x : row) x = std::max(x - tau, 0.0);
}

void threshmax_row(std::vector<double>& row, double slope, double epsilon) {
  softmax_row(row);
  const double uniform = 1.0 / static_cast<double>(row.size());
  for (double& p : row) p *= (std::tanh(slope * (p - uniform)) + 1) / 2;
  const double total = sum_of(row) + epsilon;
  for (double& y : row) y /= total;
}

void adaptive_row(Run& run, std::vector<double>& row, const Json& options) {
  const auto number = [&](const char* key, double otherwise) {
    const Json* j = options.find(key);
    return j && !j->is_null() ? j->to_double() : otherwise;
  };
  const double low = number("min_temp", 0.1), high = number("max_temp", 1.0);
  const double threshold = number("entropy_threshold", 0.5), eps = number("eps", 1e-7);
  const Json* form = options.find("form");
  const bool paper = form && form->as_string() == "paper";
  std::vector<double> coefficients{-1.791, 4.917, -2.3, 0.481, -0.037};
  if (paper) std::reverse(coefficients.begin(), coefficients.end());
  if (const Json* given = options.find("polynomial_coeffs"); given && given->size() > 0) {
    coefficients.clear();
    for (const Json& j : given->as_list()) coefficients.push_back(j.to_double());
  }
  std::vector<double> p = row;
  softmax_row(p);
  double entropy = 0;
  for (const double x : p) {
    const double c = paper ? x : std::min(std::max(x, eps), 1 - eps);
    if (c > 0) entropy -= c * std::log(c);
  }
  run.near(entropy - threshold);
  double factor = 1;
  if (entropy > threshold) {
    double value = 0;
    for (const double a : coefficients) value = value * entropy + a;
    factor = paper ? std::max(value, 1.0)
                   : 1 / (low + (high - low) * std::min(std::max(value, 0.0), 1.0));
  }
  if (!paper) factor = std::min(factor, 1 / eps);
  for (double& z : row) z *= factor;
  softmax_row(row);
}

void Probability::apply(Run& run, std::vector<double>& row) const {
  if (row.empty()) return;
  const std::string name = canonical_probability(type);
  if (name == "softmax") return softmax_row(row);
  if (name == "sparsemax") return sparsemax_row(row);
  if (name == "adaptive") return adaptive_row(run, row, config);
  demand(name == "threshmax", "unknown probability");
  const Json* epsilon = config.find("epsilon");
  threshmax_row(row, slope, epsilon ? epsilon->to_double() : 1e-12);
}

}  // namespace attn::oracle
