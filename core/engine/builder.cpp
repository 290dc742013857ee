// SPDX-License-Identifier: Apache-2.0
#include "core/engine/builder.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

#include <attn/sdk/error.hpp>

#include "core/engine/op_ref.hpp"
#include "core/error/error.hpp"
#include "core/schema/families/activation.hpp"
#include "core/schema/families/initializer.hpp"
#include "core/schema/families/norm.hpp"
#include "core/schema/families/probability.hpp"
#include "core/schema/families/program.hpp"
#include "core/schema/families/regularizer.hpp"
#include "core/schema/families/rotary.hpp"
#include "core/schema/json_text.hpp"

namespace attn::engine {

namespace {

BuilderHost& host(attn_builder* b) { return *static_cast<BuilderHost*>(b->host); }

int32_t weight(attn_builder* b, const attn_weight* w, uint32_t* index, attn_error* e) {
  return sdk::detail::guard(e, [&] { *index = host(b).add_weight(*w); });
}
int32_t state(attn_builder* b, const attn_state* s, uint32_t* index, attn_error* e) {
  return sdk::detail::guard(e, [&] { *index = host(b).add_state(*s); });
}
void log_line(attn_builder* b, int32_t level, const char* text) {
  log(level, (host(b).layer.name() + ": " + (text ? text : "")).c_str());
}
int32_t component(attn_builder* b, const attn_component_spec* s, const attn_component** out,
                  attn_error* e) {
  return sdk::detail::guard(e, [&] { *out = host(b).add_component(*s); });
}

// A file may lack numbers that the configuration has and no training changes.
void take_values(Weight& w, const schema::WeightDeclaration& d) {
  if (!d.trainable) w.flags |= ATTN_WEIGHT_OPTIONAL_IN_FILE;
  w.initial_value = Array::uninitialized(d.whole ? ATTN_I32 : ATTN_F64, w.shape);
  w.has_initial_value = true;
  for (size_t i = 0; i < d.values.size(); ++i) {
    if (d.whole)
      w.initial_value.data<int32_t>()[i] = static_cast<int32_t>(d.values[i]);
    else
      w.initial_value.data<double>()[i] = d.values[i];
  }
}

// A name or a JSON object, as parameters arrive.
Json json_of(const attn_value& v) {
  switch (v.kind) {
    case ATTN_NULL:
      return {};
    case ATTN_VALUE_STR:
      return Json(v.u.s);
    case ATTN_VALUE_OBJECT:
      return schema::parse_json(v.u.s);
    default:
      throw InvalidArgument("a name, an object or null is expected");
  }
}
Json json_of_text(const char* text) {
  if (!text) return {};
  return text[0] == '{' ? schema::parse_json(text) : Json(text);
}

// One weight, or what a state keeps of one position: more would be 8 GB and a mistake in the configuration.
constexpr int64_t kMostElements = std::numeric_limits<int32_t>::max();

Shape checked_shape(const char* what, const char* name, int32_t rank, const int64_t* dims,
                    int64_t least) {
  if (rank < 0 || rank > ATTN_MAX_RANK)
    throw Failure(std::string(what) + " '" + name + "': rank " + std::to_string(rank) +
                  " is out of range");
  const Shape shape(dims, static_cast<size_t>(rank));
  int64_t elements = 1;
  for (const int64_t n : shape)
    if (n < least || __builtin_mul_overflow(elements, std::max<int64_t>(n, 1), &elements) ||
        elements > kMostElements)
      throw InvalidArgument(std::string(what) + " '" + name + "' cannot have shape " +
                            shape.to_string() + "; expected at most " +
                            std::to_string(kMostElements) + " elements");
  return shape;
}

}  // namespace

BuilderHost::BuilderHost(Layer& to, const std::vector<attn_shape>& inputs) : layer(to) {
  table.struct_size = sizeof table;
  table.n_inputs = static_cast<uint32_t>(inputs.size());
  table.inputs = inputs.data();
  table.host = this;
  table.weight = &weight;
  table.state = &state;
  table.component = &component;
  table.log = &log_line;
}

Weight& BuilderHost::new_weight(std::string name, const Shape& shape, uint32_t flags) {
  if (name.empty()) throw Failure("a weight has no name");
  if (layer.find_weight(name)) throw Failure("two weights are called '" + name + "'");
  Weight& w = layer.weights_.emplace_back();
  w.name = std::move(name);
  w.shape = shape;
  w.flags = flags;
  return w;
}

uint32_t BuilderHost::add_weight(const attn_weight& d) {
  const char* name = d.name ? d.name : "";
  Weight& w = new_weight(name, checked_shape("weight", name, d.rank, d.shape, 0), d.flags);
  if (d.initializer.kind == ATTN_VALUE_F64)
    w.initializer = schema::constant(d.initializer.u.f);
  else
    w.initializer = schema::resolve_initializer(json_of(d.initializer));
  w.regularizer = schema::resolve_regularizer(json_of(d.regularizer));
  if (ATTN_HAS(&d, attn_weight, initial_dtype) && d.initial_value) take_initial_value(w, d);
  if (ATTN_HAS(&d, attn_weight, tolerance) && d.flags & ATTN_WEIGHT_NOT_STORED) {
    w.table = d.table;
    w.tolerance = d.tolerance;
  }
  return static_cast<uint32_t>(layer.weights_.size() - 1);
}

void BuilderHost::take_initial_value(Weight& w, const attn_weight& d) {
  const auto dtype = static_cast<attn_dtype>(d.initial_dtype);
  if (d.initial_dtype < ATTN_F32 || d.initial_dtype > ATTN_BOOL ||
      (w.flags & (ATTN_WEIGHT_TRAINABLE | ATTN_WEIGHT_STATISTIC | ATTN_WEIGHT_NOT_STORED)))
    throw Failure("weight '" + w.name +
                  "' is declared wrongly: contents have a dtype and are not trained");
  w.initial_value = Array::uninitialized(dtype, w.shape);
  std::memcpy(w.initial_value.raw(), d.initial_value, w.initial_value.bytes());
  w.has_initial_value = true;
}

uint32_t BuilderHost::add_state(const attn_state& d) {
  StateDeclaration s;
  s.name = d.name ? d.name : "";
  s.flags = d.flags;
  s.axis = d.axis;
  s.max_len = d.max_len;
  s.shape = checked_shape("state", s.name.c_str(), d.rank, d.shape, -1);
  if (!(layer.type().flags & ATTN_TYPE_STATEFUL))
    throw Failure("state '" + s.name +
                  "' of a type without the flag ATTN_TYPE_STATEFUL; set it in the type's table");
  const bool history = (d.flags & ATTN_STATE_HISTORY) != 0;
  if (s.name.empty() || d.rank < 1 || history == ((d.flags & ATTN_STATE_VALUE) != 0) ||
      d.max_len < 0 || (history && (d.axis < 1 || d.axis >= d.rank)))
    throw Failure("state '" + s.name +
                  "' is declared wrongly: a name, one of the two kinds, the batch as the "
                  "first axis, an axis behind it and a length >= 0 are expected");
  layer.states_.push_back(std::move(s));
  return static_cast<uint32_t>(layer.states_.size() - 1);
}

const attn_component* BuilderHost::add_component(const attn_component_spec& s) {
  const std::string_view family = s.family ? s.family : "";
  const std::string site = s.site ? s.site : "";
  const Json options = s.options ? schema::parse_json(s.options) : Json();
  const Json name = s.name ? Json(s.name) : Json();
  if (s.input.rank < 0 || s.input.rank > ATTN_MAX_RANK)
    throw Failure("component '" + site + "': rank " + std::to_string(s.input.rank) +
                  " is out of range");
  BuiltComponent& built = layer.components_.emplace_back();
  built.name = std::string(family) + " '" + (s.name ? s.name : "") + "'" +
               (site.empty() ? "" : " (" + site + ")");
  if (family == "norm") {
    built.component = schema::norm_component(schema::resolve_norm(name, options), s.input, site,
                                             (s.flags & ATTN_SITE_MAP) != 0);
  } else if (family == "probability") {
    built.component = schema::probability_component(
        schema::resolve_probability(s.name ? s.name : "softmax", options));
  } else if (family == "activation") {
    built.component =
        schema::activation_component(schema::resolve_activation(name, options), s.input, site);
  } else if (family == "regularizer") {
    built.component =
        schema::regularizer_component(schema::resolve_regularizer(json_of_text(s.name)));
  } else if (family == "rotary") {
    built.component = schema::rotary_component(schema::resolve_rotary(options),
                                               s.input.rank ? s.input.dim[0] : -1);
  } else if (family == schema::kCaptures) {
    built.component = schema::captures_component(schema::resolve_captures(options),
                                                 s.input.rank ? s.input.dim[0] : -1);
  } else {
    throw Failure("no family '" + std::string(family) + "'");
  }

  built.weights.assign(static_cast<size_t>(built.component.slots), -1);
  for (const schema::WeightDeclaration& d : built.component.weights) {
    Weight& w = new_weight(site.empty() ? d.name : site + "/" + d.name, Shape(d.shape),
                           (d.trainable ? uint32_t{ATTN_WEIGHT_TRAINABLE} : 0u) |
                               (d.statistic ? uint32_t{ATTN_WEIGHT_STATISTIC} : 0u));
    w.initializer = d.initializer;
    w.regularizer = d.regularizer;
    if (!d.values.empty()) take_values(w, d);
    built.weights[static_cast<size_t>(d.slot)] = static_cast<int32_t>(layer.weights_.size() - 1);
  }
  built.table.struct_size = sizeof built.table;
  built.table.flags = built.component.flags;
  built.table.n_attrs = static_cast<uint32_t>(built.component.attributes.size());
  built.table.n_weights = static_cast<uint32_t>(built.weights.size());
  built.table.attrs = built.component.attributes.data();
  built.table.weights = built.weights.data();
  return &built.table;
}

}  // namespace attn::engine
