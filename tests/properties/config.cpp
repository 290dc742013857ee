// SPDX-License-Identifier: Apache-2.0
#include <attn/factory.hpp>

#include <cctype>

#include "core/schema/families/initializer.hpp"
#include "core/schema/families/regularizer.hpp"
#include "core/schema/json_text.hpp"
#include "tests/oracle/parts.hpp"
#include "tests/properties/generator.hpp"
#include "tests/properties/values.hpp"

namespace attn::properties {
namespace {

std::string family_name(const attn_param& p) {
  return p.kind == ATTN_PARAM_NORM          ? "norm"
         : p.kind == ATTN_PARAM_PROBABILITY ? "probability"
                                            : "activation";
}

// Every name that a parameter takes, without the second names of the same thing for probability types, whose
// aliases are spelled by chance.
std::vector<Json> names_for(const attn_param& p) {
  std::vector<Json> out;
  for (const schema::FamilyMember& m : family_of(p.kind)->members) {
    if (m.extra) continue;
    out.emplace_back(m.name);
    if (p.kind == ATTN_PARAM_ACTIVATION)
      for (const char* alias : m.aliases) out.emplace_back(alias);
  }
  if (p.kind == ATTN_PARAM_NORM)
    for (uint32_t i = 0; i < p.n_choices; ++i) out.emplace_back(p.choices[i]);
  if (p.flags & ATTN_PARAM_NULLABLE) out.emplace_back(nullptr);
  return out;
}

class Maker {
 public:
  Maker(const CaseId& id, Random& random, bool is_long)
      : id_(id), random_(random), long_(is_long), type_(*find_attention_type(id.type).type) {}

  Json make() {
    for (uint32_t i = 0; i < type_.n_params; ++i) {
      const attn_param& p = *type_.params[i];
      const bool enumerated = family_of(p.kind) || (p.kind == ATTN_PARAM_TEXT && p.n_choices);
      // A seed that is not given is another one for every layer.
      if (!(p.flags & ATTN_PARAM_REQUIRED) && !enumerated && p.kind != ATTN_PARAM_SEED &&
          !random_.chance(p.kind == ATTN_PARAM_OPTIONS ? 0.7 : 0.4))
        continue;
      std::string name = p.name;
      if (p.n_aliases && random_.chance(0.4)) name = p.aliases[random_.below(p.n_aliases)];
      config_.set(name, value(p));
    }
    return config_;
  }

 private:
  [[nodiscard]] size_t cycle(const attn_param& p, size_t n) const {
    return cycled(id_.seed, id_.type + "." + p.name, id_.number, n);
  }

  Json value(const attn_param& p) {
    if ((p.flags & ATTN_PARAM_NULLABLE) && !family_of(p.kind) && p.kind != ATTN_PARAM_OPTIONS &&
        p.kind != ATTN_PARAM_SEED && random_.chance(0.1))
      return nullptr;
    switch (p.kind) {
      case ATTN_PARAM_BOOL:
        return random_.chance(0.7) ? p.def.u.i == 0 : p.def.u.i != 0;
      case ATTN_PARAM_INT:
        return random_integer(p.name, p, random_, long_);
      case ATTN_PARAM_REAL:
        return random_real(p.name, p, random_);
      case ATTN_PARAM_TEXT:
        return p.choices[cycle(p, p.n_choices)];
      case ATTN_PARAM_INT_OR_PAIR: {
        // A kernel of one leaves every position alone with itself.
        if (random_.chance(0.7)) return random_.chance(0.6) ? 1 : random_.between(2, long_ ? 3 : 5);
        return Json::list({random_.between(1, 4), random_.between(1, 4)});
      }
      case ATTN_PARAM_SEED:
        return static_cast<uint64_t>(random_.next());
      case ATTN_PARAM_PROBABILITY:
        return spelled(names_for(p)[cycle(p, probabilities().members.size())].as_string());
      case ATTN_PARAM_NORM:
      case ATTN_PARAM_ACTIVATION: {
        const std::vector<Json> names = names_for(p);
        return names[cycle(p, names.size())];
      }
      case ATTN_PARAM_INITIALIZER:
        return random_initializer(p.name, random_);
      case ATTN_PARAM_REGULARIZER:
        return random_regularizer(p.name, random_);
      case ATTN_PARAM_OPTIONS:
        return options(p);
      default:
        return nullptr;
    }
  }

  // One of its names, in some letter case.
  std::string spelled(std::string name) {
    const schema::FamilyMember& m = *probabilities().find(name);
    if (!m.aliases.empty() && random_.chance(0.3)) name = m.aliases[0];
    if (random_.chance(0.2))
      for (char& c : name)
        if (random_.chance(0.5)) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    return name;
  }

  Json options(const attn_param& p) {
    for (uint32_t i = 0; i < type_.n_params; ++i) {
      const attn_param& of = *type_.params[i];
      if (!p.of || of.name != std::string(p.of)) continue;
      Json name = effective(id_.type, config_, of.name);
      for (uint32_t o = 0; o < p.n_choices; ++o) {  // "flag=member"
        const std::string text = p.choices[o];
        const Json flag = effective(id_.type, config_, text.substr(0, text.find('=')));
        if (flag.is_bool() && flag.as_bool()) name = text.substr(text.find('=') + 1);
      }
      if (name.is_null()) return of.kind == ATTN_PARAM_NORM ? Json::object() : Json(nullptr);
      // ProcessGroup come in turn, and with each turn of a member its next option.
      const uint64_t turn =
          Random(id_.seed, id_.type + p.name, 0).next() % 64 + id_.number / names_for(of).size();
      return random_options(*family_of(of.kind), name.as_string(), random_,
                            of.kind == ATTN_PARAM_ACTIVATION ? 0.75 : 0.5, turn);
    }
    return Json::object();
  }

  const CaseId& id_;
  Random& random_;
  bool long_;
  const attn_type& type_;
  Json config_ = Json::object();
};

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

Json effective(const std::string& type, const Json& config, const std::string& name) {
  const attn_type& t = *find_attention_type(type).type;
  for (uint32_t i = 0; i < t.n_params; ++i) {
    const attn_param& p = *t.params[i];
    if (name != p.name) continue;
    if (const Json* given = config.find(name)) return *given;
    for (uint32_t a = 0; a < p.n_aliases; ++a)
      if (const Json* given = config.find(p.aliases[a])) return *given;
    if (p.flags & ATTN_PARAM_REQUIRED) return nullptr;
    return get_attention_requirements(type).at("optional_params").at(name);
  }
  return nullptr;
}

Json make_config(const CaseId& id, Random& random, bool is_long) {
  return Maker(id, random, is_long).make();
}

void mark_config(const std::string& type, const Json& config, Marks& marks) {
  const attn_type& t = *find_attention_type(type).type;
  const Json info = get_attention_requirements(type);
  for (uint32_t i = 0; i < t.n_params; ++i) {
    const attn_param& p = *t.params[i];
    const Json value = effective(type, config, p.name);
    const std::string at = type + "." + p.name;
    if ((p.flags & ATTN_PARAM_REQUIRED) || !(value == info.at("optional_params").at(p.name)))
      marks.insert("parameter " + at);
    for (uint32_t a = 0; a < p.n_aliases; ++a)
      if (config.contains(p.aliases[a])) marks.insert("alias " + type + "." + p.aliases[a]);
    if (const schema::Family* family = family_of(p.kind); family && value.is_string()) {
      std::string name = value.as_string();
      if (p.kind == ATTN_PARAM_PROBABILITY) name = oracle::canonical_probability(name);
      marks.insert(family_name(p) + " " + at + "=" + name);
    }
    if (p.kind == ATTN_PARAM_TEXT && value.is_string())
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
    if (p.kind != ATTN_PARAM_TEXT || p.n_choices > 1) out.insert("parameter " + at);
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
  }
  if (mask && heads && (!partial || has_parameter(t, "kernel_size")))
    out.insert("unused keys " + type);
  if (type == "non_local") out.insert("gradient of an added mask");
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
