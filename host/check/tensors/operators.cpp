// SPDX-License-Identifier: Apache-2.0
//
// Operators that the plugin brings, run with their tensors between guard pages.
#include <attn/error.hpp>

#include "host/check/subject.hpp"
#include "host/check/tensors/lists.hpp"
#include "host/check/tensors/operator_guard.hpp"

namespace attn::check {
namespace {

// Calls with everything that operators may be asked for: results alone, and with gradients.
std::vector<NamedOutput> run_all(Subject& s, const std::string& what) {
  std::vector<NamedOutput> all;
  std::vector<Json> configs = s.configs(static_cast<size_t>(s.times(40, 8)));
  configs.insert(configs.begin(), s.config());
  for (const Json& config : configs)
    for (const int64_t length : {7, 16, 1}) {
      const auto sample = s.find_sample(config, {.length = length});
      if (!sample) continue;
      const auto layer = s.layer(*sample);
      s.doing("a call with " + what + ", " + sample->text());
      const cli::CallArguments arguments = sample->call_arguments();
      Context ctx;
      layer->forward(ctx, sample->inputs(),
                     {.training = true, .record = true, .seed = 3, .arguments = arguments.view()});
      std::vector<Array> arrays;
      std::vector<Input> cotangents;
      const attn_type& t = s.type();
      arrays.reserve(t.n_outputs);
      for (uint32_t i = 0; i < t.n_outputs; ++i)
        if (const auto out = ctx.output(t.outputs[i]->name); out && dtype_is_floating(out->dtype)) {
          arrays.push_back(Array::copy_of(*out));
          all.push_back({t.outputs[i]->name, Array::copy_of(*out)});
          cotangents.emplace_back(t.outputs[i]->name, arrays.back().view());
        }
      Gradients gradients(*layer);
      layer->backward(ctx, cotangents, gradients);
      for (const NamedArray& tensor : sample->tensors)
        if (const auto view = ctx.input_gradient(tensor.name))
          all.push_back({"gradient of " + tensor.name, Array::copy_of(*view)});
    }
  return all;
}

const char* words(Touching touching) {
  return touching == Touching::end
             ? "each tensor of an operator in memory that ends at a page that nobody may touch"
             : "each tensor of an operator in memory that begins behind a page that nobody may "
               "touch";
}

Outcome operators_inside(Subject& s) {
  static_cast<void>(s.type());
  size_t calls = 0;
  for (const Touching touching : {Touching::end, Touching::begin}) {
    OperatorGuard guard(s.loaded_table(), touching);
    if (guard.operators() == 0) return skipped("it brings no operators");
    static_cast<void>(run_all(s, words(touching)));
    if (const std::string wrong = guard.problem(); !wrong.empty()) return failed(wrong);
    calls += guard.calls();
  }
  return calls ? passed(std::to_string(calls) + " runs")
               : skipped("no layer that was tried runs its operators");
}

Outcome write_all(Subject& s) {
  static_cast<void>(s.type());
  OperatorGuard guard(s.loaded_table(), Touching::end);
  if (guard.operators() == 0) return skipped("it brings no operators");
  guard.look_for_gaps();
  static_cast<void>(run_all(s, "results filled with a pattern"));
  if (const std::string wrong = guard.problem(); !wrong.empty()) return failed(wrong);
  return guard.calls() ? passed(std::to_string(guard.calls()) + " runs")
                       : skipped("no layer that was tried runs its operators");
}

Outcome operators_strided(Subject& s) {
  static_cast<void>(s.type());
  const std::vector<NamedOutput> expected = run_all(s, "dense tensors");
  OperatorGuard guard(s.loaded_table(), Touching::end);
  if (guard.operators() == 0) return skipped("it brings no operators");
  guard.spread();
  const std::vector<NamedOutput> found = run_all(s, "inputs of operators at other strides");
  if (const std::string difference = first_difference(found, expected); !difference.empty())
    return failed(
        "an operator computes something else when its inputs lie at other strides; go through "
        "tensors by "
        "their strides, attn/sdk/strided.hpp helps",
        difference);
  return guard.calls() ? passed(std::to_string(guard.calls()) + " runs")
                       : skipped("no layer that was tried runs its operators");
}

}  // namespace

std::span<const Test> operator_tests() {
  static constexpr Test kTests[] = {
      {.name = "operators_inside",
       .promise = "Operators of the plugin touch nothing before or behind their tensors and "
                  "scratch memory.",
       .run = operators_inside,
       .group = Group::tensors},
      {.name = "operators_write_all",
       .promise = "Operators of the plugin write every element of their results.",
       .run = write_all,
       .group = Group::tensors},
      {.name = "operators_strided",
       .promise = "Operators of the plugin take inputs, and give their gradients, at any strides.",
       .run = operators_strided,
       .group = Group::tensors},
  };
  return kTests;
}

}  // namespace attn::check
