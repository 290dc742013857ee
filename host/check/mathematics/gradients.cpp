// SPDX-License-Identifier: Apache-2.0
//
// Gradients in float64 against central differences of the layer's own results and penalties, along one random
// direction for each input and each weight; and those of float32 against those of float64.
#include <attn/factory.hpp>

#include <sstream>

#include "host/check/mathematics/checks.hpp"

namespace attn::check {
namespace {

// A difference over 2h is wrong by h^2 times the third derivative and by the rounding of two results over h.
constexpr double kCurvature = 1e-6, kRounding = 50;
// In float32: 5e-4 of the largest element, as for the golden cases. A gradient that is zero in theory holds what is
// left of others, or of cotangents of size 1.
constexpr double kOwn32 = 4200, kAll32 = 2048, kUnit32 = 64, kNarrow32 = 10;
// Besides, what inputs and weights that are moved by so many units of eps change.
constexpr double kMoved32 = 100;

struct AllSlopes {
  std::map<std::string, Tensor> of{};  // "input x", "weight w"
  double size = 0;                     // sum of |cotangent * output|
  double largest = 0;
};

class Checker {
 public:
  explicit Checker(Trial& t) : t_(t), inputs_(t.c.problem.inputs), spec_(spec_of(t.c)) {}

  // "" or what is wrong. shift moves the inputs a little: a kink that one point lies on by chance is elsewhere then.
  std::string check(double shift) {
    inputs_ = t_.c.problem.inputs;
    for (auto& [name, value] : inputs_)
      if (!is_mask(t_.c, name))
        for (double& e : value.v) e = static_cast<float>(e * (1 + shift));
    for (const auto& [name, table] : t_.c.problem.tables)
      if (!table.integral) inputs_[name] = table;
    const AllSlopes found = slopes(*t_.layer64, inputs_, true);
    for (const auto& [name, gradient] : found.of) {
      if (const std::string wrong = along_direction(name, gradient, found); !wrong.empty())
        return wrong;
    }
    // The sign of what is 0 but for rounding, in a penalty, is another one in float32.
    return check_single(slopes(*t_.layer64, inputs_, false));
  }

 private:
  Tensor cotangent(const Tensor& y) const {
    Tensor c(y.shape);
    Random random(t_.c.weights, "cotangent", 1);
    for (double& e : c.v) e = random.single();
    return c;
  }

  double value(const std::map<std::string, Tensor>& inputs) {
    Call call(*t_.layer64, t_.c, inputs, spec_);
    const Tensor y = call.run().at(output_of(*t_.layer64));
    const Tensor c = cotangent(y);
    double sum = 0;
    for (const Penalty& p : t_.layer64->losses(call.context())) sum += p.value;
    for (size_t i = 0; i < y.v.size(); ++i) sum += c.v[i] * y.v[i];
    return sum;
  }

  AllSlopes slopes(Attention& layer, const std::map<std::string, Tensor>& inputs, bool penalties) {
    CallSpec spec = spec_;
    spec.record = true;
    Call call(layer, t_.c, inputs, spec);
    const Tensor y = call.run().at(output_of(*t_.layer64));
    const Tensor c = cotangent(y);
    Gradients gradients(layer);
    call.backward({{output_of(layer), c}}, gradients, penalties);
    AllSlopes out;
    if (penalties)
      for (const Penalty& p : layer.losses(call.context())) out.size += std::fabs(p.value);
    for (size_t i = 0; i < y.v.size(); ++i) out.size += std::fabs(c.v[i] * y.v[i]);
    for (const auto& g : gradients.entries())
      if (g.trained) out.of["weight " + g.name] = to_tensor(g.gradient.view());
    for (const auto& [name, x] : inputs)
      if (!is_mask(t_.c, name) || adds_mask(t_.c) || t_.c.problem.tables.contains(name)) {
        Tensor g = call.input_gradient(name);
        out.of["input " + name] = g.v.empty() ? Tensor(x.shape) : std::move(g);
      }
    for (const auto& [name, g] : out.of) out.largest = std::max(out.largest, magnitude(g));
    return out;
  }

  std::string along_direction(const std::string& name, const Tensor& gradient,
                              const AllSlopes& all) {
    const std::string tensor = name.substr(name.find(' ') + 1);
    const bool weight = name.starts_with("weight");
    const Tensor x = weight ? to_tensor(t_.layer64->weight(tensor)) : inputs_.at(tensor);
    Tensor direction(x.shape);
    Random random(t_.c.weights, "direction " + name, 0);
    double slope = 0, terms = 0;
    for (size_t i = 0; i < x.v.size(); ++i) {
      direction.v[i] = random.uniform(-1, 1);
      slope += gradient.v[i] * direction.v[i];
      terms += std::fabs(gradient.v[i] * direction.v[i]);
    }
    const auto at = [&](double h) {
      Tensor moved = x;
      for (size_t i = 0; i < x.v.size(); ++i) moved.v[i] += h * direction.v[i];
      if (!weight) {
        auto inputs = inputs_;
        inputs[tensor] = std::move(moved);
        return value(inputs);
      }
      t_.layer64->set_weight(tensor, to_array(moved, ATTN_F64).view());
      const double result = value(inputs_);
      t_.layer64->set_weight(tensor, to_array(x, ATTN_F64).view());
      return result;
    };
    std::ostringstream tried;
    for (const double h : {1e-5, 1e-6, 1e-7}) {
      const double measured = (at(h) - at(-h)) / (2 * h);
      const double allowed = kCurvature * terms + kRounding * kEps64 * all.size / h;
      if (std::fabs(measured - slope) <= allowed) return "";
      tried << "; step " << h << ": " << measured << " (allowed " << allowed << ")";
    }
    std::ostringstream s;
    s.precision(10);
    s << "gradient of " << name << " along a direction: " << slope << tried.str();
    return s.str();
  }

  // What rounding to float32 may do to each gradient, tried in float64: inputs and weights are moved as far, which
  // finds what is badly conditioned and the kinks nearby; and by a little more than float64 rounds, for which all of the
  // call is rounded anew. The latter is scaled up, and finds large terms that cancel wherever the layer is moved.
  std::map<std::string, double> moved(const AllSlopes& from) {
    std::map<std::string, double> out;
    constexpr double kFar = kMoved32 * kEps32, kNear = 4 * kEps64;
    for (const double noise : {kFar, kNear})
      for (const uint64_t draw : {1, 2}) {
        const auto layer = make_layer(t_.c, ATTN_F64, noise, draw);
        const AllSlopes to = slopes(*layer, shaken(t_.c, inputs_, noise, draw), false);
        for (const auto& [name, g] : from.of) {
          double& most = out[name];
          most = std::max(most, kFar / noise * largest_difference(to.of.at(name), g));
        }
      }
    return out;
  }

  // float32 against float64: in units of eps times the largest gradient, plus what moving inputs and weights changes.
  std::string check_single(const AllSlopes& expected) {
    if (is_sharp(t_.c)) return "";
    const std::map<std::string, double> near = moved(expected);
    const AllSlopes found = slopes(*t_.layer32, inputs_, false);
    for (const auto& [name, g] : expected.of) {
      // A gradient that moves by more than its size is one that cancels, or lies at a kink: nothing to compare.
      if (near.at(name) > magnitude(g)) continue;
      const double d = largest_difference(found.of.at(name), g);
      const double allowed = kEps32 * (is_narrow(t_.c) ? kNarrow32 : 1) *
                                 (kOwn32 * magnitude(g) + kAll32 * expected.largest + kUnit32) +
                             near.at(name);
      if (d <= allowed) continue;
      std::ostringstream s;
      s << "gradient of " << name << " in float32 differs by " << d << ", allowed " << allowed
        << ", largest " << magnitude(g);
      return s.str();
    }
    return "";
  }

  Trial& t_;
  std::map<std::string, Tensor> inputs_;
  CallSpec spec_;
};

}  // namespace

bool check_gradients(Trial& t) {
  // A jump has no derivative.
  if (t.c.is_long || t.margin < 1e-3) return false;
  std::string wrong;
  for (const double shift : {0.0, 1e-3, -3e-3}) {
    const std::string now = Checker(t).check(shift);
    if (now.empty()) return true;
    if (wrong.empty()) wrong = now;
  }
  t.fail(wrong);
  return true;
}

}  // namespace attn::check
