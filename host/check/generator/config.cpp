// SPDX-License-Identifier: Apache-2.0
#include <attn/factory.hpp>

#include <cctype>

#include "core/schema/families/program.hpp"
#include "core/schema/families/rotary.hpp"
#include "core/schema/value.hpp"
#include "core/schema/value_kind.hpp"
#include "host/check/generator/generator.hpp"
#include "host/check/generator/values.hpp"

namespace attn::check {
namespace {

class ConfigMaker {
 public:
  ConfigMaker(const CaseId& id, Random& random, bool is_long)
      : id_(id), random_(random), long_(is_long), type_(*find_attention_type(id.type).type) {}

  Json make() {
    for (uint32_t i = 0; i < type_.n_params; ++i) {
      const attn_param& p = *type_.params[i];
      if (schema::is_program(p) || schema::is_captures(p)) continue;
      const bool enumerated = family_of(p.kind) || (p.kind == ATTN_PARAM_TEXT && p.n_choices);
      // A seed that is not given is another one for every layer.
      if (!(p.flags & ATTN_PARAM_REQUIRED) && !enumerated && p.kind != ATTN_PARAM_SEED &&
          !random_.chance(p.kind == ATTN_PARAM_OPTIONS ? 0.7 : 0.4))
        continue;
      std::string name = p.name;
      if (p.n_aliases && random_.chance(0.4)) name = p.aliases[random_.below(p.n_aliases)];
      config_.set(name, value(p));
    }
    add_programs();
    return with_effect(id_.type, std::move(config_), {});
  }

 private:
  // Drawn apart, from a stream of its own: what else a case draws does not depend on them.
  void add_programs() {
    Random own(Random(random_).next());
    Json captures = Json::object();
    for (uint32_t i = 0; i < type_.n_params; ++i) {
      const attn_param& p = *type_.params[i];
      if (!schema::is_program(p) || !own.chance(0.35)) continue;
      ProgramSample sample = own.pick(program_samples(p));
      const bool by_row = schema::program_param(p)->variables.find('b') != std::string_view::npos;
      if (own.chance(0.5)) sample = of_calls(sample, by_row && own.chance(0.5));
      config_.set(p.name, sample.text);
      for (const auto& [name, value] : sample.captures.as_object()) captures.set(name, value);
    }
    for (uint32_t i = 0; i < type_.n_params && captures.size() > 0; ++i)
      if (schema::is_captures(*type_.params[i])) config_.set(type_.params[i]->name, captures);
  }

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
        Json sizes = Json::list({random_.between(1, 4), random_.between(1, 4)});
        if (schema::takes_three(p) && random_.chance(0.5)) sizes.push_back(random_.between(1, 4));
        return sizes;
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
    if (schema::names_itself(p)) return random_rotary(random_, pairs_of_axes());
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

  // Pairs of a head that may turn by several axes; none where their positions are not drawn.
  [[nodiscard]] int64_t pairs_of_axes() const {
    const Json dim = effective(id_.type, config_, "dim"),
               heads = effective(id_.type, config_, "num_heads");
    const bool known = dim.is_integer() && heads.is_integer() && *heads.to_int64() > 0;
    return known && !(type_.flags & ATTN_TYPE_STATEFUL) ? *dim.to_int64() / *heads.to_int64() / 2
                                                        : 0;
  }

  const CaseId& id_;
  Random& random_;
  bool long_;
  const attn_type& type_;
  Json config_ = Json::object();
};

}  // namespace

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

Json effective(const std::string& type, const Json& config, const std::string& name) {
  const attn_type& t = *find_attention_type(type).type;
  for (uint32_t i = 0; i < t.n_params; ++i) {
    const attn_param& p = *t.params[i];
    if (name != p.name) continue;
    if (const Json* given = config.find(name)) return *given;
    for (uint32_t a = 0; a < p.n_aliases; ++a)
      if (const Json* given = config.find(p.aliases[a])) return *given;
    if (p.flags & ATTN_PARAM_REQUIRED) return nullptr;
    return schema::to_json(p, p.def);
  }
  return nullptr;
}

Json with_effect(const std::string& type, Json config, const Json& kept) {
  for (;;) try {
      validate_attention_config(type, config);
      return config;
    } catch (const InvalidArgument& e) {
      const std::string& name = e.details().parameter;
      const bool idle = std::string_view(e.what()).find("has no effect here") != std::string::npos;
      if (!idle || kept.contains(name) || !config.erase(name)) return config;
    }
}

Json make_config(const CaseId& id, Random& random, bool is_long) {
  return ConfigMaker(id, random, is_long).make();
}

}  // namespace attn::check
