// SPDX-License-Identifier: Apache-2.0
//
// For tests: runs one operator by itself and examines it.
//
//   Trial t{op_norm()};
//   t.attrs = {int64_t{1}, Axes{-1}, 1e-6, 0.0};
//   t.in = {uniform({2, 3, 8}), uniform({8})};      // trailing inputs may be left out
//   t.examine();
//
// examine() checks, with Catch2:
// - outputs are the same, bit for bit, for 1 and 5 workers, whatever the order of the pieces;
// - strided inputs, outputs and gradients give what dense ones give, and nothing between the elements
//   of a strided tensor is touched; gradients are added to what is there;
// - float at every available level agrees with double;
// - the vjp agrees with central differences in double, for each input that may have a gradient.
#pragma once

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <variant>
#include <vector>

#include "core/cpu/level.hpp"
#include "core/engine/op_ref.hpp"
#include "core/ops/op.hpp"
#include "core/ops/ops.hpp"
#include "core/random/philox.hpp"

namespace attn::ops::testing {

using Shape = std::vector<int64_t>;
using Axes = std::vector<int64_t>;
using Reals = std::vector<double>;
using Attribute = std::variant<std::monostate, bool, int64_t, double, Axes, Reals, std::string>;

// Contents of a tensor in row-major order. dtype 0: the kind that the operator is run in.
struct Values {
  Shape shape{};
  std::vector<double> x{};
  int32_t dtype = 0;
  bool gradient = true;  // compare its gradient with central differences
};

inline int64_t count(const Shape& s) {
  int64_t n = 1;
  for (const int64_t e : s) n *= e;
  return n;
}

// Numbers that float holds exactly.
inline Values uniform(const Shape& shape, double low = -1, double high = 1, unsigned seed = 1) {
  std::mt19937 gen(seed * 7919u + static_cast<unsigned>(count(shape)));
  std::uniform_real_distribution<double> d(low, high);
  Values v{shape, std::vector<double>(static_cast<size_t>(count(shape)))};
  for (double& x : v.x) x = static_cast<double>(static_cast<float>(d(gen)));
  return v;
}
inline Values filled(const Shape& shape, double value) {
  return {shape, std::vector<double>(static_cast<size_t>(count(shape)), value)};
}

// Pieces in a scrambled order, given to `workers` workers in turn, all on this thread.
class ScrambledParallel final : public Parallel {
 public:
  explicit ScrambledParallel(int workers) : workers_(workers) {}
  [[nodiscard]] int concurrency() const noexcept override { return workers_; }
  void run(int64_t n, int64_t grain, Body body, void* user) override {
    const int64_t pieces = (n + grain - 1) / grain;
    for (int64_t k = 0; k < pieces; ++k) {
      const int64_t at = workers_ == 1 ? k : pieces - 1 - k;
      body(user, at * grain, std::min(n, (at + 1) * grain), static_cast<int>(k % workers_));
    }
  }
  void* scratch(size_t bytes) override {
    memory_.emplace_back(new unsigned char[bytes + 128]);
    std::memset(memory_.back().get(), 0xff, bytes + 128);  // NaN
    const auto at = reinterpret_cast<uintptr_t>(memory_.back().get());
    return reinterpret_cast<void*>((at + 63) / 64 * 64);
  }

 private:
  int workers_;
  std::vector<std::unique_ptr<unsigned char[]>> memory_{};
};

// Where the elements lie: one after another; with gaps between rows; with permuted axes and gaps.
enum class Layout { dense, padded, permuted };

// A tensor with memory. The gaps must stay as they are.
class Block {
 public:
  Block(const Values& v, int32_t dtype, Layout layout)
      : Block(v.shape, v.dtype ? v.dtype : dtype, layout) {
    for (size_t i = 0; i < v.x.size(); ++i) set(static_cast<int64_t>(i), v.x[i]);
  }
  Block(const Shape& shape, int32_t dtype, Layout layout) {
    tensor.view.dtype = dtype;
    tensor.view.rank = static_cast<int32_t>(shape.size());
    std::copy(shape.begin(), shape.end(), tensor.view.shape);
    set_dense_strides(tensor.view);
    int64_t total = std::max<int64_t>(1, count(shape));
    if (layout != Layout::dense) {
      int64_t step = layout == Layout::padded ? 1 : 2;
      for (size_t k = 0; k < shape.size(); ++k) {
        size_t axis = shape.size() - 1 - k;
        if (layout == Layout::permuted) axis = shape.size() < 3 ? k : (k + 1) % shape.size();
        tensor.view.stride[axis] = step;
        step *= shape[axis] + 1;
      }
      total = step + 2;
    }
    memory.assign(static_cast<size_t>(total) * size(), 0x5a);
    tensor.view.data = memory.data();
    tensor.refs = 1;
  }
  [[nodiscard]] size_t size() const {
    switch (tensor.view.dtype) {
      case ATTN_F64:
      case ATTN_I64:
        return 8;
      case ATTN_F16:
      case ATTN_BF16:
        return 2;
      case ATTN_U8:
      case ATTN_BOOL:
        return 1;
      default:
        return 4;
    }
  }
  [[nodiscard]] int64_t offset(int64_t flat) const {
    int64_t o = 0;
    for (int d = tensor.view.rank - 1; d >= 0; --d) {
      o += flat % tensor.view.shape[d] * tensor.view.stride[d];
      flat /= tensor.view.shape[d];
    }
    return o;
  }
  [[nodiscard]] double get(int64_t flat) const {
    const int64_t o = offset(flat);
    switch (tensor.view.dtype) {
      case ATTN_F32:
        return static_cast<double>(data<float>(tensor.view)[o]);
      case ATTN_F64:
        return data<double>(tensor.view)[o];
      case ATTN_I32:
        return data<int32_t>(tensor.view)[o];
      case ATTN_I64:
        return static_cast<double>(data<int64_t>(tensor.view)[o]);
      case ATTN_U32:
        return data<uint32_t>(tensor.view)[o];
      case ATTN_F16:
      case ATTN_BF16:
        return data<uint16_t>(tensor.view)[o];  // the bits
      default:
        return data<uint8_t>(tensor.view)[o];
    }
  }
  void set(int64_t flat, double x) {
    const int64_t o = offset(flat);
    switch (tensor.view.dtype) {
      case ATTN_F32:
        data<float>(tensor.view)[o] = static_cast<float>(x);
        break;
      case ATTN_F64:
        data<double>(tensor.view)[o] = x;
        break;
      case ATTN_I32:
        data<int32_t>(tensor.view)[o] = static_cast<int32_t>(x);
        break;
      case ATTN_I64:
        data<int64_t>(tensor.view)[o] = static_cast<int64_t>(x);
        break;
      case ATTN_U32:
        data<uint32_t>(tensor.view)[o] = static_cast<uint32_t>(x);
        break;
      case ATTN_F16:
      case ATTN_BF16:
        data<uint16_t>(tensor.view)[o] = static_cast<uint16_t>(x);
        break;
      default:
        data<uint8_t>(tensor.view)[o] = static_cast<uint8_t>(x);
        break;
    }
  }
  [[nodiscard]] std::vector<double> all() const {
    std::vector<double> v(static_cast<size_t>(size_of(tensor.view)));
    for (size_t i = 0; i < v.size(); ++i) v[i] = get(static_cast<int64_t>(i));
    return v;
  }
  // True when the bytes between the elements still have their first contents.
  [[nodiscard]] bool gaps_untouched() const {
    std::vector<unsigned char> used(memory.size(), 0);
    for (int64_t i = 0; i < size_of(tensor.view); ++i)
      std::fill_n(used.begin() + offset(i) * static_cast<int64_t>(size()), size(), 1);
    for (size_t i = 0; i < memory.size(); ++i)
      if (!used[i] && memory[i] != 0x5a) return false;
    return true;
  }

  attn_tensor tensor{};
  std::vector<unsigned char> memory{};
};

struct Outcome {
  std::vector<Values> out{};  // shape empty and no x: not wanted
  std::vector<std::vector<double>> din{};
  bool clean = true;  // no gap was written to
};

struct Conditions {
  int32_t dtype = ATTN_F64;
  Layout layout = Layout::dense;
  int workers = 1;
};

class Trial {
 public:
  explicit Trial(const attn_op& op) : op_(&op) {}

  std::vector<Attribute> attrs{};
  std::vector<std::optional<Values>> in{};
  bool training = false;
  uint32_t wanted = 1;        // bit mask of outputs
  size_t differentiated = 0;  // the output whose gradient is examined
  double tolerance = 64;      // float against double: times eps32 times the largest value
  double grad_tolerance = 512;
  double difference_tolerance = 1e-6;  // vjp against central differences, relative
  uint64_t seed = 7;
  // Operators that choose the layout of their outputs, with contiguous elements, leave out `permuted`.
  std::vector<Layout> layouts{Layout::dense, Layout::padded, Layout::permuted};

  // Forward, and the vjp when there are weights for the sum of the output that is differentiated.
  [[nodiscard]] Outcome run(const Conditions& how,
                            const std::vector<double>* dout = nullptr) const {
    ScrambledParallel par(how.workers);
    struct Ctx : attn_ctx {
    } ctx;
    ctx.parallel = &par;
    std::vector<attn_value> values = attribute_values();
    std::vector<std::unique_ptr<Block>> inputs(op_->n_in), outputs(op_->n_out), grads(op_->n_in);
    std::vector<const attn_tensor*> in_p(op_->n_in, nullptr);
    std::vector<attn_tensor*> out_p(op_->n_out, nullptr);
    for (size_t i = 0; i < in.size(); ++i) {
      if (!in[i]) continue;
      inputs[i] = std::make_unique<Block>(*in[i], how.dtype, how.layout);
      in_p[i] = &inputs[i]->tensor;
    }
    std::vector<attn_tensor> prototypes(op_->n_out);
    std::vector<attn_view> saved(op_->n_saved);
    std::vector<attn_view*> saved_p;
    for (attn_view& v : saved) saved_p.push_back(&v);
    for (size_t i = 0; i < op_->n_out; ++i) {
      prototypes[i].view.stride[0] = ATTN_DENSE;
      out_p[i] = &prototypes[i];
    }
    attn_op_call c{};
    c.struct_size = sizeof c;
    c.flags =
        (training ? uint32_t{ATTN_OP_TRAINING} : 0u) | (dout ? uint32_t{ATTN_OP_RECORDING} : 0u);
    c.n_in = op_->n_in, c.n_out = op_->n_out, c.n_saved = op_->n_saved, c.n_attrs = op_->n_attrs;
    c.attrs = values.data();
    c.in = in_p.data();
    c.out = out_p.data();
    c.saved = dout ? saved_p.data() : nullptr;
    c.seed = seed, c.stream = 3;
    c.engine = engine::engine_table();
    c.ctx = &ctx;
    check(op_->shape, c);
    Outcome result;
    for (size_t i = 0; i < op_->n_out; ++i) {
      const attn_view& v = prototypes[i].view;
      outputs[i] = std::make_unique<Block>(Shape(v.shape, v.shape + v.rank), v.dtype, how.layout);
      out_p[i] = wanted >> i & 1u ? &outputs[i]->tensor : nullptr;
    }
    std::vector<std::vector<unsigned char>> saved_memory(saved.size());
    for (size_t i = 0; i < saved.size(); ++i) {
      saved_memory[i].resize(static_cast<size_t>(size_of(saved[i])) * 8 + 8);
      saved[i].data = saved_memory[i].data();
    }
    check(op_->forward, c);
    for (size_t i = 0; i < op_->n_out; ++i) {
      if (!out_p[i]) {
        result.out.push_back({});
        continue;
      }
      const attn_view& v = outputs[i]->tensor.view;
      result.out.push_back({Shape(v.shape, v.shape + v.rank), outputs[i]->all(), v.dtype});
      result.clean = result.clean && outputs[i]->gaps_untouched();
    }
    result.din.resize(op_->n_in);
    if (!dout) return result;
    REQUIRE(op_->vjp != nullptr);
    const Block g(Values{result.out[differentiated].shape, *dout}, how.dtype, how.layout);
    std::vector<const attn_view*> dout_p(op_->n_out, nullptr);
    dout_p[differentiated] = &g.tensor.view;
    std::vector<attn_view*> din_p(op_->n_in, nullptr);
    constexpr double kBefore = 0.5;  // gradients are added to this
    for (size_t i = 0; i < in.size(); ++i) {
      if (!differentiable(i)) continue;
      grads[i] = std::make_unique<Block>(filled(in[i]->shape, kBefore), how.dtype, how.layout);
      din_p[i] = &grads[i]->tensor.view;
    }
    c.dout = dout_p.data();
    c.din = din_p.data();
    check(op_->vjp, c);
    for (size_t i = 0; i < grads.size(); ++i) {
      if (!grads[i]) continue;
      result.din[i] = grads[i]->all();
      for (double& x : result.din[i]) x -= kBefore;
      result.clean = result.clean && grads[i]->gaps_untouched();
    }
    return result;
  }

  // The message of the refusal, or "" when the shapes are accepted.
  [[nodiscard]] std::string refusal() const {
    try {
      (void)run({});
    } catch (const sdk::Error& e) {
      return e.what();
    }
    return "";
  }

  [[nodiscard]] bool has_vjp() const { return op_->vjp != nullptr; }
  [[nodiscard]] bool differentiable(size_t i) const {
    return i < in.size() && in[i] && !(op_->in_const >> i & 1u) &&
           !(op_->flags & ATTN_OP_NO_GRAD) &&
           (in[i]->dtype == 0 || in[i]->dtype == ATTN_F32 || in[i]->dtype == ATTN_F64);
  }

  void examine() const {
    const cpu::Level before = cpu::level();
    cpu::set_level(cpu::Level::reference);
    const Outcome forward = run({});
    const bool grad = op_->vjp != nullptr;
    const std::vector<double> weights =
        uniform({static_cast<int64_t>(forward.out[differentiated].x.size())}, -1, 1, 99).x;
    const std::vector<double>* dout = grad ? &weights : nullptr;
    const Outcome ref = run({}, dout);
    for (const Layout layout : layouts)
      same(ref, run({ATTN_F64, layout, 5}, dout), 256 * 2.2e-16, 256 * 2.2e-16, "strided, double");
    if (grad) differences(ref, weights);
    for (const cpu::Level level : cpu::available()) {
      cpu::set_level(level);
      const std::string name = cpu::name(level);
      for (const Layout layout : layouts) {
        const Outcome one = run({ATTN_F32, layout, 1}, dout);
        const std::string what = name + ", layout " + std::to_string(static_cast<int>(layout));
        same(ref, one, tolerance * 1.2e-7, grad_tolerance * 1.2e-7, what);
        const Outcome five = run({ATTN_F32, layout, 5}, dout);
        INFO("bit for bit with 5 workers, " << what);
        for (size_t i = 0; i < one.out.size(); ++i) CHECK(identical(one.out[i].x, five.out[i].x));
        for (size_t i = 0; i < one.din.size(); ++i) CHECK(identical(one.din[i], five.din[i]));
      }
    }
    cpu::set_level(before);
  }

  // Largest |a - b| by largest |a| (or by 1e-3 of it where both are tiny).
  [[nodiscard]] static double distance(const std::vector<double>& a, const std::vector<double>& b,
                                       double least = 0) {
    double scale = std::max(least, 1e-30), worst = 0;
    for (const double x : a)
      if (std::isfinite(x)) scale = std::max(scale, std::abs(x));
    for (size_t i = 0; i < a.size(); ++i) {
      if (a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i]))) continue;
      const double d = std::abs(a[i] - b[i]);
      worst = std::isnan(d) ? INFINITY : std::max(worst, d);
    }
    return worst / scale;
  }

 private:
  static bool identical(const std::vector<double>& a, const std::vector<double>& b) {
    return a.size() == b.size() &&
           (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0);
  }

  void same(const Outcome& a, const Outcome& b, double tol, double grad_tol,
            const std::string& what) const {
    INFO(op_->name << ": " << what);
    CHECK(b.clean);
    for (size_t i = 0; i < a.out.size(); ++i) {
      REQUIRE(a.out[i].shape == b.out[i].shape);
      INFO("output " << i);
      const double error = distance(a.out[i].x, b.out[i].x);
      CHECK(error <= tol);
    }
    // Rounding of the 0.5 that gradients are added to is not an error: hence the least scale.
    for (size_t i = 0; i < a.din.size(); ++i) {
      INFO("gradient of input " << i);
      const double grad_error = distance(a.din[i], b.din[i], 0.5);
      CHECK(grad_error <= grad_tol);
    }
  }

  void differences(const Outcome& ref, const std::vector<double>& weights) const {
    const auto loss = [&](const Trial& t) {
      const Outcome o = t.run({});
      double sum = 0;
      for (size_t i = 0; i < weights.size(); ++i) sum += weights[i] * o.out[differentiated].x[i];
      return sum;
    };
    for (size_t i = 0; i < in.size(); ++i) {
      if (!differentiable(i) || !in[i]->gradient) continue;
      Trial t = *this;
      const size_t n = in[i]->x.size();
      const size_t step = std::max<size_t>(1, n / (n > 1000 ? 6 : 60));
      double worst = 0, largest = 1e-3;
      for (size_t k = 0; k < n; k += step) {
        const double x = in[i]->x[k], h = 1e-5 * std::max(1.0, std::abs(x));
        t.in[i]->x[k] = x + h;
        const double up = loss(t);
        t.in[i]->x[k] = x - h;
        const double down = loss(t);
        t.in[i]->x[k] = x;
        const double d = (up - down) / (2 * h);
        worst = std::max(worst, std::abs(d - ref.din[i][k]));
        largest = std::max(largest, std::abs(d));
      }
      INFO(op_->name << ": gradient of input " << i << " against central differences");
      const double difference_error = worst / largest;
      CHECK(difference_error <= difference_tolerance);
    }
  }

  static void check(attn_op_fn f, const attn_op_call& c) {
    attn_error e;
    sdk::check(f(&c, &e), e);
  }

  std::vector<attn_value> attribute_values() const {
    std::vector<attn_value> v;
    for (size_t i = 0; i < op_->n_attrs; ++i) {
      attn_value x = op_->attrs[i]->def;
      if (i < attrs.size()) {
        const Attribute& a = attrs[i];
        if (const auto* b = std::get_if<bool>(&a)) x = sdk::detail::bool_value(*b);
        if (const auto* n = std::get_if<int64_t>(&a)) x = sdk::detail::int_value(*n);
        if (const auto* f = std::get_if<double>(&a)) x = sdk::detail::real_value(*f);
        if (const auto* l = std::get_if<Axes>(&a))
          x = sdk::detail::ints_value(l->data(), l->size());
        if (const auto* l = std::get_if<Reals>(&a))
          x = sdk::detail::reals_value(l->data(), l->size());
        if (const auto* t = std::get_if<std::string>(&a)) x = sdk::detail::text_value(t->c_str());
      }
      v.push_back(x);
    }
    return v;
  }

  const attn_op* op_;
};

}  // namespace attn::ops::testing
