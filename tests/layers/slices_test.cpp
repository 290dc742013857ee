// SPDX-License-Identifier: Apache-2.0
//
// Large calls go through all operators a few rows of the batch at a time (core/engine/slices.hpp): the same results as
// calls with those rows, for any number of threads, whatever else the call has.
#include <attn/threads.hpp>
#include <catch2/catch.hpp>

#include <span>

#include "host/library/layer/context.hpp"
#include "tests/layers/layers.hpp"

namespace attn::testing {
namespace {

// Rows [first, first + n) of the batch.
ConstView rows(const Array& a, int64_t first, int64_t n) {
  ConstView v = a.view();
  v.data = a.data<float>() + first * v.stride[0];
  v.shape[0] = n;
  return v;
}

int64_t rows_of_a_slice(const Context& ctx) {
  const engine::SlicePlan& plan = ctx.impl().engine.slice_plan;
  return plan.rows < plan.batch ? plan.rows : 0;
}

struct Large {
  std::string type;
  Json config;
  std::vector<Shape> inputs;
  bool whole = false;  // is not cut
};
std::vector<Large> large() {
  return {
      {"multi_head", {{"dim", 64}, {"num_heads", 4}}, {{7, 1500, 64}}},
      {"multi_head", {{"dim", 64}, {"num_heads", 4}}, {{7, 1500, 64}, {7, 1500}}},
      {"multi_head", {{"dim", 64}, {"num_heads", 4}}, {{7, 1500, 64}, {1, 1500}}},
      {"multi_head_cross", {{"dim", 64}, {"num_heads", 4}}, {{12, 700, 64}, {12, 900, 64}}},
      {"window", {{"dim", 48}, {"window_size", 7}, {"num_heads", 3}}, {{9, 1500, 48}}},
      {"mobile_mqa",
       {{"dim", 64}, {"num_heads", 4}, {"use_downsampling", true}},
       {{30, 30, 31, 64}}},
      {"non_local", {{"attention_channels", 32}, {"normalization", "batch"}}, {{16, 30, 31, 64}}},
      {"cbam", {{"channels", 64}}, {{20, 31, 30, 64}}},
      {"channel", {{"channels", 64}}, {{40, 31, 30, 64}}},
      {"spatial", {{"kernel_size", 7}}, {{50, 31, 30, 64}}},
      {"fnet", {{"implementation", "fft"}}, {{30, 500, 96}}},
      {"hopfield", {{"num_heads", 4}, {"key_dim", 16}, {"update_steps_max", 2}}, {{9, 900, 64}}},
      // Nothing that would have to leave the caches.
      {"multi_head", {{"dim", 64}, {"num_heads", 4}}, {{2, 64, 64}}, true},
      {"multi_head", {{"dim", 64}, {"num_heads", 4}}, {{1, 9000, 64}}, true},
  };
}

std::vector<Array> inputs_of(const Large& l) {
  std::vector<Array> in;
  for (size_t i = 0; i < l.inputs.size(); ++i) in.push_back(wave(l.inputs[i], i + 1));
  return in;
}

Array run(Attention& layer, Context& ctx, std::span<const Array> in) {
  std::vector<Input> views;
  for (const Array& a : in) views.emplace_back(a);
  layer.forward(ctx, views);
  return Array::copy_of(*ctx.output());
}

}  // namespace

TEST_CASE("slices: the bits of calls with those rows alone, for 1, 2, 3 and 8 threads") {
  for (const Large& l : large()) {
    INFO(l.type << " " << l.config.dump());
    const auto layer = create_attention_layer(l.type, l.config);
    const std::vector<Array> in = inputs_of(l);
    Context ctx, alone;
    set_threads(1);
    const Array y = run(*layer, ctx, in);
    const int64_t each = rows_of_a_slice(ctx), batch = in[0].shape()[0];
    REQUIRE((each == 0) == l.whole);
    const int64_t per_row = y.size() / batch;
    for (int64_t first = 0; each > 0 && first < batch; first += each) {
      const int64_t n = std::min(each, batch - first);
      std::vector<Input> some;
      for (const Array& a : in)
        some.emplace_back(a.shape()[0] == batch ? rows(a, first, n) : a.view());
      layer->forward(alone, some);
      REQUIRE(std::memcmp(alone.output()->data, y.data<float>() + first * per_row,
                          static_cast<size_t>(n * per_row) * sizeof(float)) == 0);
    }
    for (const int n : {2, 3, 8}) {
      set_threads(n);
      REQUIRE(same_bits(run(*layer, ctx, in), y));
    }
  }
  set_threads(2);
}

TEST_CASE("slices: views of any strides, and memory that the caller gives") {
  const auto layer =
      create_attention_layer("window", {{"dim", 48}, {"window_size", 7}, {"num_heads", 3}});
  const Array x = wave({9, 1500, 48});
  Context ctx;
  const Array y = run(*layer, ctx, {&x, 1});
  // Every second row of a batch of twice the size, every second element of rows twice as long.
  Array wide(ATTN_F32, {18, 1500, 96});
  const int64_t row = int64_t{1500} * 96;
  for (int64_t b = 0; b < 9; ++b)
    for (int64_t i = 0; i < 1500 * 48; ++i)
      wide.data<float>()[2 * b * row + i / 48 * 96 + i % 48 * 2] =
          x.data<float>()[b * 1500 * 48 + i];
  const ConstView strided(wide.data<float>(), Shape{9, 1500, 48}, Shape{2 * row, 96, 2});
  Array out(ATTN_F32, y.shape());
  const OutputMemory memory{"output", out.view()};
  const Input in(strided);
  layer->forward(ctx, {&in, 1}, {}, {&memory, 1});
  REQUIRE(rows_of_a_slice(ctx) > 0);
  CHECK(same_bits(out, y));
}

TEST_CASE("slices: calls that need the whole batch at once are not cut") {
  const auto layer = create_attention_layer("multi_head", {{"dim", 64}, {"num_heads", 4}});
  const Array x = wave({7, 1500, 64});
  const Input in(x);
  Context ctx;
  layer->forward(ctx, {&in, 1}, {.record = true});
  CHECK(rows_of_a_slice(ctx) == 0);
  layer->forward(ctx, {&in, 1}, {.training = true});
  CHECK(rows_of_a_slice(ctx) == 0);
  layer->forward(ctx, {&in, 1});
  CHECK(rows_of_a_slice(ctx) > 0);
}

TEST_CASE("slices: a profile has each operator once, with the work of all rows") {
  const auto layer =
      create_attention_layer("window", {{"dim", 48}, {"window_size", 7}, {"num_heads", 3}});
  const Array x = wave({9, 1500, 48});
  Context ctx, alone;
  ctx.keep_profile(true);
  alone.keep_profile(true);
  run(*layer, ctx, {&x, 1});
  const Input one(rows(x, 0, 1));
  layer->forward(alone, {&one, 1});
  const auto all = ctx.profile(), part = alone.profile();
  REQUIRE(all.size() == part.size());
  for (size_t i = 0; i < all.size(); ++i) {
    CHECK(all[i].name == part[i].name);
    CHECK(all[i].flops == Approx(9 * part[i].flops));
    CHECK(all[i].seconds > 0);
  }
}

}  // namespace attn::testing
