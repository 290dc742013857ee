// SPDX-License-Identifier: Apache-2.0
//
// From the third call of a context on, no call allocates memory: with outputs given by the caller, for a smaller
// shape, and while decoding inside the capacity of a cache; with one and with two threads.
#include "tests/steady/allocation.hpp"

#include <attn/attention.hpp>
#include <attn/factory.hpp>
#include <attn/threads.hpp>
#include <catch2/catch.hpp>
#include <memory>
#include <vector>

#include "core/cpu/caches.hpp"

namespace {

// Which shapes are cut into slices follows the caches: on every machine those of a common one.
[[maybe_unused]] const bool kCaches = (attn::cpu::set_caches({.second = {1 << 20, 1}}), true);

attn::Array filled(const attn::Shape& shape) {
  attn::Array a(ATTN_F32, shape);
  for (int64_t i = 0; i < a.size(); ++i)
    a.data<float>()[i] = static_cast<float>((i * 37 % 101) - 50) / 50.0f;
  return a;
}

// Calls with views; returns how many requests the calls after the second made.
long requests_of_calls(attn::Attention& layer, attn::Context& ctx, const attn::Array& x,
                       int calls) {
  const attn::Input in(x.view());
  const auto shapes = layer.output_shapes({&in, 1});
  attn::Array y(ATTN_F32, shapes.front().second);
  const attn::OutputMemory out{"output", y.view()};
  long before = 0;
  for (int i = 0; i < calls; ++i) {
    if (i == 2) before = allocation_requests();
    layer.forward(ctx, {&in, 1}, {}, {&out, 1});
  }
  return allocation_requests() - before;
}

}  // namespace

TEST_CASE("steady: the counter counts") {
  const long before = allocation_requests();
  int* volatile p = new int(3);  // volatile: the compiler may leave out a pair of new and delete
  delete p;
  std::vector<char> big(1 << 22);
  big[1] = 1;
  CHECK(allocation_requests() >= before + 2);
}

TEST_CASE("steady: no memory is asked for from the third call on") {
  const int threads = GENERATE(1, 2);
  attn::set_threads(threads);
  struct Case {
    const char* type;
    attn::Json config;
    attn::Shape large, small;
  };
  const Case cases[] = {
      {"neighborhood",
       {{"dim", 64}, {"num_heads", 4}, {"grid_width", 8}},
       {4, 65, 64},
       {2, 33, 64}},
      {"multi_head", {{"dim", 64}, {"num_heads", 4}}, {4, 65, 64}, {2, 33, 64}},
      {"multi_head",
       {{"dim", 64}, {"num_heads", 4}, {"probability_type", "adaptive"}},
       {2, 65, 64},
       {1, 9, 64}},
      {"multi_head",
       {{"dim", 64}, {"num_heads", 4}, {"qk_norm_type", "rms_norm"}},
       {2, 300, 64},
       {1, 299, 64}},
      {"group_query",
       {{"dim", 64}, {"num_heads", 4}, {"num_kv_heads", 2}},
       {2, 70, 64},
       {1, 50, 64}},
      {"gated", {{"dim", 64}, {"num_heads", 4}, {"head_dim", 20}}, {2, 70, 64}, {1, 50, 64}},
      {"differential", {{"dim", 64}, {"num_heads", 4}, {"head_dim", 16}}, {2, 70, 64}, {1, 50, 64}},
      {"hopfield",
       {{"num_heads", 4}, {"key_dim", 16}, {"update_steps_max", 3}},
       {2, 70, 64},
       {1, 50, 64}},
      {"non_local", {{"attention_channels", 16}, {"kernel_size", 3}}, {2, 9, 8, 12}, {1, 7, 8, 12}},
      {"capsule_routing", {{"num_heads", 4}}, {2, 400, 64}, {1, 50, 64}},
      {"rpc", {{"dim", 64}, {"num_heads", 4}}, {2, 20, 64}, {1, 9, 64}},
      {"window", {{"dim", 64}, {"window_size", 4}, {"num_heads", 4}}, {2, 50, 64}, {1, 20, 64}},
      {"anchor", {{"dim", 64}, {"num_heads", 4}}, {2, 70, 64}, {1, 50, 64}},
      {"ring", {{"dim", 64}, {"num_heads", 4}, {"block_size", 128}}, {2, 300, 64}, {1, 299, 64}},
      // One row: on CPUs with a small cache two would be cut into slices, and the smaller shape would not.
      {"performer", {{"dim", 64}, {"num_heads", 4}}, {1, 2100, 64}, {1, 70, 64}},
      {"performer", {{"dim", 64}, {"num_heads", 4}, {"causal", true}}, {2, 150, 64}, {1, 70, 64}},
      {"cbam", {{"channels", 16}}, {2, 9, 30, 16}, {1, 7, 29, 16}},
      // Large enough to be cut into slices of the batch, both of them.
      {"window",
       {{"dim", 48}, {"window_size", 7}, {"num_heads", 3}, {"qk_norm_type", "rms_norm"}},
       {9, 1500, 48},
       {7, 1450, 48}},
      {"mobile_mqa", {{"dim", 32}, {"use_downsampling", true}}, {2, 9, 8, 32}, {1, 7, 8, 32}},
      // A prime needs more work than a power of two above it.
      {"fnet", {{"implementation", "fft"}}, {2, 128, 48}, {1, 127, 47}},
      {"fnet", {{"implementation", "matrix"}}, {2, 128, 48}, {1, 127, 47}},
  };
  for (const Case& c : cases) {
    INFO(c.type << ", " << threads << " threads");
    const auto layer = attn::create_attention_layer(c.type, c.config);
    attn::Context ctx;
    CHECK(requests_of_calls(*layer, ctx, filled(c.large), 10) == 0);
    // A smaller shape in the same context: not even its first call.
    const attn::Array x = filled(c.small);
    const attn::Input in(x.view());
    attn::Array y(ATTN_F32, layer->output_shapes({&in, 1}).front().second);
    const attn::OutputMemory out{"output", y.view()};
    const long before = allocation_requests();
    for (int i = 0; i < 5; ++i) layer->forward(ctx, {&in, 1}, {}, {&out, 1});
    CHECK(allocation_requests() == before);
  }
}

TEST_CASE("steady: queries to a kept sequence allocate no memory") {
  attn::set_threads(GENERATE(1, 2));
  const auto layer =
      attn::create_attention_layer("multi_head_cross", {{"dim", 64}, {"num_heads", 4}});
  const attn::Array x = filled({2, 3, 64}), y = filled({2, 90, 64});
  attn::Context ctx;
  layer->build({attn::Shape{2, 3, 64}, attn::Shape{2, 90, 64}});
  const auto state = layer->make_state(2);
  const attn::Input both[]{x.view(), y.view()};
  layer->forward(ctx, both, {.state = state.get()});
  long before = 0;
  for (int i = 0; i < 10; ++i) {
    if (i == 2) before = allocation_requests();
    layer->forward(ctx, {both, 1}, {.state = state.get()});
  }
  CHECK(allocation_requests() == before);
}

TEST_CASE("steady: 1,000 decode steps inside the capacity ask for no memory") {
  attn::set_threads(GENERATE(1, 2));
  const auto layer = attn::create_attention_layer(
      "group_query", {{"dim", 32}, {"num_heads", 4}, {"num_kv_heads", 2}});
  const attn::Array token = filled({2, 1, 32});
  attn::Context ctx;
  layer->build({attn::Shape{2, 1, 32}});
  const auto state = layer->make_state(2, 1003);
  const attn::Input in(token.view());
  attn::Array y(ATTN_F32, {2, 1, 32});
  const attn::OutputMemory out{"output", y.view()};
  // The largest shape of the run comes first, then the cache is emptied again.
  const attn::Array prompt = filled({2, 1003, 32});
  const attn::Input long_in(prompt.view());
  for (int i = 0; i < 2; ++i) {
    layer->forward(ctx, {&long_in, 1}, {.state = state.get()});
    state->truncate(3);
    layer->forward(ctx, {&in, 1}, {.state = state.get()}, {&out, 1});
    state->truncate(3);
    state->reset();
  }
  const long before = allocation_requests();
  for (int i = 0; i < 1000; ++i) layer->forward(ctx, {&in, 1}, {.state = state.get()}, {&out, 1});
  CHECK(allocation_requests() == before);
  CHECK(state->length() == 1000);
}
