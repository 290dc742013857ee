// SPDX-License-Identifier: Apache-2.0
#include <attn/error.hpp>
#include <attn/factory.hpp>

#include "core/schema/input_names.hpp"
#include "host/cli/activation_case.hpp"
#include "host/cli/call_arguments.hpp"
#include "host/cli/log_sink.hpp"
#include "host/cli/types.hpp"
#include "host/cli/verify.hpp"

namespace attn::cli {

namespace {

constexpr const char* kActivations = "activation";  // these cases are functions, not layers

// Tables that every implementation computes for itself.
bool is_not_stored(const std::string& weight) {
  return weight.starts_with("rope/") || weight.find("/rope/") != std::string::npos ||
         weight.starts_with("dft_matrix_");
}

struct Tolerances {
  double output, gradient;
};

Tolerances tolerances(const GoldenCase& golden, const VerifyOptions& options) {
  // float64 holds what the inputs and references, stored in float32, allow.
  if (options.dtype == ATTN_F64) return {1e-6, 5e-5};
  return {golden.output_tolerance.value_or(1e-5), golden.gradient_tolerance.value_or(5e-4)};
}

class Run {
 public:
  Run(const GoldenCase& golden, const VerifyOptions& options)
      : golden_(golden), options_(options), limits_(tolerances(golden, options)) {}

  std::vector<Difference> differences() {
    make_layer();
    call();
    if (!golden_.chunks.empty()) verify_chunks(golden_, *layer_, options_, limits_.output, found_);
    return std::move(found_);
  }

 private:
  [[nodiscard]] bool elementwise() const { return golden_.type == kActivations; }

  void wrong(const std::string& tensor, const std::string& text) {
    found_.push_back({tensor, "", 0, 0, 0, 0, tensor + ": " + text});
  }
  void compare(const std::string& tensor, const ConstView& got, double tolerance,
               double least_scale = 0) {
    const Array expected = golden_.file.read(tensor);
    const auto difference =
        elementwise() ? compare_elements(tensor, got, expected.view(),
                                         options_.dtype == ATTN_F64 ? 1e-6 : 1e-5, 1e-6)
                      : compare_scaled(tensor, got, expected.view(), tolerance, least_scale);
    if (difference) found_.push_back(*difference);
  }
  // A gradient that the layer does not give is zero.
  void compare_gradient(const std::string& tensor, const ConstView* got, double least_scale) {
    if (got) return compare(tensor, *got, limits_.gradient, least_scale);
    const Array zeros(ATTN_F32, Shape(golden_.file.entry(tensor).shape));
    compare(tensor, zeros.view(), limits_.gradient, least_scale);
  }

  void make_layer() {
    const QuietLog quiet;
    layer_ = elementwise() ? make_activation(golden_.config)
                           : create_attention_layer(golden_.type, golden_.config);
    std::vector<std::optional<Shape>> shapes(layer_->type().n_inputs);
    for (const std::string& name : schema::input_names(layer_->type()))
      if (const std::string tensor = "input/" + name; golden_.has(tensor))
        shapes[schema::find_input(layer_->type(), name)] = Shape(golden_.file.entry(tensor).shape);
    layer_->build(shapes, {.dtype = options_.dtype, .seed = 0});
    set_weights();
  }

  void set_weights() {
    const std::vector<WeightInfo> declared = layer_->weights();
    for (const WeightInfo& w : declared) {
      const std::string tensor = "weight/" + w.name;
      if (w.not_stored) continue;
      if (!golden_.has(tensor)) {
        wrong(tensor, "the layer has this weight, the file does not");
        continue;
      }
      const Array value = golden_.file.read(tensor);
      if (dtype_is_floating(value.dtype()) || value.dtype() == layer_->weight(w.name).dtype)
        layer_->set_weight(w.name, value.view());
      else
        layer_->set_weight(w.name, value.astype(ATTN_F64).view());
    }
    for (const std::string& name : golden_.names("weight")) {
      bool known = is_not_stored(name);
      for (const WeightInfo& w : declared) known = known || w.name == name;
      if (!known) wrong("weight/" + name, "the layer has no such weight");
    }
  }

  void call() {
    std::vector<Array> arrays;
    std::vector<Input> inputs;
    arrays.reserve(golden_.inputs.size());
    for (const std::string& name : golden_.inputs) {
      arrays.push_back(golden_input(golden_, *layer_, name));
      inputs.emplace_back(name, arrays.back().view());
    }
    const CallArguments arguments(golden_.call);
    const bool record = options_.gradients && !golden_.names("cotangent").empty();
    Context ctx(options_.dtype);
    layer_->forward(ctx, inputs,
                    CallOptions{.record = record, .seed = 0, .arguments = arguments.view()});
    for (const std::string& name : golden_.outputs) {
      if (const auto view = ctx.output(name))
        compare("output/" + name, *view, limits_.output);
      else
        wrong("output/" + name, "the call gives no such output");
    }
    if (record) backward(ctx);
    layer_->commit(ctx);
    for (const std::string& name : golden_.names("weight_after"))
      compare("weight_after/" + name, layer_->weight(name), limits_.output);
  }

  void backward(Context& ctx) {
    std::vector<Array> arrays;
    std::vector<Input> cotangents;
    const std::vector<std::string> names = golden_.names("cotangent");
    arrays.reserve(names.size());
    for (const std::string& name : names) {
      arrays.push_back(golden_.file.read("cotangent/" + name).astype(options_.dtype));
      cotangents.emplace_back(name, arrays.back().view());
    }
    Gradients gradients(*layer_);
    layer_->backward(ctx, cotangents, gradients);
    const double least = 1e-3 * golden_.largest_gradient();
    for (const std::string& name : golden_.names("grad_input")) {
      const auto view = ctx.input_gradient(name);
      compare_gradient("grad_input/" + name, view ? &*view : nullptr, least);
    }
    for (const std::string& name : golden_.names("grad_weight")) {
      if (is_not_stored(name)) continue;
      const Array* g = gradients.weight(name);
      const ConstView view = g ? g->view() : ConstView{};
      compare_gradient("grad_weight/" + name, g ? &view : nullptr, least);
    }
  }

  const GoldenCase& golden_;
  const VerifyOptions& options_;
  Tolerances limits_;
  std::unique_ptr<Attention> layer_;
  std::vector<Difference> found_;
};

}  // namespace

Array golden_input(const GoldenCase& golden, const Attention& layer, const std::string& name) {
  Array a = golden.file.read("input/" + name);
  const attn_type& type = layer.type();
  for (uint32_t i = 0; i < type.n_inputs; ++i)
    if (schema::is_called(*type.inputs[i], name) && (type.inputs[i]->flags & ATTN_INPUT_MASK))
      return a;
  if (!dtype_is_floating(a.dtype()) || a.dtype() == layer.dtype()) return a;
  return a.astype(layer.dtype());
}

void verify_golden(const GoldenCase& golden, const VerifyOptions& options, VerifyReport& report) {
  if (golden.type != kActivations && !type_is_loaded(golden.type)) return report.skip(golden.type);
  try {
    const std::vector<Difference> differences = Run(golden, options).differences();
    if (differences.empty())
      report.pass();
    else
      report.fail(golden.title(), golden.path, differences);
  } catch (const std::exception& e) {
    report.fail(golden.title(), golden.path, e.what());
  }
}

}  // namespace attn::cli
