// SPDX-License-Identifier: Apache-2.0
//
// What is left out means the same everywhere: in a config, in each operator that begins with the attributes of a
// probability, and in the numbers of core/kinds/probability.hpp.
#include <attn/sdk/plugin.hpp>

#include "core/ops/score_rows_test.hpp"
#include "core/schema/families/activation.hpp"
#include "core/schema/families/probability.hpp"

using namespace attn;
using namespace attn::ops;
using namespace attn::ops::testing;

namespace {

// The attributes that a config of a kind gives, as a trial takes them.
std::vector<Attribute> of_config(int64_t kind) {
  const char* const name[] = {"softmax", "sparsemax", "threshmax", "adaptive", "adaptive"};
  const schema::Component c = schema::probability_component(schema::resolve_probability(
      name[kind], kind == kPaper ? Json{{"form", "paper"}} : Json(nullptr)));
  const auto& a = c.attributes;
  REQUIRE(a[0].u.i == kind);
  return {kind,
          Axes{-1},
          a[2].u.f,
          a[3].u.f,
          a[4].u.f,
          a[5].u.f,
          Reals(a[6].u.fs, a[6].u.fs + a[6].count)};
}

}  // namespace

TEST_CASE("probability defaults: the operators begin with the same attributes") {
  const attn_op &a = op_attention(), &p = op_probability();
  for (size_t i = 0; i < kProbabilityAttributes; ++i) {
    const attn_param &x = *a.attrs[i], &y = *p.attrs[i];
    INFO(x.name);
    CHECK(std::string(x.name) == y.name);
    CHECK(x.kind == y.kind);
    CHECK(x.def.kind == y.def.kind);
    CHECK(x.def.count == y.def.count);
    if (x.def.kind == ATTN_VALUE_F64) CHECK(x.def.u.f == y.def.u.f);
    if (x.def.kind == ATTN_VALUE_I64) CHECK(x.def.u.i == y.def.u.i);
  }
}

TEST_CASE("probability defaults: attributes left out are those of a config that says nothing") {
  for (const int64_t kind : kKinds)
    for (const int32_t dtype : {ATTN_F64, ATTN_F32}) {
      INFO("kind " << kind);
      const std::vector<Attribute> given = of_config(kind), absent{kind, Axes{-1}};
      Trial t = attention_trial({.kind = kind});
      t.in[kQuery] = uniform({1, 1, kPatterns, 4}, -1, 1, 3);
      t.in[kKey] = uniform({1, 1, 37, 4}, -1, 1, 4);
      Trial u = t;
      t.attrs = given;
      u.attrs = absent;
      CHECK(t.run({dtype}).out[1].x == u.run({dtype}).out[1].x);
      t = u = probability_trial(kind, -1);
      t.in[0] = u.in[0] = uniform({kPatterns, 37}, -1, 1, 5);
      t.attrs = given;
      u.attrs = absent;
      CHECK(t.run({dtype}).out[0].x == u.run({dtype}).out[0].x);
    }
}

constexpr ProbabilityOptions kOptions;

TEST_CASE("probability defaults: the options' table says what the numbers are") {
  const auto def = [](const schema::Family& family, const char* member, const char* option) {
    const schema::Options options(family, *family.find(member), member, nullptr);
    return options.value(option);
  };
  for (const char* name : {"adaptive", "adaptive_softmax"}) {
    const bool activation = std::string(name) == "adaptive_softmax";
    const schema::Family& family = activation ? schema::activations() : schema::probabilities();
    CHECK(def(family, name, "min_temp").to_double() == kOptions.min_temp);
    CHECK(def(family, name, "max_temp").to_double() == kOptions.max_temp);
    CHECK(def(family, name, "entropy_threshold").to_double() == kOptions.entropy_threshold);
    CHECK(def(family, name, "eps").is_null());                  // that of the kind
    CHECK(def(family, name, "polynomial_coeffs").size() == 0);  // those of the form
    CHECK(def(family, name, "form").as_string() == "keras");
  }
  for (const char* name : {"threshmax", "thresh_max"}) {
    const bool activation = std::string(name) == "thresh_max";
    const schema::Family& family = activation ? schema::activations() : schema::probabilities();
    CHECK(def(family, name, "slope").to_double() == kOptions.slope);
    CHECK(def(family, name, "epsilon").to_double() == default_epsilon(ProbabilityKind::threshmax));
  }
}

TEST_CASE("operator defaults: those of the structs of options of the SDK are the operators'") {
  const auto real = [](const attn_op& op, const char* name) {
    for (size_t i = 0; i < op.n_attrs; ++i)
      if (std::string(op.attrs[i]->name) == name)
        return op.attrs[i]->def.kind == ATTN_VALUE_F64 ? op.attrs[i]->def.u.f
                                                       : static_cast<double>(op.attrs[i]->def.u.i);
    FAIL("no attribute " << name);
    return 0.0;
  };
  const sdk::AttentionOptions a;
  const attn_op& op = op_attention();
  CHECK(real(op, "causal") == static_cast<double>(a.causal));
  CHECK(real(op, "span") == static_cast<double>(a.window));
  CHECK(real(op, "block") == static_cast<double>(a.block));
  CHECK(real(op, "fully_masked_rows") == static_cast<double>(a.zero_fully_masked_rows));
  CHECK(real(op, "dropout") == a.dropout);
  CHECK(real(op, "tile") == static_cast<double>(a.tile));
  CHECK(real(op, "window_left") == static_cast<double>(a.window_left));
  CHECK(real(op, "window_right") == static_cast<double>(a.window_right));
  CHECK(real(op, "softcap") == a.softcap);
  CHECK(real(op, "map_stage") == static_cast<double>(a.map_stage));
  CHECK(real(op_probability(), "fully_masked_rows") ==
        static_cast<double>(a.zero_fully_masked_rows));
  CHECK(real(op_sharded_attention(), "dropout") == a.dropout);
  CHECK(real(op_sharded_attention(), "tile") == static_cast<double>(a.tile));
  const sdk::MatmulOptions m;
  CHECK(real(op_matmul(), "transpose_a") == static_cast<double>(m.transpose_a));
  CHECK(real(op_matmul(), "transpose_b") == static_cast<double>(m.transpose_b));
  CHECK(real(op_matmul(), "alpha") == m.alpha);
  CHECK(real(op_matmul(), "skip_zeros") == static_cast<double>(m.skip_zeros));
}
