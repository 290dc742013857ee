// SPDX-License-Identifier: Apache-2.0
//
// Weights and histories in bfloat16, float16 and int8, for every type: close to float64, the same bits on any number of
// threads, at every level.
#include <attn/config.hpp>
#include <attn/factory.hpp>
#include <attn/threads.hpp>
#include <catch2/catch.hpp>

#include <cmath>
#include <functional>

#include "core/cpu/testing_levels.hpp"
#include "host/check/generator/call.hpp"
#include "tests/tools/plugin_folders.hpp"

using namespace attn;
using namespace attn::check;

namespace {

constexpr StorageKind kKinds[] = {StorageKind::bfloat16, StorageKind::float16, StorageKind::int8};

// Of the largest result.
double allowed(StorageKind kind) { return kind == StorageKind::int8 ? 3e-2 : 1e-2; }

Json example(const std::string& type) {
  Json config = load_config(test::type_examples().at(type)).value();
  config.erase("type");
  config.erase("name");
  return config;
}

// A float32 layer with the weights of `layer`.
std::unique_ptr<Attention> compact(const Attention& layer, const Json& config, StorageKind kind) {
  auto out = create_attention_layer(layer.type().id, config);
  out->build(layer.built_for(), {.seed = 1, .weights = kind});
  for (const WeightInfo& w : layer.weights())
    if (!w.not_stored) out->set_weight(w.name, layer.weight(w.name));
  return out;
}

void for_each_type(const std::function<void(const std::string&, const Json&)>& f) {
  size_t types = 0;
  for (const std::string& type : list_attention_types()) {
    ++types;
    CAPTURE(type);
    f(type, example(type));
  }
  CHECK(types >= 20);
}

Array normal(const Shape& shape, uint64_t seed) {
  Array a(ATTN_F64, shape);
  Random random(seed, "normal", 0);
  for (int64_t i = 0; i < a.size(); ++i)
    a.data<double>()[i] = random.uniform(-1, 1) + random.uniform(-1, 1);
  return a.astype(ATTN_F32);
}

// Positions [begin, end) of (batch, positions, width).
Array piece(const Array& x, int64_t begin, int64_t end) {
  ConstView v = x.view();
  v.data = x.data<float>() + begin * x.shape()[2];
  v.shape[1] = end - begin;
  return Array::copy_of(v);
}

Array decode(Attention& layer, State& state, const Array& x) {
  const CallOptions options{.state = &state};
  return layer.forward({x.view()}, options).astype(ATTN_F64);
}

double largest(const Array& x) { return magnitude(to_tensor(x.view())); }
double difference(const Array& a, const Array& b) {
  return largest_difference(to_tensor(a.view()), to_tensor(b.view()));
}

// f(layer in float64, config) for the types that keep histories of one sequence.
void for_each_history(const std::function<void(Attention&, const Json&)>& f) {
  int count = 0;
  for_each_type([&](const std::string& type, const Json& given) {
    Json config = given;
    const attn_type& t = *find_attention_type(type).type;
    for (uint32_t i = 0; i < t.n_params; ++i)
      if (t.params[i]->flags & ATTN_PARAM_CAUSAL) config.set(t.params[i]->name, true);
    const Json* dim = config.find("dim");
    if (!(t.flags & ATTN_TYPE_STATEFUL) || !dim) return;
    auto layer = create_attention_layer(type, config);
    layer->build({Shape{2, -1, *dim->to_int64()}}, {.dtype = ATTN_F64, .seed = 3});
    for (const StateInfo& s : layer->states())
      if (!s.history) return;
    if (layer->states().empty()) return;
    ++count;
    f(*layer, config);
  });
  CHECK(count >= 4);
}

}  // namespace

TEST_CASE("storage: weights of every type, near float64") {
  for_each_type([](const std::string& type, const Json& config) {
    // It repeats a softmax of its own results: what rounding moves, every update moves again.
    const double factor = type == "hopfield" ? 2 : 1;
    for (const uint64_t number : {0u, 1u, 2u}) {
      Case c = make_case({11, type, number}, {.config = &config});
      c.problem.training = false;
      const auto exact = make_layer(c, ATTN_F64);
      const Outputs expected = run(*exact, c, c.problem.inputs, spec_of(c));
      for (const StorageKind kind : kKinds) {
        const auto layer = compact(*exact, c.problem.config, kind);
        const Outputs found = run(*layer, c, c.problem.inputs, spec_of(c));
        for (const auto& [name, y] : expected) {
          CAPTURE(storage_name(kind), name, number, told(c));
          CHECK(largest_difference(found.at(name), y) <= factor * allowed(kind) * magnitude(y));
        }
      }
    }
  });
}

TEST_CASE("storage: histories, near float64, taken back and reordered") {
  for_each_history([](Attention& exact, const Json& config) {
    const int64_t width = *config.find("dim")->to_int64();
    const Array x = normal({2, 20, width}, 5);
    for (const StorageKind kind : kKinds) {
      CAPTURE(storage_name(kind));
      const auto layer = compact(exact, config, kind);
      const auto state = layer->make_state(2, 24, kind), other = exact.make_state(2, 24);
      const auto plain = layer->make_state(2, 24);
      const auto both = [&](int64_t begin, int64_t end) {
        const Array y = decode(exact, *other, piece(x, begin, end));
        CAPTURE(begin, end);
        CHECK(difference(decode(*layer, *state, piece(x, begin, end)), y) <=
              allowed(kind) * largest(y));
      };
      both(0, 13);  // more rows than are read as they are kept
      for (int64_t i = 13; i < 18; ++i) both(i, i + 1);
      state->truncate(15), other->truncate(15);
      both(15, 17);
      state->reorder({1, 0}), other->reorder({1, 0});
      both(17, 18);
      CHECK(state->length() == 18);
      static_cast<void>(decode(*layer, *plain, piece(x, 0, 18)));
      CHECK(static_cast<double>(state->bytes()) <
            (kind == StorageKind::int8 ? 0.45 : 0.51) * static_cast<double>(plain->bytes()));
      state->reset(), other->reset();
      both(0, 3);
    }
  });
}

TEST_CASE("storage: levels agree, threads do not matter") {
  const int before = thread_count();
  for_each_history([](Attention& exact, const Json& config) {
    const int64_t width = *config.find("dim")->to_int64();
    const Array x = normal({2, 20, width}, 5);
    for (const StorageKind kind : kKinds) {
      const auto layer = compact(exact, config, kind);
      Array other_level;
      cpu::at_each_level([&] {
        CAPTURE(storage_name(kind), cpu::name(cpu::level()));
        Array first;
        for (const int threads : {1, 2, 3}) {
          set_threads(threads);
          const auto state = layer->make_state(2, 24, kind);
          static_cast<void>(decode(*layer, *state, piece(x, 0, 17)));
          const Array y = decode(*layer, *state, piece(x, 17, 18));
          if (threads == 1) first = y.clone();
          CHECK(difference(y, first) == 0);
        }
        if (other_level.size() == 0) other_level = first.clone();
        // What rounds differently by level may be kept as the next number.
        CHECK(difference(first, other_level) <= allowed(kind) / 10 * largest(first));
      });
    }
  });
  set_threads(before);
}

TEST_CASE("storage: products of bfloat16 in every type, near float64, gone when not asked for") {
  const int before = thread_count();
  for_each_type([](const std::string& type, const Json& config) {
    const bool twice = type == "gated" || type == "hopfield" || type == "non_local";
    const double factor = twice ? 2 : 1;
    for (const uint64_t number : {0u, 1u, 2u}) {
      Case c = make_case({11, type, number}, {.config = &config});
      c.problem.training = false;
      CAPTURE(number, told(c));
      const auto exact = make_layer(c, ATTN_F64);
      const Outputs expected = run(*exact, c, c.problem.inputs, spec_of(c));
      const auto layer = compact(*exact, c.problem.config, StorageKind::float32);
      Call call(*layer, c, c.problem.inputs, spec_of(c));
      const Outputs plain = call.run();
      Outputs first;
      call.context().matmul_precision(MatmulPrecision::bfloat16);
      for (const int threads : {1, 2, 3}) {
        set_threads(threads);
        const Outputs found = call.run();
        if (threads == 1) first = found;
        for (const auto& [name, y] : expected) {
          CAPTURE(name, threads);
          CHECK(largest_difference(found.at(name), y) <= factor * 1e-2 * magnitude(y));
          CHECK(largest_difference(found.at(name), first.at(name)) == 0);
        }
      }
      call.context().matmul_precision(MatmulPrecision::float32);
      for (const auto& [name, y] : call.run()) CHECK(largest_difference(y, plain.at(name)) == 0);
    }
  });
  set_threads(before);
}

TEST_CASE("storage: products of bfloat16 follow changes of weights and leave gradients alone") {
  auto layer = create_attention_layer("multi_head", {{"dim", 64}, {"num_heads", 4}});
  layer->build({Shape{1, -1, 64}}, {.seed = 1});
  const Array x = normal({2, 40, 64}, 1);
  const std::vector<Input> inputs{x};
  Context plain, ctx;
  ctx.matmul_precision(MatmulPrecision::bfloat16);
  const auto result = [&](Context& of) {
    layer->forward(of, inputs);
    return Array::copy_of(*of.output());
  };
  const Array y = result(ctx), exact = result(plain);
  CHECK(difference(y, exact) <= 1e-2 * largest(exact));
  const std::string name = layer->weights().front().name;
  Array changed = Array::copy_of(layer->weight(name));
  for (int64_t i = 0; i < changed.size(); ++i) changed.data<float>()[i] *= 1.5f;
  layer->set_weight(name, changed.view());
  CHECK(difference(result(ctx), y) > 0);
  CHECK(difference(result(ctx), result(plain)) <= 1e-2 * largest(result(plain)));
  // Whoever looks changes nothing, and sees what is near.
  const Array unseen = result(ctx);
  for (Context* c : {&ctx, &plain}) c->observe({.names = {"row_max", "entropy", "column_mass"}});
  CHECK(difference(result(ctx), unseen) == 0);
  static_cast<void>(result(plain));
  const std::vector<Observed> near = ctx.take_observed(), exactly = plain.take_observed();
  REQUIRE(near.size() == 3);
  for (size_t i = 0; i < near.size(); ++i)
    CHECK(difference(near[i].value, exactly[i].value) <= 1e-2 * largest(exactly[i].value));
  // What is recorded is float32.
  layer->forward(ctx, inputs, {.record = true});
  CHECK(difference(Array::copy_of(*ctx.output()), result(plain)) <= 1e-5);
}

TEST_CASE("storage: what is refused, and what a change of weights does") {
  const Json config = {{"dim", 32}, {"num_heads", 4}};
  const auto make = [&](const BuildOptions& options) {
    auto layer = create_attention_layer("multi_head", config);
    layer->build({Shape{1, -1, 32}}, options);
    return layer;
  };
  CHECK_THROWS_WITH(make({.dtype = ATTN_F64, .weights = StorageKind::int8}),
                    Catch::Contains("weights in int8 need a layer that computes in float32"));
  const auto layer = make({.seed = 1, .weights = StorageKind::float16});
  const Array x = normal({1, 5, 32}, 1);
  Context ctx;
  const std::vector<Input> inputs{x};
  CHECK_THROWS_WITH(layer->forward(ctx, inputs, {.record = true}),
                    Catch::Contains("weights in float16, which have no gradient"));
  const Array y = layer->forward(x);
  const std::string name = layer->weights().front().name;
  const Array kept = Array::copy_of(layer->weight(name));
  Array changed = kept.clone();
  for (int64_t i = 0; i < changed.size(); ++i) changed.data<float>()[i] *= 2;
  layer->set_weight(name, changed.view());
  CHECK(difference(layer->forward(x), y) > 0);
  changed.data<float>()[0] = 1e6f;
  layer->set_weight(name, changed.view());
  CHECK_THROWS_WITH(layer->forward(x), Catch::Contains("float16 cannot keep"));
  layer->set_weight(name, kept.view());
  CHECK(difference(layer->forward(x), y) == 0);

  CHECK_THROWS_WITH(make({.dtype = ATTN_F64})->make_state(1, 8, StorageKind::int8),
                    Catch::Contains("need a layer that computes in float32"));
  const auto state = layer->make_state(1, 8, StorageKind::float16);
  Array huge = normal({1, 2, 32}, 2);
  for (int64_t i = 0; i < huge.size(); ++i) huge.data<float>()[i] *= 1e6f;
  CHECK_THROWS_WITH(decode(*layer, *state, huge), Catch::Contains("too large for float16"));
  CHECK(state->length() == 0);
  CHECK(decode(*layer, *state, x).size() == 5 * 32);
}

TEST_CASE("storage: a type that keeps running values alone refuses by name") {
  int refused = 0;
  for (const std::string& type : list_attention_types()) {
    const attn_type& t = *find_attention_type(type).type;
    if (!(t.flags & ATTN_TYPE_STATEFUL)) continue;
    Json config = example(type);
    for (uint32_t i = 0; i < t.n_params; ++i)
      if (t.params[i]->flags & ATTN_PARAM_CAUSAL) config.set(t.params[i]->name, true);
    auto layer = create_attention_layer(type, config);
    const Case c = make_case({11, type, 0}, {.config = &config});
    layer->build(shapes_of(c), {.seed = 1});
    const std::vector<StateInfo> states = layer->states();
    if (states.empty() ||
        std::any_of(states.begin(), states.end(), [](const StateInfo& s) { return s.history; }))
      continue;
    CAPTURE(type);
    CHECK_THROWS_WITH(layer->make_state(1, 8, StorageKind::bfloat16),
                      Catch::Contains("a running value stays float32"));
    ++refused;
  }
  CHECK(refused > 0);
}
