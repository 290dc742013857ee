// SPDX-License-Identifier: Apache-2.0
#include "host/cli/param_text.hpp"

#include <iterator>

#include "core/schema/families/program.hpp"
#include "core/schema/families/rotary.hpp"
#include "core/schema/value.hpp"
#include "core/schema/value_kind.hpp"

namespace attn::cli {

std::string kind_text(const attn_param& p) {
  constexpr const char* kNames[] = {"?",           "bool",        "int",     "number",
                                    "text",        "ints",        "numbers", "int or pair",
                                    "seed",        "probability", "norm",    "activation",
                                    "initializer", "regularizer", "object"};
  const size_t kind = p.kind < std::size(kNames) ? p.kind : 0;
  return std::string(schema::takes_three(p) ? "int, pair or three ints" : kNames[kind]) +
         (p.flags & ATTN_PARAM_NULLABLE ? " or null" : "");
}

std::string range_text(const attn_param& p) {
  std::string text;
  const auto add = [&](const std::string& part) { text += (text.empty() ? "" : ", ") + part; };
  if (p.flags & ATTN_PARAM_HAS_MIN)
    add((p.flags & ATTN_PARAM_EXCLUSIVE_MIN ? "> " : ">= ") + schema::to_json(p, p.min).dump());
  if (p.flags & ATTN_PARAM_HAS_MAX)
    add((p.flags & ATTN_PARAM_EXCLUSIVE_MAX ? "< " : "<= ") + schema::to_json(p, p.max).dump());
  if (p.flags & ATTN_PARAM_ODD) add("odd");
  // Choices of options are directions for their checks, not values.
  for (uint32_t i = 0; i < p.n_choices && p.kind != ATTN_PARAM_OPTIONS; ++i)
    add("'" + std::string(p.choices[i]) + "'");
  if (schema::names_itself(p))
    add(std::string(p.of) + ": " + schema::name_list(schema::rotary_scalings().names()));
  else if (const auto program = schema::program_param(p))
    add("a text over " + std::string(program->variables));
  else if (p.of && !schema::is_captures(p) && !schema::takes_three(p))
    add("options of " + std::string(p.of));
  return text;
}

Json param_json(const attn_param& p, const Json& def) {
  Json choices = Json::list({}), aliases = Json::list({});
  for (uint32_t i = 0; i < p.n_choices && p.kind != ATTN_PARAM_OPTIONS; ++i)
    choices.push_back(p.choices[i]);
  for (uint32_t i = 0; i < p.n_aliases; ++i) aliases.push_back(p.aliases[i]);
  return {{"name", p.name},
          {"kind", kind_text(p)},
          {"required", (p.flags & ATTN_PARAM_REQUIRED) != 0},
          {"extension", (p.flags & ATTN_PARAM_EXTENSION) != 0},
          {"nullable", (p.flags & ATTN_PARAM_NULLABLE) != 0},
          {"range", range_text(p)},
          {"choices", choices},
          {"default", def},
          {"aliases", aliases},
          {"doc", p.doc ? p.doc : ""}};
}

}  // namespace attn::cli
