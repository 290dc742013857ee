// SPDX-License-Identifier: Apache-2.0
//
// What must not grow, however often something is done.
#include <malloc.h>
#include <unistd.h>
#include <attn/error.hpp>
#include <attn/factory.hpp>

#include <cstdio>
#include <functional>

#include "host/check/library/process_state.hpp"
#include "host/check/resources/allocations.hpp"
#include "host/check/resources/lists.hpp"
#include "host/check/subject.hpp"

namespace attn::check {
namespace {

struct Memory {
  int64_t heap = 0, mapped = 0;  // bytes given out by malloc; pages of the process
};

Memory memory_now() {
  const struct mallinfo2 info = ::mallinfo2();
  Memory m{static_cast<int64_t>(info.uordblks + info.hblkhd), 0};
  long all = 0;
  if (FILE* f = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(f, "%ld", &all) == 1) m.mapped = all * ::sysconf(_SC_PAGESIZE);
    std::fclose(f);
  }
  return m;
}

// Does `once` many times; what it keeps in most of them is a leak. malloc gives out at least 32 bytes, mmap a page.
Outcome flat(Subject& s, int64_t times, const std::string& what,
             const std::function<void()>& once) {
  s.doing(what);
  for (int64_t i = 0; i < std::min<int64_t>(times / 4, 200); ++i) once();
  // What is freed may stay with the thread for a while; a leak shows in each of four stretches.
  constexpr int kStretches = 4;
  const int64_t each = times / kStretches;
  int64_t heap = INT64_MAX, mapped = INT64_MAX;
  for (int stretch = 0; stretch < kStretches; ++stretch) {
    const Memory before = memory_now();
    for (int64_t i = 0; i < each; ++i) once();
    const Memory after = memory_now();
    heap = std::min(heap, after.heap - before.heap);
    mapped = std::min(mapped, after.mapped - before.mapped);
  }
  if (heap > 20 * each)
    return failed(
        what + " leaves memory behind; free what is allocated in it, or use attn_engine.scratch",
        std::to_string(heap) + " bytes and more in each " + std::to_string(each) + " times, " +
            std::to_string(heap / each) + " each");
  if (mapped > 1024 * each)
    return failed(
        what + " leaves pages mapped",
        std::to_string(mapped) + " bytes and more in each " + std::to_string(each) + " times");
  return passed(std::to_string(times) + " times");
}

Outcome memory_flat(Subject& s) {
  const Sample sample = s.sample();
  const auto layer = s.layer(sample);
  const cli::CallArguments arguments = sample.call_arguments();
  const std::vector<Input> inputs = sample.inputs();
  Context ctx;
  return flat(s, s.times(10000, 1000), "a call, " + sample.text(),
              [&] { layer->forward(ctx, inputs, {.seed = 3, .arguments = arguments.view()}); });
}

Outcome training_flat(Subject& s) {
  const Sample sample = s.sample();
  const auto layer = s.layer(sample);
  const cli::CallArguments arguments = sample.call_arguments();
  const std::vector<Input> inputs = sample.inputs();
  Context ctx;
  Gradients gradients(*layer);
  std::optional<Array> cotangent;
  return flat(s, s.times(1000, 150), "a training step, " + sample.text(), [&] {
    layer->forward(ctx, inputs,
                   {.training = true, .record = true, .seed = 3, .arguments = arguments.view()});
    const std::string name = layer->type().outputs[0]->name;
    if (!cotangent) cotangent = Array::copy_of(*ctx.output(name));
    const Input given(name, cotangent->view());
    layer->backward(ctx, {&given, 1}, gradients);
  });
}

Outcome layers_freed(Subject& s) {
  const Sample sample = s.sample();
  return flat(s, s.times(800, 500), "making, calling and throwing away a layer, " + sample.text(),
              [&] {
                const auto layer = create_attention_layer(sample.type, sample.config, "layer");
                layer->build(sample.shapes(), {.seed = 1});
                static_cast<void>(call(*layer, sample));
              });
}

Outcome refusals_freed(Subject& s) {
  const Sample sample = s.sample();
  const auto layer = s.layer(sample);
  Sample wrong = sample.clone();
  Shape shape = wrong.tensors.front().value.shape();
  shape[shape.size() - 1] += 1;
  wrong.tensors.front().value = Array(ATTN_F32, shape);
  return flat(s, s.times(1000, 200), "a refused call, " + wrong.text(), [&] {
    try {
      static_cast<void>(call(*layer, wrong));
    } catch (const InvalidArgument&) {
    }
  });
}

Outcome states_freed(Subject& s) {
  const Sample sample = s.sample({.length = 1, .keys = 1});
  const auto layer = s.layer(sample);
  if (!layer->has_state()) return skipped("the layer keeps no state");
  const cli::CallArguments arguments = sample.call_arguments();
  const int64_t batch = sample.tensors.front().value.shape()[0];
  Context ctx;
  return flat(s, s.times(400, 160), "decoding with a state and throwing it away, " + sample.text(),
              [&] {
                const auto state = layer->make_state(batch, 16);
                layer->forward(ctx, sample.inputs(),
                               {.seed = 3, .arguments = arguments.view(), .state = state.get()});
              });
}

// From the third call of a context on nothing asks for memory.
Outcome steady(Subject& s) {
  std::vector<Json> configs = s.configs(static_cast<size_t>(s.times(60, 10)));
  configs.insert(configs.begin(), s.config());
  size_t tried = 0;
  bool watching = false;
  for (const Json& config : configs) {
    const auto sample = s.find_sample(config);
    if (!sample) continue;
    const auto layer = s.layer(*sample);
    const cli::CallArguments arguments = sample->call_arguments();
    const std::vector<Input> inputs = sample->inputs();
    const CallOptions options{.seed = 3, .arguments = arguments.view()};
    Context ctx;
    s.doing("calls of " + sample->text());
    long before = 0;
    for (int i = 0; i < 8; ++i) {
      if (i == 2 && !watching) {
        watch_allocations();
        watching = true;
      }
      if (i == 2) before = allocations();
      layer->forward(ctx, inputs, options);
    }
    ++tried;
    if (const long n = allocations() - before; n > 0)
      return failed(
          "calls allocate memory after the second of a context; use attn_engine.scratch or tensors "
          "of the "
          "engine inside of operators, and make nothing in forward() that allocates",
          std::to_string(n) + " requests in 6 calls, the last by " + last_allocator() + ", with " +
              sample->text());
  }
  return tried ? passed(std::to_string(tried) + " configs") : skipped("no call was found");
}

Outcome files_flat(Subject& s) {
  const Sample sample = s.sample();
  const int threads = thread_count_now();
  static_cast<void>(call(*s.layer(sample), sample));  // the library's own threads
  const std::vector<std::string> before = open_files();
  const int started = thread_count_now();
  for (int i = 0; i < 5; ++i) static_cast<void>(call(*s.layer(sample), sample));
  const std::vector<std::string> now = added(before, open_files());
  if (!now.empty())
    return failed("making or calling a layer leaves a file open; close it, or open it once",
                  now.front());
  if (thread_count_now() > started)
    return failed("making or calling a layer leaves a thread running; use attn_engine.parallel_for",
                  std::to_string(thread_count_now() - started) + " more after 5 layers, from " +
                      std::to_string(threads));
  return passed();
}

}  // namespace

std::span<const Test> growth_tests() {
  static constexpr Test kTests[] = {
      {.name = "memory_flat",
       .promise = "10,000 calls use no more memory than a few.",
       .run = memory_flat,
       .group = Group::resources},
      {.name = "training_flat",
       .promise = "Training steps use no more memory the longer they go on.",
       .run = training_flat,
       .group = Group::resources},
      {.name = "layers_freed",
       .promise = "A layer that is thrown away gives its memory back.",
       .run = layers_freed,
       .group = Group::resources},
      {.name = "refusals_freed",
       .promise = "Refused calls leave no memory behind.",
       .run = refusals_freed,
       .group = Group::resources},
      {.name = "states_freed",
       .promise = "A state that is thrown away gives its memory back.",
       .run = states_freed,
       .group = Group::resources},
      {.name = "steady",
       .promise = "From the third call of a context on nothing allocates memory.",
       .run = steady,
       .group = Group::resources},
      {.name = "files_flat",
       .promise = "Layers and calls leave no file descriptors and no threads behind.",
       .run = files_flat,
       .group = Group::resources},
  };
  return kTests;
}

}  // namespace attn::check
