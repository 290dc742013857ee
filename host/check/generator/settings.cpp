// SPDX-License-Identifier: Apache-2.0
#include "host/check/generator/settings.hpp"

#include <attn/factory.hpp>
#include <attn/log.hpp>

#include <algorithm>
#include <stdexcept>

#include "core/schema/families/initializer.hpp"
#include "core/schema/families/program.hpp"
#include "core/schema/families/regularizer.hpp"
#include "core/schema/json_text.hpp"
#include "core/schema/value_kind.hpp"
#include "host/check/generator/values.hpp"

namespace attn::check {
namespace {

constexpr uint64_t kSeed = 20;

// Sizes that make a layer small, by what a number means. Whatever is not here begins at its default.
const std::map<std::string, Json>& small() {
  static const std::map<std::string, Json> table{{"dim", 16},
                                                 {"channels", 8},
                                                 {"num_heads", 4},
                                                 {"num_kv_heads", 2},
                                                 {"head_dim", 3},
                                                 {"key_dim", 4},
                                                 {"ratio", 2},
                                                 {"attention_channels", 32},
                                                 {"window_size", 2},
                                                 {"grid_height", 4},
                                                 {"grid_width", 4},
                                                 {"max_seq_len", 32},
                                                 {"nb_features", 8},
                                                 {"max_pcp_iter", 3},
                                                 {"block_size", 8},
                                                 {"layer_idx", 0},
                                                 {"kv_latent_dim", 6},
                                                 {"qk_nope_head_dim", 3},
                                                 {"qk_rope_head_dim", 4},
                                                 {"v_head_dim", 5},
                                                 {"split_sizes", Json::list({5, 6})}};
  return table;
}

int64_t extent(const Setting& s, const std::string& name) {
  static const std::map<std::string, int64_t> table{
      {"batch", 2},  {"seq", 11},  {"query", 11},    {"key", 7},
      {"height", 5}, {"width", 7}, {"key_width", 6}, {"value_width", 5}};
  if (is_number(name)) return std::stoll(name);
  if (const Json j = parameter(s.c, name); j.is_integer()) return *j.to_int64();
  const auto it = table.find(name);
  return it == table.end() ? 16 : it->second;
}

void fill_inputs(Setting& s) {
  s.c.problem.inputs.clear();
  const attn_type& type = *find_attention_type(s.type).type;
  for (uint32_t i = 0; i < type.n_inputs; ++i) {
    const attn_input& in = *type.inputs[i];
    const auto form = s.forms.find(in.name);
    if (form == s.forms.end()) continue;
    const bool mask = in.flags & ATTN_INPUT_MASK;
    const Extents e = extents_of(s.c);
    std::vector<int64_t> shape;
    for (const std::string& axis : axis_names(form->second))
      shape.push_back(!mask             ? extent(s, axis)
                      : axis == "batch" ? e.batch
                      : axis == "head"  ? e.heads
                      : axis == "query" ? e.queries
                                        : e.keys);
    Tensor t(shape);
    Random random(kSeed, in.name, 0);
    const bool whole = !takes_numbers(in);
    for (double& x : t.v)
      x = mask    ? (random.chance(0.7) ? 1 : 0)
          : whole ? static_cast<double>(random.below(20))
                  : random.single();
    t.integral = whole || (mask && s.c.mask_kind != ATTN_F32);
    s.c.problem.inputs[in.name] = std::move(t);
  }
}

bool is_accepted(const Setting& s) {
  if (is_causal(s.c) && takes_statistics(s.c)) return false;  // its training calls are refused
  try {
    validate_attention_config(s.type, s.c.problem.config);
    const auto layer = make_layer(s.c, ATTN_F64);
    static_cast<void>(run(*layer, s.c, s.c.problem.inputs, spec_of(s.c)));
    static_cast<void>(layer->losses(Context(ATTN_F64)));
    return true;
  } catch (const InvalidArgument&) {
    return false;
  }
}

Setting base_of(const std::string& name) {
  const attn_type& type = *find_attention_type(name).type;
  Setting s{.type = name};
  s.c.id = {kSeed, name, 0};
  s.c.weights = kSeed;
  s.c.mask_kind = ATTN_BOOL;
  s.c.problem.type = name;
  s.c.problem.config = Json::object();
  s.c.problem.arguments = Json::object();
  const auto set = [](Json& object, const attn_param& p) {
    const bool fixed = !(p.flags & ATTN_PARAM_NULLABLE) || p.kind == ATTN_PARAM_SEED;
    if (p.kind == ATTN_PARAM_SEED) object.set(p.name, 1);
    if (const auto it = small().find(p.name); it != small().end() && fixed)
      object.set(p.name, it->second);
  };
  for (uint32_t i = 0; i < type.n_params; ++i) set(s.c.problem.config, *type.params[i]);
  for (uint32_t i = 0; i < type.n_args; ++i) set(s.c.problem.arguments, *type.args[i]);
  for (uint32_t i = 0; i < type.n_inputs; ++i) {
    const attn_input& in = *type.inputs[i];
    if (!(in.flags & (ATTN_INPUT_MASK | ATTN_INPUT_OPTIONAL))) s.forms[in.name] = in.shapes[0];
  }
  fill_inputs(s);
  if (!is_accepted(s))
    throw std::runtime_error("the small layer of type " + name +
                             " is refused: " + s.c.problem.config.dump());
  return s;
}

// ---- values -------------------------------------------------------------------------------------

std::vector<Json> integers(const Json& now) {
  const int64_t v = now.is_integer() ? *now.to_int64() : 2;
  return {2 * v, v + 1, 1, 3, 12, v + 2, v - 1, 0, 5};
}
std::vector<Json> reals(const Json& now) {
  const double v = now.is_number() ? now.to_double() : 0.3;
  return {0.0, 2 * v, v / 2, 0.5, 1000 * v, 0.9, 1.0};
}

bool is_axis(const schema::Option& o) {
  return o.kind == schema::OptionKind::axis || o.kind == schema::OptionKind::axes;
}

ChangeOf of_option(const schema::Option& o) {
  if (o.kind == schema::OptionKind::initializer) return ChangeOf::initializer;
  return o.kind == schema::OptionKind::regularizer ? ChangeOf::regularizer : ChangeOf::parameter;
}

// Some values of an option besides its default.
std::vector<Json> option_values(const schema::Family& family, const schema::FamilyMember& member,
                                size_t index) {
  using schema::OptionKind;
  const schema::Option& o = member.options[index];
  if (o.kind == OptionKind::axis) return {-2, 1, -3};
  if (o.kind == OptionKind::axes) return {-2, Json::list({-2, -1}), 1, -3};
  Random random(kSeed, std::string(member.name) + o.name, 0);
  std::vector<Json> out;
  for (int attempt = 0; attempt < 8; ++attempt) {
    const Json made = random_options(family, member.name, random, 0, index);
    if (const Json* value = made.find(o.name);
        value && !value->is_null() && !(*value == schema::parse_json(o.def)))
      out.push_back(*value);
  }
  return out;
}

// A member by name, or as an object with the options that it cannot do without.
std::vector<Json> named(const schema::Family& family, bool seeds) {
  std::vector<Json> out;
  for (const schema::FamilyMember& m : family.members) {
    Random random(kSeed, m.name, 1);
    Json options = random_options(family, m.name, random, 0);
    out.push_back({{"class_name", m.name}, {"config", options}});
    for (const schema::Option& o : m.options)
      if (seeds && o.kind == schema::OptionKind::seed) {
        options.set(o.name, 77);
        out.push_back({{"class_name", m.name}, {"config", options}});
      }
  }
  return out;
}

std::vector<Json> values_of(const attn_param& p, const Json& now) {
  std::vector<Json> out;
  switch (p.kind) {
    case ATTN_PARAM_BOOL:
      out = {true, false};
      break;
    case ATTN_PARAM_INT:
      out = integers(now);
      break;
    case ATTN_PARAM_REAL:
      out = reals(now);
      break;
    case ATTN_PARAM_SEED:
      out = {2};
      break;
    case ATTN_PARAM_INTS:
      out = {Json::list({3, 8}), Json::list({3, 2, 4, 2}), Json::list({0, 11})};
      break;
    case ATTN_PARAM_INT_OR_PAIR:
      out = {1, Json::list({2, 3}), Json::list({1, 3})};
      if (schema::takes_three(p)) out.push_back(Json::list({2, 1, 3}));
      break;
    case ATTN_PARAM_INITIALIZER:
      out = named(schema::initializers(), true);
      break;
    case ATTN_PARAM_REGULARIZER:
      out = named(schema::regularizers(), false);
      break;
    default:
      break;
  }
  for (uint32_t i = 0; i < p.n_choices && p.kind != ATTN_PARAM_OPTIONS; ++i)
    out.emplace_back(p.choices[i]);
  if (const schema::Family* family = family_of(p.kind))
    for (const schema::FamilyMember& m : family->members)
      if (!m.extra) out.emplace_back(m.name);
  if (p.flags & ATTN_PARAM_NULLABLE) out.emplace_back(nullptr);
  std::vector<Json> others;
  for (const Json& v : out)
    if (!(v == now) && std::find(others.begin(), others.end(), v) == others.end())
      others.push_back(v);
  return others;
}

std::string equals(const std::string& name, const Json& value) {
  return name + " = " + value.dump();
}

// How many numbers of a parameter are enough.
constexpr size_t kNumbers = 4;

bool is_plain(const attn_param& p) {
  switch (p.kind) {
    case ATTN_PARAM_BOOL:
    case ATTN_PARAM_INT:
    case ATTN_PARAM_REAL:
    case ATTN_PARAM_TEXT:
    case ATTN_PARAM_INT_OR_PAIR:
      return true;
    default:
      return false;
  }
}

class Lister {
 public:
  explicit Lister(const std::string& type)
      : type_(*find_attention_type(type).type), out_{base_of(type)} {}

  std::vector<Setting> list() {
    for (uint32_t i = 0; i < type_.n_params; ++i) {
      const attn_param& p = *type_.params[i];
      if (schema::is_program(p))
        programs(p);
      else if (schema::is_captures(p))
        continue;  // with what reads them
      else if (p.kind == ATTN_PARAM_OPTIONS)
        options(p);
      else
        values(p, ChangeOf::parameter);
    }
    for (uint32_t i = 0; i < type_.n_args; ++i) values(*type_.args[i], ChangeOf::argument);
    inputs();
    return std::move(out_);
  }

 private:
  bool take(const Change& change) {
    std::optional<Setting> s = with(out_.front(), change);
    if (s) out_.push_back(std::move(*s));
    return s.has_value();
  }

  void values(const attn_param& p, ChangeOf of) {
    const Case& c = out_.front().c;
    Json now = of == ChangeOf::parameter ? parameter(c, p.name) : Json();
    if (const Json* given = c.problem.arguments.find(p.name); given && of == ChangeOf::argument)
      now = *given;
    else if (of == ChangeOf::argument && p.def.kind == ATTN_VALUE_BOOL)
      now = p.def.u.i != 0;
    if (p.kind == ATTN_PARAM_INITIALIZER) of = ChangeOf::initializer;
    if (p.kind == ATTN_PARAM_REGULARIZER) of = ChangeOf::regularizer;
    size_t taken = 0;
    const bool number = p.kind == ATTN_PARAM_INT || p.kind == ATTN_PARAM_REAL;
    const auto take_beside = [&](const std::vector<std::pair<std::string, Json>>& others) {
      for (const Json& value : values_of(p, now)) {
        if (number && taken == kNumbers) break;
        Change change{.of = of,
                      .name = p.name,
                      .text = equals(p.name, value),
                      .values = others,
                      .plain = is_plain(p) || value.is_null()};
        change.values.emplace_back(p.name, value);
        taken += take(change);
      }
    };
    take_beside({});
    // What has an effect beside another choice alone.
    for (uint32_t i = 0; i < type_.n_params && of == ChangeOf::parameter; ++i) {
      const attn_param& q = *type_.params[i];
      const bool chosen =
          q.kind == ATTN_PARAM_TEXT || q.kind == ATTN_PARAM_BOOL || q.kind == ATTN_PARAM_NORM;
      if (taken > 0 || !chosen || &q == &p || schema::is_program(q)) continue;
      for (const Json& choice : values_of(q, parameter(c, q.name)))
        if (taken == 0) take_beside({{q.name, choice}});
    }
    if (taken == 0 && !(p.kind == ATTN_PARAM_TEXT && p.n_choices == 1))
      throw std::runtime_error(std::string(type_.id) + ": no other value of " + p.name +
                               " is taken");
  }

  void programs(const attn_param& p) {
    for (const ProgramSample& sample : program_samples(p))
      take({.of = ChangeOf::parameter,
            .name = p.name,
            .text = equals(p.name, sample.text) + " over " + sample.captures.dump(),
            .values = {{p.name, sample.text}, {schema::kCaptures, sample.captures}},
            .plain = true});
  }

  // Each option of each member, the member with it.
  void options(const attn_param& p) {
    for (uint32_t i = 0; i < type_.n_params; ++i) {
      const attn_param& of = *type_.params[i];
      if (!p.of || of.name != std::string(p.of)) continue;
      const schema::Family& family = *family_of(of.kind);
      for (const schema::FamilyMember& m : family.members) {
        if (m.extra) continue;
        for (size_t o = 0; o < m.options.size(); ++o)
          for (const Json& value : option_values(family, m, o)) {
            const Json given{{m.options[o].name, value}};
            const bool taken = take({.of = of_option(m.options[o]),
                                     .name = p.name,
                                     .text = equals(of.name, m.name) + " with " + given.dump(),
                                     .values = {{of.name, m.name}, {p.name, given}}});
            if (taken && !is_axis(m.options[o])) break;  // one of the others is enough
          }
      }
    }
  }

  void inputs() {
    std::map<std::string, std::string> more;
    for (uint32_t i = 0; i < type_.n_inputs; ++i) {
      const attn_input& in = *type_.inputs[i];
      const bool mask = in.flags & ATTN_INPUT_MASK;
      if (!is_drawn(type_, in)) continue;
      std::vector<std::string> forms(in.shapes, in.shapes + in.n_shapes);
      if (mask && forms.empty()) forms = {"batch, key"};
      for (const std::string& form : forms)
        for (const attn_dtype kind : {ATTN_BOOL, ATTN_F32}) {
          const auto base = out_.front().forms.find(in.name);
          if (base != out_.front().forms.end() && base->second == form) continue;
          if (!mask && kind == ATTN_F32) continue;
          std::map<std::string, std::string> given = more;
          if (mask) given.clear();
          given[in.name] = form;
          take({.of = ChangeOf::input,
                .name = in.name,
                .text = std::string(in.name) + " as (" + form + ")" +
                        (mask ? kind == ATTN_BOOL ? ", bool" : ", floating" : ""),
                .forms = given,
                .mask_kind = kind});
        }
      // What comes later may need what came before.
      if (!mask && in.flags & ATTN_INPUT_OPTIONAL) more[in.name] = forms[0];
    }
  }

  const attn_type& type_;
  std::vector<Setting> out_;
};

}  // namespace

std::string Setting::told() const {
  std::string out = type + (text.empty() ? " as it is" : " with " + text) + ": " +
                    c.problem.config.dump() + ", call " + c.problem.arguments.dump();
  for (const auto& [name, value] : c.problem.inputs)
    out += ", " + name + " " + Shape(value.shape).to_string();
  return out;
}

const std::vector<Setting>& settings(const std::string& type) {
  static std::map<std::string, std::vector<Setting>> made;
  if (const auto it = made.find(type); it != made.end()) return it->second;
  set_log_sink([](LogLevel, std::string_view) {});  // unusual settings warn
  return made[type] = Lister(type).list();
}

std::vector<Change> changes_of(const std::string& type, const std::string& name) {
  std::vector<Change> out;
  for (const Setting& s : settings(type))
    if (s.change.name == name) out.push_back(s.change);
  return out;
}

const std::vector<Setting>& pairs(const std::string& type) {
  static std::map<std::string, std::vector<Setting>> made;
  if (const auto it = made.find(type); it != made.end()) return it->second;
  std::vector<Setting> firsts, out;
  for (const Setting& s : settings(type))
    if (s.change.plain && (firsts.empty() || firsts.back().change.name != s.change.name))
      firsts.push_back(s);
  for (size_t i = 0; i < firsts.size(); ++i)
    for (size_t j = i + 1; j < firsts.size(); ++j)
      if (auto both = with(firsts[i], firsts[j].change)) out.push_back(std::move(*both));
  return made[type] = std::move(out);
}

std::optional<Setting> with(Setting s, const Change& change) {
  s.change = change;
  s.text += (s.text.empty() ? "" : " and ") + change.text;
  for (const auto& [name, value] : change.values)
    (change.of == ChangeOf::argument ? s.c.problem.arguments : s.c.problem.config).set(name, value);
  Json kept = Json::object();
  for (const auto& [name, value] : change.values) kept.set(name, value);
  s.c.problem.config = with_effect(s.type, std::move(s.c.problem.config), kept);
  for (const auto& [name, form] : change.forms) s.forms[name] = form;
  if (change.of == ChangeOf::input) s.c.mask_kind = change.mask_kind;
  fill_inputs(s);
  if (!is_accepted(s)) return std::nullopt;
  return s;
}

}  // namespace attn::check
