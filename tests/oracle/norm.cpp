// SPDX-License-Identifier: Apache-2.0
//
// The fifteen norms. Names and weights as in the tables of the documentation.
#include "tests/oracle/parts.hpp"

namespace attn::oracle {
namespace {

using Axes = std::vector<size_t>;

class Norm {
 public:
  Norm(Run& run, std::string site, const Json& options, const Tensor& x)
      : run_(run), site_(std::move(site)), options_(options), x_(x) {
    const Json* axis = options.find("axis");
    if (axis && axis->is_list())
      for (const Json& j : axis->as_list()) axes_.push_back(x.axis(*j.to_int64()));
    else
      axes_.push_back(x.axis(axis ? *axis->to_int64() : -1));
    std::sort(axes_.begin(), axes_.end());
    epsilon_ = number("epsilon", 1e-6);
  }

  Tensor apply(const std::string& name) {
    if (name == "layer_norm" || name == "layer")
      return shifted(scaled(standardised(x_, axes_), "gamma", "scale"), "beta", "center");
    if (name == "rms_norm") return scaled(rms(x_), "scale", "use_scale");
    if (name == "zero_centered_rms_norm") return scaled(rms(centered()), "scale", "use_scale");
    if (name == "band_rms") return band(x_);
    if (name == "zero_centered_band_rms_norm") return band(centered());
    if (name == "adaptive_band_rms") return adaptive_band(x_);
    if (name == "zero_centered_adaptive_band_rms_norm") return adaptive_band(centered());
    if (name == "band_logit_norm") return band_logit();
    if (name == "logit_norm") {
      const double temperature = number("temperature", 0.04), eps = epsilon_;
      return divide(x_, map(sum_of_squares(),
                            [=](double s) { return temperature * std::sqrt(std::max(s, eps)); }));
    }
    if (name == "max_logit_norm") {
      const double eps = epsilon_;
      return divide(x_, map(sum_of_squares(), [=](double s) { return std::sqrt(s + eps); }));
    }
    if (name == "global_response_norm") return global_response();
    if (name == "dynamic_tanh") {
      const double alpha = weight("alpha").v.at(0);
      const Tensor t = map(x_, [=](double e) { return std::tanh(alpha * e); });
      return add(multiply(t, spread("weight", axes_)), spread("bias", axes_));
    }
    if (name == "energy_layer_norm") {
      const Axes last{x_.axis(-1)};
      const double gamma = weight("gamma").v.at(0);
      const Tensor t = map(standardised(x_, last), [=](double e) { return gamma * e; });
      return add(t, spread("delta", last));
    }
    if (name == "batch_norm" || name == "batch") return batch(true);
    demand(name == "bias_free_batch_norm", "unknown norm");
    return batch(false);
  }

 private:
  [[nodiscard]] double number(const char* key, double otherwise) const {
    const Json* j = options_.find(key);
    return j && !j->is_null() ? j->to_double() : otherwise;
  }
  [[nodiscard]] bool flag(const char* key) const {
    const Json* j = options_.find(key);
    return !j || j->as_bool();
  }
  [[nodiscard]] const Tensor& weight(const std::string& name) const {
    return run_.kernel(site_ + "/" + name);
  }
  // A weight with one dimension for each of the axes, laid along them.
  [[nodiscard]] Tensor spread(const std::string& name, const Axes& axes) const {
    Extents shape(x_.shape.size(), 1);
    for (const size_t a : axes) shape[a] = x_.shape[a];
    return reshape(weight(name), shape);
  }
  [[nodiscard]] Tensor scaled(const Tensor& t, const char* name, const char* flag_name) const {
    return flag(flag_name) ? multiply(t, spread(name, axes_)) : t;
  }
  [[nodiscard]] Tensor shifted(const Tensor& t, const char* name, const char* flag_name) const {
    return flag(flag_name) ? add(t, spread(name, axes_)) : t;
  }

  [[nodiscard]] static Tensor squares(const Tensor& t) {
    return map(t, [](double e) { return e * e; });
  }
  [[nodiscard]] Tensor sum_of_squares() const { return sum(squares(x_), axes_); }
  [[nodiscard]] Tensor centered() const { return subtract(x_, mean(x_, axes_)); }
  [[nodiscard]] Tensor standardised(const Tensor& t, const Axes& axes) const {
    const Tensor c = subtract(t, mean(t, axes));
    const double eps = epsilon_;
    return divide(c, map(mean(squares(c), axes), [=](double v) { return std::sqrt(v + eps); }));
  }
  [[nodiscard]] Tensor root_mean_square(const Tensor& t) const {
    const double eps = epsilon_;
    return map(mean(squares(t), axes_), [=](double s) { return std::sqrt(s + eps); });
  }
  [[nodiscard]] Tensor rms(const Tensor& t) const { return divide(t, root_mean_square(t)); }
  [[nodiscard]] Tensor band_root(const Tensor& t) const {
    const double eps = epsilon_;
    return map(root_mean_square(t), [=](double r) { return std::max(r, eps); });
  }

  [[nodiscard]] Tensor band(const Tensor& t) const {
    const double w = number("max_band_width", 0.1);
    const double f = (1 - w) + w * logistic(5 * weight("band_param").v.at(0));
    return map(divide(t, band_root(t)), [=](double e) { return e * f; });
  }

  [[nodiscard]] Tensor adaptive_band(const Tensor& t) const {
    const double w = number("max_band_width", 0.1);
    const Tensor r = band_root(t);
    const Tensor &kernel = weight("band_dense/kernel"), &bias = weight("band_dense/bias");
    // f is laid along the normalised axes; a single value stands for all of them.
    Extents shape(t.shape.size(), 1);
    shape[0] = t.shape[0];
    if (kernel.size() != 1)
      for (const size_t a : axes_) shape[a] = t.shape[a];
    Tensor f(shape);
    const size_t width = kernel.v.size(), per_element = r.v.size() / static_cast<size_t>(t.dim(0));
    for (size_t b = 0; b < static_cast<size_t>(t.dim(0)); ++b) {
      double m = 0;
      for (size_t i = 0; i < per_element; ++i) m += r.v[b * per_element + i];
      const double l = std::log(m / static_cast<double>(per_element));
      for (size_t i = 0; i < width; ++i)
        f.v[b * width + i] = (1 - w) + w * logistic(5 * (l * kernel.v[i] + bias.v[i]));
    }
    return multiply(divide(t, r), f);
  }

  [[nodiscard]] Tensor band_logit() const {
    const double w = number("max_band_width", 0.01), eps = epsilon_;
    const Tensor length =
        map(sum_of_squares(), [=](double s) { return std::sqrt(std::max(s, eps)); });
    const std::string inner = site_.substr(site_.rfind('/') + 1) + "_layer_norm";
    const Axes last{length.axis(-1)};
    Extents shape(length.shape.size(), 1);
    shape.back() = length.dim(-1);
    const Tensor u =
        add(multiply(standardised(length, last), reshape(weight(inner + "/gamma"), shape)),
            reshape(weight(inner + "/beta"), shape));
    return multiply(divide(x_, length),
                    map(u, [=](double e) { return (1 - w) + w * (std::tanh(4 * e) + 1) / 2; }));
  }

  [[nodiscard]] Tensor global_response() const {
    const double eps = number("eps", epsilon_);
    Axes middle;
    for (size_t a = 1; a + 1 < x_.shape.size(); ++a) middle.push_back(a);
    const Tensor n = map(sum(squares(x_), middle), [=](double s) { return std::sqrt(s + eps); });
    const Tensor g = divide(n, map(mean(n, {x_.axis(-1)}), [=](double m) { return m + eps; }));
    Tensor out = add(x_, multiply(spread("gamma", {x_.axis(-1)}), multiply(x_, g)));
    return flag("use_beta") ? add(out, spread("beta", {x_.axis(-1)})) : out;
  }

  Tensor batch(bool full) {
    const char* const variance_name = full ? "moving_variance" : "running_var";
    Axes others;
    for (size_t a = 0; a < x_.shape.size(); ++a)
      if (a != axes_[0]) others.push_back(a);
    Tensor variance = spread(variance_name, axes_), average;
    if (full) average = spread("moving_mean", axes_);
    if (run_.problem.training) {
      const double momentum = number("momentum", 0.99);
      const Tensor m = mean(x_, others), v = mean(squares(subtract(x_, m)), others);
      const auto move = [&](const char* name, const Tensor& old, const Tensor& now) {
        Tensor moved =
            zip(old, now, [=](double a, double b) { return momentum * a + (1 - momentum) * b; });
        run_.answer.statistics[site_ + "/" + name] = reshape(moved, {moved.size()});
      };
      if (full) move("moving_mean", average, m);
      move(variance_name, variance, v);
      variance = v;
      average = m;
    }
    const double eps = epsilon_;
    Tensor t = full ? subtract(x_, average) : x_;
    t = divide(t, map(variance, [=](double v) { return std::sqrt(v + eps); }));
    t = scaled(t, "gamma", full ? "scale" : "use_scale");
    return full ? shifted(t, "beta", "center") : t;
  }

  Run& run_;
  std::string site_;
  const Json& options_;
  const Tensor& x_;
  Axes axes_{};
  double epsilon_ = 1e-6;
};

}  // namespace

Tensor norm(Run& run, const std::string& site, const std::string& type, const Json& options,
            const Tensor& x) {
  return type.empty() ? x : Norm(run, site, options, x).apply(type);
}

Tensor qk_norm(Run& run, const std::string& site, const Tensor& x) {
  return norm(run, site, run.text("qk_norm_type", ""), run.options("qk_norm_kwargs"), x);
}

}  // namespace attn::oracle
