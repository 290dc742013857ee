// SPDX-License-Identifier: Apache-2.0
//
// Many uses of one layer: contexts, threads, layers beside it, calls after refusals.
#include <attn/error.hpp>
#include <attn/factory.hpp>

#include <atomic>
#include <thread>

#include "host/check/resources/lists.hpp"
#include "host/check/subject.hpp"

namespace attn::check {
namespace {

// All outputs of a call in a context of the caller's.
std::vector<NamedOutput> call_in(Attention& layer, Context& ctx, const Sample& sample) {
  const cli::CallArguments arguments = sample.call_arguments();
  layer.forward(ctx, sample.inputs(), {.seed = 3, .arguments = arguments.view()});
  std::vector<NamedOutput> out;
  for (uint32_t i = 0; i < layer.type().n_outputs; ++i)
    if (const auto view = ctx.output(layer.type().outputs[i]->name))
      out.push_back({layer.type().outputs[i]->name, Array::copy_of(*view)});
  return out;
}

Outcome repeats(Subject& s) {
  std::vector<Json> configs = s.configs(static_cast<size_t>(s.times(60, 10)));
  configs.insert(configs.begin(), s.config());
  for (const Json& config : configs) {
    const auto sample = s.find_sample(config);
    if (!sample) continue;
    const auto layer = s.layer(*sample);
    Context ctx;
    const std::vector<NamedOutput> first = call_in(*layer, ctx, *sample);
    for (int i = 0; i < 3; ++i)
      if (const std::string d = first_difference(call_in(*layer, ctx, *sample), first); !d.empty())
        return failed(
            "the same call with the same seed gives something else; forward() may keep nothing but "
            "states, "
            "and reads no memory that it has not written",
            d + " with " + sample->text());
  }
  return passed(std::to_string(configs.size()) + " configs");
}

Outcome contexts(Subject& s) {
  const Sample sample = s.sample(), other = s.sample({.batch = 1, .length = 4, .keys = 3});
  const auto layer = s.layer(sample);
  const std::vector<NamedOutput> expected = call(*layer, sample), beside = call(*layer, other);
  std::vector<Context> all(static_cast<size_t>(s.times(64, 16)));
  for (int round = 0; round < 3; ++round)
    for (size_t i = 0; i < all.size(); ++i) {
      const bool odd = (i + static_cast<size_t>(round)) % 2 != 0;
      const std::string d =
          first_difference(call_in(*layer, all[i], odd ? other : sample), odd ? beside : expected);
      if (!d.empty())
        return failed("calls of two shapes in contexts of their own disturb each other",
                      d + " with " + sample.text());
    }
  return passed(std::to_string(all.size()) + " contexts");
}

Outcome threads_at_once(Subject& s) {
  const Sample sample = s.sample();
  const auto layer = s.layer(sample);
  const std::vector<NamedOutput> expected = call(*layer, sample);
  std::atomic<int> wrong{0}, thrown{0};
  std::vector<std::thread> threads;
  s.doing("calls of one layer on four threads, " + sample.text());
  const int64_t count = s.times(200, 40);
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      try {
        Context ctx;
        for (int64_t i = 0; i < count; ++i)
          wrong += !first_difference(call_in(*layer, ctx, sample), expected).empty();
      } catch (const std::exception&) {
        ++thrown;
      }
    });
  for (std::thread& t : threads) t.join();
  if (wrong == 0 && thrown == 0) return passed(std::to_string(4 * count) + " calls");
  return failed(
      "calls of one layer on several threads disturb each other; forward() must not change the "
      "layer, nor "
      "static objects",
      std::to_string(wrong) + " of " + std::to_string(4 * count) + " results differ, " +
          std::to_string(thrown) + " threads ended by an exception, with " + sample.text());
}

Outcome layers_apart(Subject& s) {
  const Sample sample = s.sample();
  const auto layer = s.layer(sample);
  const std::vector<NamedOutput> expected = call(*layer, sample);
  for (const Json& config : s.configs(static_cast<size_t>(s.times(40, 10)))) {
    const auto other = s.find_sample(config);
    if (!other) continue;
    s.doing("a layer beside another, " + other->text());
    {
      const auto second = s.layer(*other);
      static_cast<void>(call(*second, *other));
    }
    if (const std::string d = first_difference(call(*layer, sample), expected); !d.empty())
      return failed(
          "a layer gives something else after another one was made; keep everything in the layer, "
          "nothing in "
          "static objects",
          d + ", the other is " + other->text());
  }
  return passed();
}

Outcome usable_after_refusals(Subject& s) {
  const Sample sample = s.sample();
  const auto layer = s.layer(sample);
  Context ctx;
  const std::vector<NamedOutput> expected = call_in(*layer, ctx, sample);
  const Shape shape = sample.tensors.front().value.shape();
  for (size_t axis = 0; axis < shape.size(); ++axis)
    for (const int64_t change : {1, -1}) {
      Sample wrong = sample.clone();
      Shape other = shape;
      other[axis] += change;
      wrong.tensors.front().value = Array(ATTN_F32, other);
      try {
        static_cast<void>(call_in(*layer, ctx, wrong));
      } catch (const InvalidArgument&) {
      }
      if (const std::string d = first_difference(call_in(*layer, ctx, sample), expected);
          !d.empty())
        return failed("after a call of another shape the layer gives something else",
                      d + " after " + wrong.text());
    }
  return passed();
}

// create() and destroy() are for any thread.
Outcome made_on_threads(Subject& s) {
  const Sample sample = s.sample();
  const auto expected = [&] {
    const auto layer = create_attention_layer(sample.type, sample.config, "layer");
    layer->build(sample.shapes(), {.seed = 1});
    return call(*layer, sample);
  }();
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  s.doing("layers made on four threads at once, " + sample.text());
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) try {
          const auto layer = create_attention_layer(sample.type, sample.config, "layer");
          layer->build(sample.shapes(), {.seed = 1});
          wrong += !first_difference(call(*layer, sample), expected).empty();
        } catch (const std::exception&) {
          ++wrong;
        }
    });
  for (std::thread& t : threads) t.join();
  if (wrong == 0) return passed("80 layers");
  return failed(
      "layers that are made on several threads at once differ; create() and build() may share "
      "nothing",
      std::to_string(wrong) + " of 80 differ, with " + sample.text());
}

}  // namespace

std::span<const Test> use_tests() {
  static constexpr Test kTests[] = {
      {.name = "repeats",
       .promise = "The same call gives the same bits.",
       .run = repeats,
       .group = Group::resources},
      {.name = "contexts",
       .promise = "Many contexts, with calls of different shapes, do not disturb each other.",
       .run = contexts,
       .group = Group::resources},
      {.name = "threads_at_once",
       .promise = "One layer can be called from several threads at once.",
       .run = threads_at_once,
       .group = Group::resources},
      {.name = "made_on_threads",
       .promise = "Layers can be made and thrown away on several threads at once.",
       .run = made_on_threads,
       .group = Group::resources},
      {.name = "layers_apart",
       .promise = "Layers of one type do not disturb each other.",
       .run = layers_apart,
       .group = Group::resources},
      {.name = "usable_after_refusals",
       .promise = "A refused call changes nothing.",
       .run = usable_after_refusals,
       .group = Group::resources},
  };
  return kTests;
}

}  // namespace attn::check
