// SPDX-License-Identifier: Apache-2.0
//
// Every operator of ops.def: what has no entry here is run with its default attributes and tensors of one shape.
//
// NaN and infinity do not vanish in an operator. For each operator, and each kind of those that have kinds: one
// element of one input becomes NaN or an infinity, and
// - outputs and gradients have NaN and infinities at the same places at every level and in both dtypes;
// - what depends on the element, as moving it by finite steps shows, is NaN where it is NaN: outputs on inputs,
//   gradients on inputs and on the gradient of the output.
// Where an element is not used it is not passed on: the side of a select that is not taken, dropped elements,
// products that skip zeros. The gradient of a maximum goes to the NaN, as to the largest.
#include <set>
#include <span>

#include "core/kinds/kinds.hpp"
#include "core/ops/op_test.hpp"

using namespace attn;
using namespace attn::ops;
using namespace attn::ops::testing;

namespace {

using A = ActivationKind;
using N = NormKind;

struct Subject {
  std::string name;
  Trial trial;
  bool plain = false;  // without an entry
};

Trial with(const attn_op& op, std::vector<Attribute> attrs, std::vector<std::optional<Values>> in) {
  Trial t{op};
  t.attrs = std::move(attrs);
  t.in = std::move(in);
  return t;
}

int64_t number(auto kind) { return static_cast<int64_t>(kind); }

void add_activations(std::vector<Subject>& to) {
  const auto put = [&](A kind, const Reals& constants, int64_t axis = -1,
                       std::vector<std::optional<Values>> weights = {}) {
    std::vector<std::optional<Values>> in{uniform({3, 19}, -4, 4)};
    in.insert(in.end(), weights.begin(), weights.end());
    to.push_back({"activation " + std::to_string(number(kind)),
                  with(op_activation(), {number(kind), constants, axis}, std::move(in))});
  };
  for (int k = 0; k < number(A::xatlu); ++k) {
    const A kind = static_cast<A>(k);
    Reals constants;
    if (kind == A::relu) constants = {INFINITY, 0, 0};
    if (kind == A::relu_k) constants = {3};
    if (kind == A::saturated_mish) constants = {3, 0.5};
    if (kind == A::golu) constants = {1, 1, 1};
    put(kind, constants);
  }
  for (const Reals& constants : {Reals{6, 0, 0}, Reals{INFINITY, 0.2, 0}, Reals{1.5, 0.1, 0.4}})
    put(A::relu, constants);
  for (const double k : {1.0, 2.0}) put(A::relu_k, {k});
  for (const A kind : {A::xatlu, A::xgelu, A::xsilu}) put(kind, {}, -1, {filled({1}, 0.3)});
  put(A::differentiable_step, {}, -1, {filled({1}, 1.5), filled({1}, 0.2)});
  put(A::differentiable_step, {}, -1, {uniform({19}, 1, 2, 2), uniform({19}, -1, 1, 3)});
  for (const int64_t axis : {-1, -2})
    for (const A kind : {A::softmax, A::log_softmax, A::squash})
      put(kind, kind == A::squash ? Reals{1e-3} : Reals{}, axis);
}

void add_norms(std::vector<Subject>& to) {
  const Values x = uniform({3, 4, 19}, -2, 3), scalar = filled({}, 0.4);
  const Values n = uniform({19}, 0.5, 1.5, 2), m = uniform({19}, -1, 1, 3);
  const auto put = [&](N kind, double constant, std::vector<std::optional<Values>> weights,
                       bool training = false, const Axes& axes = {-1}) {
    weights.insert(weights.begin(), x);
    Trial t = with(op_norm(), {number(kind), axes, 1e-3, constant}, std::move(weights));
    t.training = training;
    to.push_back({"norm " + std::to_string(number(kind)), std::move(t)});
  };
  put(N::layer, 0, {n, m});
  put(N::layer, 0, {}, false, {-2, -1});
  put(N::rms, 0, {n});
  put(N::rms, 0, {}, false, {-2});
  put(N::zero_centered_rms, 0, {n});
  put(N::band_rms, 0.3, {scalar});
  put(N::zero_centered_band_rms, 0.3, {scalar});
  for (const N kind : {N::adaptive_band_rms, N::zero_centered_adaptive_band_rms})
    put(kind, 0.3, {uniform({1, 19}, -1, 1, 4), uniform({19}, -0.3, 0.3, 5)});
  put(N::band_logit, 0.3, {filled({1}, 1.2), filled({1}, 0.1)});
  put(N::band_logit, 0.3, {uniform({19}, 0.5, 1.5, 2), m}, false, {-2});
  put(N::logit, 0.4, {});
  put(N::max_logit, 0, {});
  put(N::global_response, 0, {uniform({1, 1, 19}, -1, 1, 2), uniform({1, 1, 19}, -1, 1, 3)});
  put(N::dynamic_tanh, 0, {n, m, scalar});
  put(N::energy_layer, 0, {filled({1}, 1.2), m});
  for (const bool training : {false, true}) {
    put(N::batch, 0.9, {n, m, m, n}, training);
    put(N::bias_free_batch, 0.9, {n, std::nullopt, std::nullopt, n}, training);
  }
}

// Attention and probabilities have tests of their own: rows of scores, where -infinity masks. linear is a product of
// matrices whose packed weights the engine keeps: tests/properties/ranges_test.cpp. Comparisons give bools:
// elementwise_test.cpp.
const std::set<std::string> kElsewhere{
    "attention", "sharded_attention", "probability", "linear",   "fft",
    "less",      "less_equal",        "equal",       "not_equal"};
std::vector<Subject> subjects() {
  std::vector<Subject> all;
  add_activations(all);
  add_norms(all);
  const auto put = [&](const attn_op& op, std::vector<Attribute> attrs,
                       std::vector<std::optional<Values>> in) {
    all.push_back({op.name, with(op, std::move(attrs), std::move(in))});
  };
  const Values x = uniform({3, 19}, 0.2, 3), y = uniform({3, 19}, 0.3, 2, 2);
  put(op_affine(), {2.5, -0.75}, {x});
  put(op_dropout(), {0.3}, {x});
  put(op_convert(), {int64_t{ATTN_F32}}, {x});
  put(op_concat(), {int64_t{1}}, {x, y});
  put(op_select(), {}, {Values{{3, 1}, {1, 0, 1}, ATTN_BOOL}, x, y});
  put(op_take(), {}, {x, Values{{2, 2}, {2, 0, 2, 1}, ATTN_I32}});
  for (const int64_t axis : {0, 1}) put(op_cumsum(), {axis}, {x});
  for (const Axes& axes : {Axes{0}, Axes{1}, Axes{}}) {
    for (const attn_op* op : {&op_max(), &op_mean(), &op_sum(), &op_mean_max()})
      put(*op, {axes}, {uniform({5, 70}, -3, 3)});
    put(op_mean_max(), {axes}, {uniform({5, 70}, -3, 3), uniform({5, 70}, 0.5, 2, 2)});
  }
  for (const bool skip : {false, true})
    put(op_matmul(), {false, true, 0.75, skip},
        {uniform({2, 5, 19}), uniform({2, 18, 19}, -1, 1, 2)});
  for (const Axes& strides : {Axes{1, 1}, Axes{2, 2}}) {
    put(op_conv2d(), {strides}, {uniform({1, 6, 7, 3}), uniform({3, 3, 3, 18}, -1, 1, 2)});
    put(op_depthwise_conv2d(), {strides},
        {uniform({1, 6, 7, 18}), uniform({3, 3, 18, 1}, -1, 1, 2)});
  }
  put(op_rope(), {10000.0, int64_t{8}, int64_t{3}}, {uniform({1, 2, 5, 10})});
  put(op_rotary_embedding(),
      {int64_t{1}, 2.0, 0.0, 1.0, 0.0, 0.0, int64_t{1}, Reals{}, Reals{}, Axes{}, int64_t{0}, 100.0,
       int64_t{8}, int64_t{3}, false, true},
      {uniform({1, 2, 5, 10})});
  put(op_penalty(), {number(RegularizerKind::l1_l2), 0.3, 0.2, 0.0, 2.0}, {x});
  for (const auto kind : {RegularizerKind::orthogonal_rows, RegularizerKind::orthogonal_columns})
    put(op_penalty(), {number(kind), 0.0, 0.0, 0.7, 2.0}, {uniform({4, 6})});

  // The others, with as many tensors as they require.
  std::set<std::string> named = kElsewhere;
  for (const Subject& s : all) named.insert(s.name.substr(0, s.name.find(' ')));
  size_t n = 0;
  const attn_op* const* ops = core_ops(&n);
  for (const attn_op* op : std::span(ops, n)) {
    if (named.contains(op->name)) continue;
    all.push_back({op->name, Trial{*op}, true});
    for (unsigned i = 0; op->in_required >> i & 1u; ++i)
      all.back().trial.in.emplace_back(uniform({3, 19}, 0.2, 2.5, i + 1));
  }

  for (const attn_op* op :
       {&op_add(), &op_sub(), &op_mul(), &op_div(), &op_maximum(), &op_minimum(), &op_pow()})
    put(*op, {}, {x, uniform({1, 1}, 0.5, 2)});
  put(op_mul(), {}, {x, y, uniform({19}, 1, 2, 3)});
  return all;
}

// Its vector code multiplies padding too, so that more is NaN than the formula says, never less.
const std::set<std::string> kMultipliesPadding{"conv2d"};
const std::set<std::string> kGradientToTheLargest{"max", "maximum", "minimum", "mean_max"};

char sort_of(double x) { return std::isnan(x) ? 'n' : std::isinf(x) ? (x > 0 ? '+' : '-') : '.'; }

std::string pattern(const std::vector<double>& x) {
  std::string s;
  for (const double e : x) s += sort_of(e);
  return s;
}

// All that a run gives, as one list.
std::vector<double> flat(const Outcome& o) {
  std::vector<double> all;
  for (const Values& v : o.out) all.insert(all.end(), v.x.begin(), v.x.end());
  for (const auto& d : o.din) all.insert(all.end(), d.begin(), d.end());
  return all;
}

// `element` of what t reads: of an input, or of dout.
class Probe {
 public:
  Probe(const Subject& s, size_t input, size_t element)
      : trial_(s.trial), name_(s.name), input_(input), element_(element) {
    const Outcome o = trial_.run({});
    dout_ = uniform({static_cast<int64_t>(o.out[0].x.size())}, 0.5, 1, 99).x;
    vjp_ = trial_.has_vjp();
  }
  static constexpr size_t kCotangent = 99;

  void examine() {
    const std::vector<double> still = flat(run({}));
    std::vector<bool> depends(still.size());
    for (const double step : {0.7, -0.7, 2.3, -2.3, 900.0, -900.0}) {
      const double before = place();
      place() = before + step;
      const std::vector<double> moved = flat(run({}));
      place() = before;
      for (size_t i = 0; i < still.size(); ++i) depends[i] = depends[i] || moved[i] != still[i];
    }
    for (const double value : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
      if (input_ == kCotangent && !std::isnan(value)) continue;
      const double before = place();
      place() = value;
      compare(value, depends);
      place() = before;
    }
  }

 private:
  double& place() {
    return input_ == kCotangent ? dout_[element_] : trial_.in[input_]->x[element_];
  }
  [[nodiscard]] Outcome run(const Conditions& how) const {
    return trial_.run(how, vjp_ ? &dout_ : nullptr);
  }
  void compare(double value, const std::vector<bool>& depends) {
    cpu::set_level(cpu::Level::reference);
    const std::vector<double> expected = flat(run({}));
    INFO(name_ << ", " << (input_ == kCotangent ? "dout" : "input " + std::to_string(input_))
               << ", element " << element_ << " is " << value);
    if (std::isnan(value)) {
      std::string lost;
      const size_t count = kGradientToTheLargest.contains(name_) && input_ != kCotangent
                               ? dout_.size()
                               : expected.size();
      for (size_t i = 0; i < count; ++i)
        if (depends[i] && !std::isnan(expected[i])) lost += " " + std::to_string(i);
      INFO("numbers that depend on it");
      CHECK(lost == "");
    }
    for (const cpu::Level level : cpu::available())
      for (const int32_t dtype : {ATTN_F32, ATTN_F64}) {
        cpu::set_level(level);
        INFO(cpu::name(level) << (dtype == ATTN_F64 ? ", double" : ", float"));
        std::string found = pattern(flat(run({dtype})));
        const std::string formula = pattern(expected);
        if (kMultipliesPadding.contains(name_))
          for (size_t i = 0; i < found.size(); ++i)
            if (found[i] == 'n') found[i] = formula[i];
        CHECK(found == formula);
      }
    cpu::set_level(cpu::Level::reference);
  }

  Trial trial_;
  std::string name_;
  size_t input_, element_;
  std::vector<double> dout_{};
  bool vjp_ = false;
};

}  // namespace

TEST_CASE("operators: without an entry, examined with tensors of one shape") {
  size_t n = 0;
  for (const Subject& s : subjects())
    if (s.plain) s.trial.examine(), ++n;
  CHECK(n >= 10);
}

TEST_CASE("operators: NaN and infinity do not vanish, at every level and in both dtypes") {
  const cpu::Level before = cpu::level();
  cpu::set_level(cpu::Level::reference);
  for (const Subject& s : subjects()) {
    for (size_t i = 0; i < s.trial.in.size(); ++i) {
      if (!s.trial.in[i] || s.trial.in[i]->dtype != 0) continue;
      const size_t n = s.trial.in[i]->x.size();
      for (const size_t element : std::set<size_t>{0, n / 2, n - 1}) Probe(s, i, element).examine();
    }
    if (!s.trial.has_vjp()) continue;
    const size_t n = s.trial.run({}).out[0].x.size();
    for (const size_t element : std::set<size_t>{0, n / 2, n - 1})
      Probe(s, Probe::kCotangent, element).examine();
  }
  cpu::set_level(before);
}
