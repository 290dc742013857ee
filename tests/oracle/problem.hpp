// SPDX-License-Identifier: Apache-2.0
//
// What the oracle is given and what it returns. The defaults of parameters and arguments that are not given are those
// of the specification, which every type of the oracle states for itself.
#pragma once

#include <attn/json.hpp>

#include <map>
#include <optional>
#include <string>

#include "host/check/generator/problem.hpp"
#include "tests/oracle/tensor.hpp"

namespace attn::oracle {

using check::Problem;

struct Answer {
  std::map<std::string, Tensor> outputs{};
  std::map<std::string, Tensor> statistics{};  // new values of moving averages, training only
  // Distance to the nearest point at which the result jumps, in the units of what is compared there: another
  // arithmetic may land on the other side when it is not larger than its rounding errors.
  double margin = std::numeric_limits<double>::infinity();
  // The largest score that a probability was given, in size: its rounding errors are those of the result.
  double largest_score = 0;
};

// One evaluation: the problem, and the answer as far as it is known.
class Run {
 public:
  explicit Run(const Problem& p) : problem(p) {}

  const Problem& problem;
  Answer answer{};

  void near(double distance) { answer.margin = std::min(answer.margin, std::fabs(distance)); }
  void scored(double z) {
    if (std::isfinite(z)) answer.largest_score = std::max(answer.largest_score, std::fabs(z));
  }
  void output(const std::string& name, Tensor t) { answer.outputs[name] = std::move(t); }

  // ---- parameters and arguments
  [[nodiscard]] const Json* given(const char* name) const { return present(problem.config, name); }
  [[nodiscard]] int64_t integer(const char* name, std::optional<int64_t> otherwise = {}) const {
    const Json* j = given(name);
    demand(j || otherwise, name);
    return j ? *j->to_int64() : *otherwise;
  }
  [[nodiscard]] double number(const char* name, double otherwise) const {
    const Json* j = given(name);
    return j ? j->to_double() : otherwise;
  }
  [[nodiscard]] bool flag(const char* name, bool otherwise) const {
    const Json* j = given(name);
    return j ? j->as_bool() : otherwise;
  }
  [[nodiscard]] std::string text(const char* name, const char* otherwise) const {
    const Json* j = given(name);
    return j ? j->as_string() : otherwise;
  }
  // The options in an object parameter; empty when it is null or absent.
  [[nodiscard]] Json options(const char* name) const {
    const Json* j = given(name);
    return j ? *j : Json::object();
  }
  [[nodiscard]] const Json* argument(const char* name) const {
    return present(problem.arguments, name);
  }

  // ---- tensors
  [[nodiscard]] const Tensor* input(const std::string& name) const {
    return find(problem.inputs, name);
  }
  [[nodiscard]] const Tensor& need(const std::string& name) const {
    const Tensor* t = input(name);
    demand(t != nullptr, name.c_str());
    return *t;
  }
  [[nodiscard]] const Tensor* weight(const std::string& name) const {
    return find(problem.weights, name);
  }
  [[nodiscard]] const Tensor& kernel(const std::string& name) const {
    const Tensor* t = weight(name);
    demand(t != nullptr, name.c_str());
    return *t;
  }
  // Of shape () or (1).
  [[nodiscard]] double scalar(const std::string& name) const { return kernel(name).v.at(0); }
  // x times <layer>/kernel plus <layer>/bias, the latter when `biased`.
  [[nodiscard]] Tensor layer(const std::string& name, const Tensor& x, bool biased) const {
    return dense(x, kernel(name + "/kernel"), biased ? &kernel(name + "/bias") : nullptr);
  }

 private:
  static const Json* present(const Json& object, const char* name) {
    const Json* j = object.is_object() ? object.find(name) : nullptr;
    return j && !j->is_null() ? j : nullptr;
  }
  static const Tensor* find(const std::map<std::string, Tensor>& map, const std::string& name) {
    const auto it = map.find(name);
    return it == map.end() ? nullptr : &it->second;
  }
};

// Solves the problem; std::logic_error when the oracle does not have the type.
[[nodiscard]] Answer solve(const Problem& problem);
[[nodiscard]] bool knows(const std::string& type);

}  // namespace attn::oracle
