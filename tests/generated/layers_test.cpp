// SPDX-License-Identifier: Apache-2.0
//
// The generated classes against the factory: the same layers, the same refusals.
#include <attn/factory.hpp>
#include <attn/layers.hpp>
#include <attn/log.hpp>

#include <catch2/catch.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tests/generated/library_types.hpp"

namespace {

using namespace attn;

// For any required parameter: a number that all rules between parameters allow for all of them at once.
struct Any {
  template <class T>
  operator Required<T>() const {  // NOLINT: stands for a value
    return T(24);
  }
};

template <class T, size_t... I>
typename T::Parameters some(std::index_sequence<I...>) {
  return {(static_cast<void>(I), Any{})...};
}
template <class T>
typename T::Parameters some() {
  return some<T>(std::make_index_sequence<T::kRequired>{});
}

// f.template operator()<T>() for every class.
template <class... T, class F>
void each(TypeList<T...>, F&& f) {
  (f.template operator()<T>(), ...);
}

Json without_name(Json config) {
  config.erase("name");
  return config;
}

template <class F>
std::string refusal(F&& f) {
  try {
    f();
  } catch (const InvalidArgument& e) {
    return e.what();
  }
  return "nothing was refused";
}

// The class and the factory refuse these parameters, or this name, in the same words.
template <class T>
void same_refusal(const typename T::Parameters& p, const std::string& part,
                  const std::string& name = "") {
  INFO(T::kType);
  const std::string text = refusal([&] { const T layer(p, name); });
  CHECK(text ==
        refusal([&] { static_cast<void>(create_attention_layer(T::kType, T::json_of(p), name)); }));
  CHECK_THAT(text, Catch::Contains(part));
}

template <class T>
void refusals_of() {
  using P = typename T::Parameters;
  if constexpr (requires(P p) { p.dim.value = 0; }) {
    P p = some<T>();
    p.dim = -1;
    same_refusal<T>(p, "Parameter 'dim' must be positive");
    // A rule between parameters, where the type has one.
    p.dim = 25;
    same_refusal<T>(p, "");
  }
  if constexpr (requires(P p) { p.dropout_rate = 2.0; }) {
    P p = some<T>();
    p.dropout_rate = 2.0;
    same_refusal<T>(p, "must be");
  }
  if constexpr (requires(P p) { p.kernel_initializer = "x"; }) {
    P p = some<T>();
    p.kernel_initializer = "no_such";
    same_refusal<T>(p, "Unknown initializer 'no_such'");
    p.kernel_initializer = Json{{"class_name", "HeNormal"}, {"config", Json{{"sed", 1}}}};
    same_refusal<T>(p, "sed");
  }
  if constexpr (requires(P p) { p.probability_type = "x"; }) {
    P p = some<T>();
    p.probability_type = "Routing";
    same_refusal<T>(p, "Probability type 'Routing' is not supported by attention layers");
    p.probability_type = "threshmax";
    p.probability_config = {{"slop", 5.0}};
    same_refusal<T>(p, "Probability type 'threshmax' got unsupported argument(s): ['slop']");
  }
  if constexpr (requires(P p) { p.qk_norm_type = "x"; }) {
    P p = some<T>();
    p.qk_norm_type = "x_norm";
    same_refusal<T>(p, "Unknown normalization type 'x_norm'");
  }
  same_refusal<T>(some<T>(), "Layer name must be a string without '/'", "a/b");
}

}  // namespace

TEST_CASE("layers: there is a class for each type of the library, in order") {
  std::vector<std::string> types;
  each(LayerClasses{}, [&]<class T>() { types.emplace_back(T::kType); });
  CHECK(types == library_types());
}

TEST_CASE("layers: every class gives the layer that the factory gives") {
  static_cast<void>(library_types());
  each(LayerClasses{}, [&]<class T>() {
    INFO(T::kType);
    const T layer(some<T>());
    CHECK(layer.type().id == T::kType);
    CHECK(!layer.name().empty());
    CHECK(T(some<T>(), "mine").name() == "mine");
    // Only what is required: the defaults of the class are those of the schema.
    Json required = Json::object();
    const attn_type& type = layer.type();
    size_t n = 0;
    for (uint32_t i = 0; i < type.n_params; ++i)
      if (type.params[i]->flags & ATTN_PARAM_REQUIRED) {
        required.set(type.params[i]->name, 24);
        ++n;
      }
    CHECK(n == T::kRequired);
    const auto other = create_attention_layer(T::kType, required);
    // A seed that was left out is drawn anew for each.
    Json found = without_name(layer.config()), wanted = without_name(other->config());
    for (uint32_t i = 0; i < type.n_params; ++i)
      if (type.params[i]->kind == ATTN_PARAM_SEED && type.params[i]->def.kind == ATTN_NULL) {
        found.set(type.params[i]->name, nullptr);
        wanted.set(type.params[i]->name, nullptr);
      }
    CHECK(found.dump() == wanted.dump());
  });
}

TEST_CASE("layers: what a class refuses, and in which words, is what the factory does") {
  static_cast<void>(library_types());
  each(LayerClasses{}, []<class T>() { refusals_of<T>(); });
}

TEST_CASE("layers: construction writes no log line, the factory one") {
  static_cast<void>(library_types());
  std::vector<std::string> lines;
  set_log_sink([&](LogLevel, std::string_view text) { lines.emplace_back(text); });
  each(LayerClasses{}, []<class T>() { const T layer(some<T>()); });
  CHECK(lines.empty());
  each(LayerClasses{}, []<class T>() {
    static_cast<void>(create_attention_layer(T::kType, T::json_of(some<T>())));
  });
  set_log_sink({});
  size_t classes = 0;
  each(LayerClasses{}, [&]<class T>() { ++classes; });
  CHECK(lines.size() == classes);
}

TEST_CASE("layers: an object of a class is a layer like any other") {
  static_cast<void>(library_types());
  MultiHeadAttention layer{{.dim = 24, .num_heads = 4, .kernel_initializer = "he_uniform"}};
  layer.build({Shape{2, 5, 24}, std::nullopt}, {.seed = 3});
  const auto other = create_attention_layer(
      "multi_head",
      MultiHeadAttention::json_of({.dim = 24, .num_heads = 4, .kernel_initializer = "he_uniform"}));
  other->build({Shape{2, 5, 24}, std::nullopt}, {.seed = 3});
  Array x(ATTN_F32, {2, 5, 24});
  for (int64_t i = 0; i < x.size(); ++i) x.data<float>()[i] = static_cast<float>(i % 7) - 3;

  const Array expected = other->forward(x);
  CHECK(layer.forward(x).to_vector<float>() == expected.to_vector<float>());
  MultiHeadAttention moved(std::move(layer));
  Attention& any = moved;
  CHECK(any.forward(x).to_vector<float>() == expected.to_vector<float>());

  Context ctx, other_ctx;
  const Input in(x), cotangent(expected);
  Gradients gradients(any), others(*other);
  any.forward(ctx, {&in, 1}, {.record = true});
  any.backward(ctx, {&cotangent, 1}, gradients);
  other->forward(other_ctx, {&in, 1}, {.record = true});
  other->backward(other_ctx, {&cotangent, 1}, others);
  REQUIRE(!gradients.entries().empty());
  for (const auto& entry : gradients.entries())
    CHECK(entry.gradient.to_vector<float>() == others.weight(entry.name)->to_vector<float>());
  CHECK(any.output_shapes({&in, 1}) == other->output_shapes({&in, 1}));
  CHECK(any.has_state());
  CHECK(any.states().size() == other->states().size());
}
