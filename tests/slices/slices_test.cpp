// SPDX-License-Identifier: Apache-2.0
//
// Large calls go through all operators a few rows of the batch at a time (core/engine/slices.hpp): the same results as
// calls with those rows, for any number of threads, whatever else the call has.
#include <attn/plugins.hpp>
#include <attn/threads.hpp>
#include <catch2/catch.hpp>

#include <cmath>
#include <span>

#include "core/cpu/caches.hpp"
#include "host/library/layer/context.hpp"
#include "tests/layers/layers.hpp"
#include "tests/tools/build.hpp"

namespace attn::testing {
namespace {

// Sanitizers make each ten times slower, and see all of slices in a few types.
const bool kAllTypes = !test::sanitized;
const std::vector<int> kThreads = test::sanitized ? std::vector{3} : std::vector{2, 3, 8};

// Where a batch is cut follows the caches: on every machine those of a common one.
[[maybe_unused]] const bool kCaches = (cpu::set_caches({.second = {1 << 20, 1}}), true);

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
  std::vector<Large> few = {
      {"window", {{"dim", 48}, {"window_size", 7}, {"num_heads", 3}}, {{9, 1500, 48}}},
      {"channel", {{"channels", 64}}, {{2000, 4, 4, 64}}},
      {"multi_head", {{"dim", 32}, {"num_heads", 1}}, {{60, 360, 32}, {60, 360}}},
      // Nothing that would have to leave the caches.
      {"multi_head", {{"dim", 64}, {"num_heads", 4}}, {{2, 64, 64}}, true},
  };
  if (!kAllTypes) return few;
  const std::vector<Large> more = {
      {"multi_head", {{"dim", 64}, {"num_heads", 4}}, {{7, 1500, 64}}},
      {"multi_head", {{"dim", 64}, {"num_heads", 4}}, {{7, 1500, 64}, {7, 1500}}},
      {"multi_head", {{"dim", 64}, {"num_heads", 4}}, {{7, 1500, 64}, {1, 1500}}},
      {"multi_head_cross", {{"dim", 64}, {"num_heads", 4}}, {{12, 700, 64}, {12, 900, 64}}},
      {"mobile_mqa",
       {{"dim", 64}, {"num_heads", 4}, {"use_downsampling", true}},
       {{30, 30, 31, 64}}},
      {"non_local", {{"attention_channels", 32}, {"normalization", "batch"}}, {{16, 30, 31, 64}}},
      {"cbam", {{"channels", 64}}, {{20, 31, 30, 64}}},
      {"spatial", {{"kernel_size", 7}}, {{96, 31, 30, 64}}},
      {"fnet", {{"implementation", "fft"}}, {{30, 500, 96}}},
      {"hopfield", {{"num_heads", 4}, {"key_dim", 16}, {"update_steps_max", 2}}, {{9, 900, 64}}},
      {"multi_head", {{"dim", 64}, {"num_heads", 4}}, {{1, 9000, 64}}, true},
  };
  few.insert(few.end(), more.begin(), more.end());
  return few;
}

std::vector<Array> inputs_of(const std::vector<Shape>& shapes) {
  std::vector<Array> in;
  for (size_t i = 0; i < shapes.size(); ++i) in.push_back(wave(shapes[i], i + 1));
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
    const std::vector<Array> in = inputs_of(l.inputs);
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
    for (const int n : kThreads) {
      set_threads(n);
      REQUIRE(same_bits(run(*layer, ctx, in), y));
    }
  }
  set_threads(2);
}

TEST_CASE("slices: what weights tell is that of the whole call") {
  const std::vector<std::string> names = {"row_max",   "lse",         "entropy", "column_mass",
                                          "distances", "top_weights", "map"};
  for (const Large& l : large()) {
    const std::vector<Array> in = inputs_of(l.inputs);
    const auto layer = create_attention_layer(l.type, l.config);
    Context plain, ctx, whole;
    const Array y = run(*layer, plain, in);
    const Observe what{.names = names,
                       .top = 3,
                       .head = 1,
                       .heads = 1,
                       .query = 20,
                       .queries = 9,
                       .optional = true};
    ctx.observe(what);
    Observe more = what;
    more.names.emplace_back("something else");  // such calls are not cut
    whole.observe(more);
    run(*layer, whole, in);
    const std::vector<Observed> expected = whole.take_observed();
    if (expected.empty()) continue;
    INFO(l.type << " " << l.config.dump());
    for (const int threads : {1, 2, 3}) {
      set_threads(threads);
      CHECK(same_bits(run(*layer, ctx, in), y));
      REQUIRE((rows_of_a_slice(ctx) == 0) == l.whole);
      const std::vector<Observed> found = ctx.take_observed();
      REQUIRE(found.size() == expected.size());
      REQUIRE(ctx.observables() == whole.observables());
      for (size_t i = 0; i < found.size(); ++i) {
        INFO(expected[i].label << "." << expected[i].name << ", " << threads << " threads");
        REQUIRE(found[i].label == expected[i].label);
        REQUIRE(found[i].name == expected[i].name);
        const Array &a = found[i].value, &b = expected[i].value;
        REQUIRE(a.shape() == b.shape());
        double most = 0;
        for (int64_t j = 0; j < a.size(); ++j) {
          const double x = a.data<float>()[j], z = b.data<float>()[j];
          if (x == z) continue;
          const double d = std::fabs(x - z) / std::max(1.0, std::fabs(z));
          if (!(d <= most)) most = d;
        }
        CHECK(most <= 1e-6);
      }
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

namespace {

// A training step of rows [first, first + n) of the inputs, and what it gives.
struct Step {
  Array y;
  Gradients weights;
  std::vector<std::optional<Array>> inputs;
};
Step step(Attention& layer, Context& ctx, std::span<const Array> in, const Array& cotangent,
          int64_t first, int64_t n) {
  const int64_t batch = in[0].shape()[0];
  std::vector<Input> views;
  for (const Array& a : in)
    views.emplace_back(a.shape()[0] == batch ? rows(a, first, n) : a.view());
  layer.forward(ctx, views, {.training = true, .record = true});
  Step s{Array::copy_of(*ctx.output()), Gradients(layer), {}};
  const Input c(rows(cotangent, first, n));
  layer.backward(ctx, {&c, 1}, s.weights);
  for (uint32_t i = 0; i < layer.type().n_inputs; ++i) {
    const auto g = ctx.input_gradient(layer.type().inputs[i]->name);
    s.inputs.push_back(g ? std::optional(Array::copy_of(*g)) : std::nullopt);
  }
  return s;
}

void add(Array& sum, const Array& more) {
  for (int64_t i = 0; i < sum.size(); ++i) sum.data<float>()[i] += more.data<float>()[i];
}

bool same_bits(const Step& a, const Step& b) {
  bool same = testing::same_bits(a.y, b.y);
  for (size_t i = 0; i < a.weights.entries().size(); ++i)
    same = same &&
           testing::same_bits(a.weights.entries()[i].gradient, b.weights.entries()[i].gradient);
  for (size_t i = 0; i < a.inputs.size(); ++i)
    same = same && a.inputs[i].has_value() == b.inputs[i].has_value() &&
           (!a.inputs[i] || testing::same_bits(*a.inputs[i], *b.inputs[i]));
  return same;
}

// A training step in slices is that of every slice by itself: outputs and gradients of its rows have the same bits, what
// belongs to no row is added up in the order of the slices; for any number of threads.
void check_step(Attention& layer, std::span<const Array> in, Context& ctx, bool whole) {
  Context alone;
  set_threads(1);
  const Array cotangent = wave(run(layer, ctx, in).shape(), 7);
  const int64_t batch = in[0].shape()[0], out_row = cotangent.size() / batch;
  const Step all = step(layer, ctx, in, cotangent, 0, batch);
  const int64_t each = rows_of_a_slice(ctx);
  REQUIRE((each == 0) == whole);
  if (whole) return;
  Gradients sum(layer);
  std::vector<Array> shared(all.inputs.size());
  for (int64_t first = 0; first < batch; first += each) {
    const int64_t n = std::min(each, batch - first);
    const Step one = step(layer, alone, in, cotangent, first, n);
    const auto in_its_place = [&](const Array& part, const Array& of) {
      const int64_t row = of.size() / batch;
      return part.size() == n * row &&
             std::memcmp(part.raw(), of.data<float>() + first * row, part.bytes()) == 0;
    };
    REQUIRE(one.y.size() == n * out_row);
    CHECK(in_its_place(one.y, all.y));
    for (size_t i = 0; i < all.inputs.size(); ++i) {
      REQUIRE(one.inputs[i].has_value() == all.inputs[i].has_value());
      if (!all.inputs[i]) continue;
      if (in[i].shape()[0] == batch) {
        CHECK(in_its_place(*one.inputs[i], *all.inputs[i]));
      } else {
        if (first == 0) shared[i] = Array(ATTN_F32, one.inputs[i]->shape());
        add(shared[i], *one.inputs[i]);
      }
    }
    for (size_t i = 0; i < sum.entries().size(); ++i)
      if (sum.entries()[i].trained)
        add(sum.entries()[i].gradient, one.weights.entries()[i].gradient);
  }
  for (size_t i = 0; i < sum.entries().size(); ++i)
    CHECK(testing::same_bits(sum.entries()[i].gradient, all.weights.entries()[i].gradient));
  for (size_t i = 0; i < shared.size(); ++i)
    if (shared[i].size() > 0) CHECK(testing::same_bits(shared[i], *all.inputs[i]));
  for (const int n : kThreads) {
    set_threads(n);
    CHECK(same_bits(step(layer, ctx, in, cotangent, 0, batch), all));
  }
  set_threads(2);
}

std::unique_ptr<Attention> fixture(const Json& config) {
  load_plugin(test::built("tests/slices/shared.so"));
  return create_attention_layer("fixture.shared", config);
}

}  // namespace

TEST_CASE("slices: training steps, and what belongs to no row") {
  for (const Large& l : large()) {
    INFO(l.type << " " << l.config.dump());
    const auto layer = create_attention_layer(l.type, l.config);
    Context ctx;
    // Batch normalization looks at all rows of a training call.
    check_step(*layer, inputs_of(l.inputs), ctx, l.whole || l.type == "non_local");
  }
}

TEST_CASE("slices: gradients of inputs that all rows share, and of one that nothing looks at") {
  const std::vector<Array> in = inputs_of({{40, 500, 64}, {500, 64}, {40, 500}});
  Context ctx;
  check_step(*fixture(Json::object()), in, ctx, false);
  CHECK(ctx.input_gradient("inputs"));
  CHECK(ctx.input_gradient("table"));
  CHECK_FALSE(ctx.input_gradient("unused"));
}

TEST_CASE("slices: an input that is the output has its gradient, in memory of the call's own") {
  const auto layer = fixture({{"passes_on", true}});
  for (const int64_t batch : {2, 90}) {
    const std::vector<Array> in = inputs_of({{batch, 500, 64}, {500, 64}});
    const Array cotangent = wave(in[0].shape(), 7);
    Context ctx;
    const Step s = step(*layer, ctx, in, cotangent, 0, batch);
    CHECK((rows_of_a_slice(ctx) > 0) == (batch == 90));
    CHECK(testing::same_bits(*s.inputs[0], cotangent));
    CHECK(ctx.input_gradient("inputs")->data != cotangent.raw());
  }
}

TEST_CASE("slices: a backward pass that fails has used its call, in slices and without") {
  const auto layer = fixture({{"stumbles", true}});
  for (const int64_t batch : {2, 40}) {
    const std::vector<Array> in = inputs_of({{batch, 500, 64}, {500, 64}});
    const Input views[] = {Input(in[0]), Input(in[1])}, cotangent(in[0]);
    Context ctx;
    layer->forward(ctx, views, {.record = true});
    REQUIRE((rows_of_a_slice(ctx) > 0) == (batch == 40));
    Gradients g(*layer);
    CHECK_THROWS_AS(layer->backward(ctx, {&cotangent, 1}, g), Failure);
    CHECK_THROWS_AS(layer->backward(ctx, {&cotangent, 1}, g), InvalidArgument);
  }
}

TEST_CASE("slices: what is gathered from large inputs is cut for its gradients alone") {
  const auto layer = create_attention_layer("channel", {{"channels", 64}});
  const Array x = wave({40, 31, 30, 64});
  Context ctx;
  run(*layer, ctx, {&x, 1});
  CHECK(rows_of_a_slice(ctx) == 0);
  const Input in(x);
  layer->forward(ctx, {&in, 1}, {.record = true});
  CHECK(rows_of_a_slice(ctx) > 0);
}

TEST_CASE("slices: calls that need the whole batch at once are not cut") {
  const std::vector<Array> in = inputs_of({{40, 500, 64}, {500, 64}});
  Context ctx;
  // Random numbers follow the place in the batch.
  const auto layer = fixture({{"rate", 0.5}});
  const Input inputs[] = {Input(in[0]), Input(in[1])};
  layer->forward(ctx, inputs, {.training = true, .record = true});
  CHECK(rows_of_a_slice(ctx) == 0);
  layer->forward(ctx, inputs, {.record = true});
  CHECK(rows_of_a_slice(ctx) > 0);
}

TEST_CASE("slices: a type that claims independence and has it not is refused by what it gives") {
  const std::vector<Array> in = inputs_of({{40, 500, 64}, {500, 64}});
  const auto layer = fixture({{"reads_batch", true}});
  Context ctx;
  const Input inputs[] = {Input(in[0]), Input(in[1])};
  for (const bool record : {false, true}) {
    try {
      layer->forward(ctx, inputs, {.record = record});
      FAIL("no error");
    } catch (const Failure& e) {
      CHECK(std::string(e.what()).find("the type claims batch_independent, but is not") !=
            std::string::npos);
    }
  }
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
