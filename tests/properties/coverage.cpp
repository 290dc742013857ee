// SPDX-License-Identifier: Apache-2.0
#include "tests/properties/coverage.hpp"

#include <attn/factory.hpp>

#include "core/schema/families/initializer.hpp"
#include "core/schema/families/program.hpp"
#include "core/schema/families/regularizer.hpp"
#include "core/schema/json_text.hpp"
#include "core/schema/value.hpp"
#include "host/check/generator/values.hpp"

namespace attn::properties {
namespace {

using check::effective;
using check::extents_of;
using check::family_of;
using check::has_parameter;
using check::names_for;
using check::probabilities;
using check::Tensor;

std::string family_name(const attn_param& p) {
  return p.kind == ATTN_PARAM_NORM          ? "norm"
         : p.kind == ATTN_PARAM_PROBABILITY ? "probability"
                                            : "activation";
}

// Something else than what holds without the option.
bool is_unusual(const schema::FamilyMember& m, const std::string& key, const Json& value) {
  for (const schema::Option& o : m.options)
    if (key == o.name) return !(value == schema::parse_json(o.def));
  return false;
}

// There is something else.
bool has_choice(const schema::Option& o) {
  using schema::OptionKind;
  if (o.kind == OptionKind::nothing) return false;
  if (o.kind == OptionKind::text) return o.choices.size() > 1;
  // The only limits of an optimiser that can be given are none.
  return o.kind != OptionKind::constraint || std::string(o.def) != "null";
}

// Marks the options in a named object such as {"class_name": "L2", "config": {...}}.
void mark_named(const char* what, const schema::Family& family, const Json& value, Marks& marks) {
  if (!value.is_object()) return;
  const schema::FamilyMember& m = *family.find(value.at("class_name").as_string());
  for (const auto& [key, option] : value.at("config").as_object())
    if (is_unusual(m, key, option))
      marks.insert(std::string("option ") + what + "." + m.name + "." + key);
}

}  // namespace

void mark_call(const Case& c, Marks& marks) {
  const attn_type& type = *find_attention_type(c.id.type).type;
  const std::string at = c.id.type + ".";
  bool ragged = false;
  for (uint32_t i = 0; i < type.n_inputs; ++i) {
    const std::string name = type.inputs[i]->name;
    const auto it = c.problem.inputs.find(name);
    if (it == c.problem.inputs.end()) {
      marks.insert("no input " + at + name);
      continue;
    }
    marks.insert("input " + at + name);
    marks.insert("rank " + at + name + "=" + std::to_string(it->second.rank()));
    if (check::is_mask(c, name)) continue;
    const Tensor& t = it->second;
    ragged = ragged || (t.dim(-1) % 16 != 0 && t.dim(1) % 16 != 0 && t.size() > 256);
  }
  for (uint32_t i = 0; i < type.n_args; ++i) {
    const attn_param& a = *type.args[i];
    const Json* given = c.problem.arguments.find(a.name);
    if (!given || given->is_null()) continue;
    const bool same = (a.def.kind == ATTN_VALUE_BOOL && given->is_bool() &&
                       given->as_bool() == (a.def.u.i != 0)) ||
                      (a.def.kind == ATTN_VALUE_I64 && given->to_int64() == a.def.u.i);
    if (!same) marks.insert("argument " + at + a.name);
  }
  if (ragged) marks.insert("ragged " + c.id.type);
  if (!c.problem.tables.empty()) marks.insert("tables of the call " + c.id.type);
  for (const auto& [name, table] : check::tables_of(c, {0}))
    if (table.size() != c.problem.tables.at(name).size())
      marks.insert("table by rows of the batch");
  // More keys than a block has; routing is tried with fewer.
  if (extents_of(c).keys > (has_parameter(type, "routing_iterations") ? 512 : 1024))
    marks.insert("long " + c.id.type);
}

void mark_config(const std::string& type, const Json& config, Marks& marks) {
  const attn_type& t = *find_attention_type(type).type;
  for (uint32_t i = 0; i < t.n_params; ++i) {
    const attn_param& p = *t.params[i];
    const Json value = effective(type, config, p.name);
    const std::string at = type + "." + p.name;
    if ((p.flags & ATTN_PARAM_REQUIRED) || !(value == schema::to_json(p, p.def)))
      marks.insert("parameter " + at);
    for (uint32_t a = 0; a < p.n_aliases; ++a)
      if (config.contains(p.aliases[a])) marks.insert("alias " + type + "." + p.aliases[a]);
    if (const schema::Family* family = family_of(p.kind); family && value.is_string()) {
      std::string name = value.as_string();
      if (p.kind == ATTN_PARAM_PROBABILITY) name = probabilities().find(name)->name;
      marks.insert(family_name(p) + " " + at + "=" + name);
    }
    if (p.kind == ATTN_PARAM_TEXT && value.is_string() && !schema::is_program(p))
      marks.insert("choice " + at + "=" + value.as_string());
    if (p.kind == ATTN_PARAM_INITIALIZER)
      mark_named("initializer", schema::initializers(), value, marks);
    if (p.kind == ATTN_PARAM_REGULARIZER)
      mark_named("regularizer", schema::regularizers(), value, marks);
    if (p.kind != ATTN_PARAM_OPTIONS || !value.is_object() || !p.of) continue;
    for (uint32_t o = 0; o < t.n_params; ++o) {
      if (t.params[o]->name != std::string(p.of)) continue;
      const Json of = effective(type, config, p.of);
      const Json* flag = config.find("use_adaptive_softmax");
      const bool adaptive = t.params[o]->kind == ATTN_PARAM_PROBABILITY && flag && flag->as_bool();
      if (!of.is_string()) continue;
      const schema::FamilyMember& m =
          *family_of(t.params[o]->kind)->find(adaptive ? "adaptive" : of.as_string());
      for (const auto& [key, option] : value.as_object())
        if (is_unusual(m, key, option))
          marks.insert("option " + family_name(*t.params[o]) + "." + m.name + "." + key);
    }
  }
}

Marks expected_marks(const std::string& type) {
  Marks out;
  const attn_type& t = *find_attention_type(type).type;
  for (uint32_t i = 0; i < t.n_params; ++i) {
    const attn_param& p = *t.params[i];
    const std::string at = type + "." + p.name;
    // A choice of one has no other value.
    if (p.kind != ATTN_PARAM_TEXT || p.n_choices > 1 || schema::is_program(p))
      out.insert("parameter " + at);
    if (schema::is_captures(p))
      out.merge(Marks{"tables of the call " + type, "table by rows of the batch",
                      "gradient of a table of the call"});
    for (uint32_t a = 0; a < p.n_aliases; ++a) out.insert("alias " + type + "." + p.aliases[a]);
    for (uint32_t c = 0; p.kind == ATTN_PARAM_TEXT && c < p.n_choices; ++c)
      out.insert("choice " + at + "=" + p.choices[c]);
    if (!family_of(p.kind)) continue;
    for (const Json& name : names_for(p))
      if (name.is_string()) out.insert(family_name(p) + " " + at + "=" + name.as_string());
  }
  for (uint32_t i = 0; i < t.n_args; ++i) out.insert("argument " + type + "." + t.args[i]->name);
  for (uint32_t i = 0; i < t.n_inputs; ++i) {
    const attn_input& in = *t.inputs[i];
    const std::string at = type + "." + in.name;
    if (!check::is_drawn(t, in)) continue;
    out.insert("input " + at);
    if (in.flags & ATTN_INPUT_OPTIONAL) out.insert("no input " + at);
    for (uint32_t s = 0; s < in.n_shapes; ++s) {
      const std::string text = in.shapes[s];
      out.insert("rank " + at + "=" +
                 std::to_string(1 + std::count(text.begin(), text.end(), ',')));
    }
  }
  for (const char* what : {"ragged ", "long ", "batch ", "file ", "gradient "})
    out.insert(what + type);
  // Of what a partial mask leaves out, only a convolution of single pixels can be said to be unused.
  bool mask = false, heads = false, partial = false;
  for (uint32_t i = 0; i < t.n_params; ++i) {
    const std::string name = t.params[i]->name;
    if (name.find("dropout") != std::string::npos) out.insert("dropout " + type);
    heads = heads || name == "num_heads" || name == "attention_channels";
  }
  for (uint32_t i = 0; i < t.n_inputs; ++i) {
    mask = mask || (t.inputs[i]->flags & ATTN_INPUT_MASK);
    partial = partial || (t.inputs[i]->flags & ATTN_INPUT_PARTIAL);
    if (check::adds_numbers(*t.inputs[i])) out.insert("gradient of an added mask");
  }
  if (mask && heads && (!partial || has_parameter(t, "kernel_size")))
    out.insert("unused keys " + type);

  return out;
}

Marks expected_options(const std::vector<std::string>& types) {
  Marks out;
  const auto all = [&](const char* name, const schema::Family& family) {
    for (const schema::FamilyMember& m : family.members)
      for (const schema::Option& o : m.options)
        if (!m.extra && has_choice(o))
          out.insert(std::string("option ") + name + "." + m.name + "." + o.name);
  };
  for (const std::string& type : types) {
    const attn_type& t = *find_attention_type(type).type;
    for (uint32_t i = 0; i < t.n_params; ++i) {
      const attn_param& p = *t.params[i];
      if (const schema::Family* family = family_of(p.kind)) all(family_name(p).c_str(), *family);
      if (p.kind == ATTN_PARAM_INITIALIZER) all("initializer", schema::initializers());
      if (p.kind == ATTN_PARAM_REGULARIZER) all("regularizer", schema::regularizers());
    }
  }
  return out;
}

}  // namespace attn::properties
