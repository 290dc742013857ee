// SPDX-License-Identifier: Apache-2.0
#include "host/cli/activation_case.hpp"

#include <attn/error.hpp>
#include <attn/sdk/plugin.hpp>

#include <mutex>

#include "core/engine/op_ref.hpp"
#include "host/library/layer/layer.hpp"

namespace attn::cli {

namespace {

struct Params {
  std::optional<std::string> activation;
  sdk::ComponentSpec args;
};

struct ActivationLayer : sdk::Layer<Params> {
  static constexpr sdk::TypeInfo info{.id = "activation",
                                      .class_name = "ActivationFunction",
                                      .description = "One activation function.",
                                      .use_case = "Comparing it with known values.",
                                      .input_shape = "any",
                                      .complexity = "O(n)",
                                      .paper = "none"};

  static void describe(sdk::Schema<Params>& s) {
    s.field("activation", &Params::activation).activation().doc("its name");
    s.field("args", &Params::args).options("activation").doc("its options");
    s.input("input", {"a, b, c"}).doc("any numbers");
    s.output("output", "a, b, c");
  }

  sdk::Activation function;

  void build(sdk::Builder& b) {
    const attn_shape& in = b.input(0);
    function =
        b.activation("", p.activation, p.args, std::span(in.dim, static_cast<size_t>(in.rank)));
  }
  void forward(sdk::Call& c) const { c.output(0, sdk::activation(c, function, c.input(0))); }
};

// What a loader does for a plugin: finds the operators that this file calls.
void resolve_operators() {
  static std::once_flag once;
  std::call_once(once, [] {
    for (const attn_op_use* use : sdk::detail::used_operators()) {
      const attn_op_ref* op = engine::find_core_op(use->name, use->version);
      if (!op) throw Failure(std::string("the library has no operator '") + use->name + "'");
      *use->slot = op;
    }
  });
}

}  // namespace

std::unique_ptr<Attention> make_activation(const Json& config) {
  resolve_operators();
  const Json* name = config.find("activation");
  const Json* args = config.find("args");
  if (!name || !(name->is_string() || name->is_null()))
    throw InvalidArgument("'activation' must be a name or null");
  const std::string name_text = name->is_string() ? name->as_string() : "";
  const std::string args_text = args && !args->is_null() ? args->dump() : "";
  attn_value values[2] = {sdk::detail::null_value(), sdk::detail::null_value()};
  if (name->is_string())
    values[0] = {.kind = ATTN_VALUE_STR, .count = 0, .u = {.s = name_text.c_str()}};
  if (!args_text.empty())
    values[1] = {.kind = ATTN_VALUE_OBJECT, .count = 0, .u = {.s = args_text.c_str()}};
  host::TypeSource source;
  source.type = sdk::detail::TypeTable<ActivationLayer>::get();
  return std::make_unique<host::PluginLayer>(std::move(source), values, config, "activation");
}

}  // namespace attn::cli
