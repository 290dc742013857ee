// SPDX-License-Identifier: Apache-2.0
#include "host/cli/gradient_check.hpp"

#include <algorithm>
#include <cmath>

#include "host/cli/tensors.hpp"

namespace attn::cli {

namespace {

constexpr double kStep = 1e-5;
constexpr double kSmaller[] = {1, 1.0 / 16, 1.0 / 256};
constexpr double kSameGap = 1.25;  // between one step and another; what curves has 16
constexpr double kFloor = 1e-3;    // of the largest gradient of all

class Check {
 public:
  Check(Attention& layer, std::vector<NamedOutput>& inputs, const GradientCheckOptions& options)
      : layer_(layer), inputs_(inputs), options_(options), ctx_(ATTN_F64), gradients_(layer) {}

  std::vector<TensorGradients> run() {
    differentiate();
    std::vector<TensorGradients> results;
    for (NamedOutput& input : inputs_)
      if (const auto gradient = input_gradient(input))
        results.push_back(compare(input.name, false, input.value, *gradient, [] {}));
    for (const WeightInfo& info : layer_.weights()) {
      const Array* gradient = gradients_.weight(info.name);
      if (!info.trainable || !gradient) continue;
      Array value = Array::copy_of(layer_.weight(info.name));
      results.push_back(compare(info.name, true, value, *gradient,
                                [&] { layer_.set_weight(info.name, value.view()); }));
    }
    return results;
  }

 private:
  [[nodiscard]] std::vector<Input> input_list() const {
    std::vector<Input> list;
    for (const NamedOutput& input : inputs_) list.emplace_back(input.name, input.value.view());
    return list;
  }

  void forward(bool record) {
    layer_.forward(ctx_, input_list(),
                   {.training = options_.training,
                    .record = record,
                    .seed = options_.seed,
                    .arguments = options_.arguments});
  }

  void differentiate() {
    forward(true);
    const attn_type& type = layer_.type();
    for (uint32_t i = 0; i < type.n_outputs; ++i)
      if (const auto out = ctx_.output(type.outputs[i]->name); out && out->dtype == ATTN_F64)
        cotangents_.push_back(
            {type.outputs[i]->name, normal_array(out->shape, options_.seed + 100 + i, ATTN_F64)});
    std::vector<Input> list;
    for (const NamedOutput& c : cotangents_) list.emplace_back(c.name, c.value.view());
    layer_.backward(ctx_, list, gradients_, {.penalties = true});
    for (const NamedOutput& input : inputs_)
      if (const auto gradient = ctx_.input_gradient(input.name))
        input_gradients_.push_back({input.name, Array::copy_of(*gradient)});
    for (const NamedOutput& g : input_gradients_) largest_ = std::max(largest_, largest(g.value));
    for (Gradients::Entry& e : gradients_.entries())
      if (e.trained) largest_ = std::max(largest_, largest(e.gradient));
  }

  [[nodiscard]] const Array* input_gradient(const NamedOutput& input) const {
    for (const NamedOutput& g : input_gradients_)
      if (g.name == input.name) return &g.value;
    return nullptr;
  }

  static double largest(const Array& a) {
    double most = 0;
    for (int64_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(a.data<double>()[i]));
    return most;
  }

  double objective() {
    forward(false);
    double sum = 0;
    for (const NamedOutput& c : cotangents_) {
      const Array y = Array::copy_of(*ctx_.output(c.name));
      for (int64_t i = 0; i < y.size(); ++i) sum += y.data<double>()[i] * c.value.data<double>()[i];
    }
    for (const Penalty& penalty : layer_.losses(ctx_)) sum += penalty.value;
    return sum;
  }

  // The slopes on both sides of a point, at one step.
  struct Sides {
    double left, right;
    [[nodiscard]] double gap() const { return std::abs(right - left); }
  };
  // At a kink the slopes of both sides differ by the same at every step, where what curves brings them closer with the
  // step and rounding moves them apart. There the gradient may be any number between them: none of them is wrong.
  [[nodiscard]] bool at_kink(const std::vector<Sides>& sides, double found, double unit) const {
    const double room = options_.tolerance * unit;
    double least = HUGE_VAL, most = 0;
    for (const Sides& s : sides) least = std::min(least, s.gap()), most = std::max(most, s.gap());
    if (!(least > room) || most > kSameGap * least) return false;
    const Sides& s = sides.back();
    return found >= std::min(s.left, s.right) - room && found <= std::max(s.left, s.right) + room;
  }

  // apply(): makes the layer see a changed element of `value`.
  template <class Apply>
  TensorGradients compare(const std::string& name, bool weight, Array& value, const Array& gradient,
                          Apply apply) {
    if (options_.progress) options_.progress(name);
    TensorGradients result{.name = name, .shape = value.shape(), .weight = weight};
    result.largest = largest(gradient);
    const double unit = std::max({result.largest, kFloor * largest_, 1e-30});
    const int64_t n = value.size();
    const int64_t count = options_.elements > 0 ? std::min(n, options_.elements) : n;
    for (int64_t k = 0; k < count; ++k) {
      const int64_t at = k * n / count;
      double& x = value.data<double>()[at];
      const double before = x, found = gradient.data<double>()[at];
      if (!std::isfinite(before)) continue;  // no step leads away from it
      ++result.checked;
      double error = HUGE_VAL, expected = 0;
      std::vector<Sides> sides;
      for (const double smaller : kSmaller) {
        const double h = kStep * smaller * std::max(1.0, std::abs(before));
        x = before + h;
        apply();
        const double up = objective();
        x = before - h;
        apply();
        const double down = objective(), slope = (up - down) / (2 * h),
                     off = std::abs(slope - found) / unit;
        if (off < error) error = off, expected = slope;
        if (error <= options_.tolerance) break;
        x = before;
        apply();
        const double here = objective();
        sides.push_back({(here - down) / h, (up - here) / h});
      }
      x = before;
      apply();
      if (error > options_.tolerance && at_kink(sides, found, unit)) {
        ++result.kinks;
        error = 0;
      }
      if (result.checked == 1 || error > result.error) {
        result.error = error;
        result.worst = at;
        result.found = found;
        result.expected = expected;
      }
    }
    result.good = result.error <= options_.tolerance;
    return result;
  }

  Attention& layer_;
  std::vector<NamedOutput>& inputs_;
  const GradientCheckOptions& options_;
  Context ctx_;
  Gradients gradients_;
  std::vector<NamedOutput> cotangents_, input_gradients_;
  double largest_ = 0;
};

}  // namespace

std::vector<TensorGradients> check_gradients(Attention& layer, std::vector<NamedOutput>& inputs,
                                             const GradientCheckOptions& options) {
  return Check(layer, inputs, options).run();
}

}  // namespace attn::cli
