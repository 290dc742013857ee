// SPDX-License-Identifier: Apache-2.0
//
// A keep mask of ones is no mask, to the last bit of outputs and gradients: every type, every norm and probability,
// every shape and kind of mask. (Nine positions fill a window, so that no padding cell is left out by the mask.)
#include <set>

#include "core/schema/families/norm.hpp"
#include "core/schema/families/probability.hpp"
#include "tests/masks/small.hpp"

namespace attn::masks {
namespace {

// One change at a time: each probability with each axis, each norm, each flag, each choice.
std::vector<Json> settings_of(const attn_type& t) {
  const Json base = small_config(t);
  std::vector<Json> out{base};
  const auto add = [&](const char* name, const Json& value) {
    Json config = base;
    config.set(name, value);
    out.push_back(config);
  };
  for (uint32_t i = 0; i < t.n_params; ++i) {
    const attn_param& p = *t.params[i];
    if (p.kind == ATTN_PARAM_BOOL) add(p.name, p.def.u.i == 0);
    for (uint32_t c = 0; p.kind == ATTN_PARAM_TEXT && c < p.n_choices; ++c)
      add(p.name, p.choices[c]);
    if (p.kind == ATTN_PARAM_NORM)
      for (const schema::FamilyMember& m : schema::norms().members)
        if (!m.extra) add(p.name, m.name);
    if (p.kind == ATTN_PARAM_PROBABILITY)
      for (const schema::FamilyMember& m : schema::probabilities().members) {
        add(p.name, m.name);
        Json config = out.back();
        for (const int64_t axis : {-2, -3}) {
          config.set("probability_config", Json{{"axis", axis}});
          out.push_back(config);
        }
      }
  }
  return out;
}

struct Results {
  std::vector<Array> values{};
  std::string refused{};
  friend bool operator==(const Results& a, const Results& b) {
    bool same = a.refused == b.refused && a.values.size() == b.values.size();
    for (size_t i = 0; same && i < a.values.size(); ++i)
      same = a.values[i].bytes() == b.values[i].bytes() &&
             std::memcmp(a.values[i].raw(), b.values[i].raw(), a.values[i].bytes()) == 0;
    return same;
  }
};

// All optional outputs too, and the gradients of everything but masks.
Results results(Attention& layer, const Call& call) {
  Results r;
  const attn_type& t = layer.type();
  try {
    Context ctx(layer.dtype());
    const std::vector<Input> in = inputs_of(call);
    layer.forward(ctx, in, {.record = true, .arguments = call.arguments});
    for (uint32_t i = 0; i < t.n_outputs; ++i)
      if (const auto y = ctx.output(t.outputs[i]->name)) r.values.push_back(Array::copy_of(*y));
    const Array cotangent = noise(layer.dtype(), r.values[0].shape(), 5);
    const Input c("output", cotangent.view());
    Gradients gradients(layer);
    layer.backward(ctx, {&c, 1}, gradients);
    for (const auto& [name, array] : call.inputs)
      if (const auto g = ctx.input_gradient(name); g && dtype_is_floating(array.dtype()))
        r.values.push_back(Array::copy_of(*g));
    for (const auto& e : gradients.entries())
      if (e.trained) r.values.push_back(e.gradient.clone());
  } catch (const InvalidArgument& e) {
    r = {.refused = e.what()};
  }
  return r;
}

}  // namespace

TEST_CASE("ones: a mask of ones changes no bit of outputs and gradients") {
  std::set<std::string> types;
  for_each_type([&](const attn_type& t) {
    for (const attn_input* mask : masks_of(t)) {
      int compared = 0, different = 0;
      for (const attn_dtype dtype : {ATTN_F32, ATTN_F64})
        for (const Json& config : settings_of(t)) {
          const Call plain = small_call(t, dtype, false);
          std::unique_ptr<Attention> layer;
          Results expected;
          try {
            layer = small_layer(t, config, dtype, plain);
            expected = results(*layer, plain);
          } catch (const InvalidArgument&) {
            continue;
          }
          for (uint32_t s = 0; s < mask->n_shapes; ++s)
            for (const attn_dtype kind : {ATTN_BOOL, ATTN_I32, ATTN_U8, ATTN_F32, ATTN_F64}) {
              // Added to the scores it is something else; what multiplies by 1 does nothing.
              if (dtype_is_floating(kind) && mask->flags & ATTN_INPUT_NUMBERS) continue;
              Call masked = plain;
              masked.inputs.emplace(mask->name, ones(mask->shapes[s], kind));
              const Results r = results(*layer, masked);
              // Norms over positions go with no mask, and a mask by key masks nothing along other axes.
              if (!r.refused.empty()) continue;
              ++compared;
              if (r == expected) continue;
              ++different;
              UNSCOPED_INFO(config.dump() << " " << dtype_name(dtype) << ", mask ("
                                          << mask->shapes[s] << ") of " << dtype_name(kind));
            }
        }
      CAPTURE(t.id, mask->name);
      CHECK(different == 0);
      CHECK(compared >= 20);
      types.insert(t.id);
    }
  });
  CHECK(types.size() >= 15);
}

}  // namespace attn::masks
