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
void run_all(Subject& s, const char* what, Touching touching) {
  std::vector<Json> configs = s.configs(static_cast<size_t>(s.times(40, 8)));
  configs.insert(configs.begin(), s.config());
  for (const Json& config : configs)
    for (const int64_t length : {7, 16, 1}) {
      const auto sample = s.find_sample(config, {.length = length});
      if (!sample) continue;
      const auto layer = s.layer(*sample);
      s.doing(std::string("a call with ") + what +
              (touching == Touching::end ? ", which ends at a page that nobody may touch, "
                                         : ", which begins behind a page that nobody may touch, ") +
              sample->text());
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
          cotangents.emplace_back(t.outputs[i]->name, arrays.back().view());
        }
      Gradients gradients(*layer);
      layer->backward(ctx, cotangents, gradients);
    }
}

Outcome operators_inside(Subject& s) {
  static_cast<void>(s.type());
  size_t calls = 0;
  for (const Touching touching : {Touching::end, Touching::begin}) {
    OperatorGuard guard(s.loaded_table(), touching);
    if (guard.operators() == 0) return skipped("it brings no operators");
    run_all(s, "each tensor of an operator in memory", touching);
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
  run_all(s, "results filled with a pattern", Touching::end);
  if (const std::string wrong = guard.problem(); !wrong.empty()) return failed(wrong);
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
  };
  return kTests;
}

}  // namespace attn::check
