// SPDX-License-Identifier: Apache-2.0
//
// A plan changes results by rounding alone, and its bits do not depend on the number of threads.
#include <attn/plan.hpp>
#include <attn/threads.hpp>
#include <catch2/catch.hpp>

#include <cmath>

#include "host/library/layer/context.hpp"
#include "tests/layers/layers.hpp"

namespace attn::testing {
namespace {

// Beyond what there is, too: such numbers may come out of a file.
const std::vector<Plan> kPlans = {{1}, {2}, {4}, {5}, {int64_t{1} << 31}};
const Shape kShape = {5, 333, 32};  // too small to be cut without a plan

std::unique_ptr<Attention> layer_of(const char* type) {
  auto layer = create_attention_layer(type, {{"dim", 32}, {"num_heads", 2}});
  layer->build({kShape}, {.seed = 1});
  return layer;
}

double largest(const Array& a) {
  double most = 0;
  for (int64_t i = 0; i < a.size(); ++i)
    most = std::max(most, std::fabs(static_cast<double>(a.data<float>()[i])));
  return most;
}
double difference(const Array& a, const Array& b) {
  double most = 0;
  for (int64_t i = 0; i < a.size(); ++i)
    most = std::max(most, std::fabs(static_cast<double>(a.data<float>()[i]) -
                                    static_cast<double>(b.data<float>()[i])));
  return most;
}

// A slice has sums of its own, and gradients of weights are sums over slices.
constexpr double kRounding = 64 * 1.2e-7;

bool near(const Results& a, const Results& b) {
  if (a.values.size() != b.values.size()) return false;
  for (size_t i = 0; i < a.values.size(); ++i)
    if (difference(a.values[i], b.values[i]) > kRounding * std::max(largest(b.values[i]), 1.0))
      return false;
  return true;
}

}  // namespace

TEST_CASE("plans: results and gradients differ by rounding alone, bits not with the threads") {
  const auto layer = layer_of("multi_head");
  const Array x = wave(kShape, 1);
  const auto called = [&](const Plan& plan, int threads) {
    set_threads(threads);
    Context ctx;
    use_plan(ctx, plan);
    Results r = forward_and_gradients(*layer, ctx, {&x}, {.seed = 0});
    CHECK(plan_of(ctx) == plan);
    CHECK_FALSE(is_tuned(ctx));
    const engine::Context& e = ctx.impl().engine;
    CHECK(e.handles.sliced == (plan.slice_rows > 0 && plan.slice_rows < kShape[0]));
    if (e.handles.sliced) CHECK(e.slice_plan.rows == plan.slice_rows);
    return r;
  };
  const Results automatic = called({}, 2);
  for (const Plan& plan : kPlans) {
    INFO(tuning::plan_text(plan));
    const Results one = called(plan, 1);
    CHECK(near(one, automatic));
    CHECK(called(plan, 2) == one);
  }
  set_threads(2);
}

TEST_CASE("plans: one context takes one after the other, deterministic calls none") {
  const auto layer = layer_of("multi_head");
  const Array x = wave(kShape, 1);
  const Input input(x);
  Context ctx;
  use_plan(ctx, {2});
  layer->forward(ctx, {&input, 1}, {.seed = 0});
  CHECK(ctx.impl().engine.slice_plan.slices() == 3);
  layer->forward(ctx, {&input, 1}, {.seed = 0, .deterministic = true});
  CHECK(plan_of(ctx) == Plan{});
  use_plan(ctx, {1});
  layer->forward(ctx, {&input, 1}, {.seed = 0});
  CHECK(ctx.impl().engine.slice_plan.slices() == 5);
  use_plan(ctx, {});
  layer->forward(ctx, {&input, 1}, {.seed = 0});
  CHECK_FALSE(ctx.impl().engine.handles.sliced);
}

}  // namespace attn::testing
