// SPDX-License-Identifier: Apache-2.0
#include "host/cli/schema_facts.hpp"

#include <attn/claims.hpp>

#include "core/schema/input_names.hpp"
#include "core/schema/value.hpp"
#include "host/cli/param_text.hpp"

namespace attn::cli {

Json schema_facts(const TypeEntry& entry) {
  const attn_type& t = *entry.type;
  Json inputs = Json::list({}), params = Json::list({}), args = Json::list({}),
       outputs = Json::list({}), rules = Json::list({}), claims = Json::list({});
  for (uint32_t i = 0; i < t.n_inputs; ++i) {
    const attn_input& in = *t.inputs[i];
    Json shapes = Json::list({}), aliases = Json::list({});
    for (const char* alias : schema::aliases(in)) aliases.push_back(alias);
    for (uint32_t k = 0; k < in.n_shapes; ++k)
      shapes.push_back("(" + std::string(in.shapes[k]) + ")");
    inputs.push_back({{"name", in.name},
                      {"aliases", aliases},
                      {"optional", (in.flags & ATTN_INPUT_OPTIONAL) != 0},
                      {"mask", (in.flags & ATTN_INPUT_MASK) != 0},
                      {"shapes", shapes},
                      {"doc", in.doc ? in.doc : ""}});
  }
  for (uint32_t i = 0; i < t.n_params; ++i) {
    params.push_back(param_json(*t.params[i], schema::to_json(*t.params[i], t.params[i]->def)));
  }
  for (uint32_t i = 0; i < t.n_args; ++i)
    args.push_back(param_json(*t.args[i], schema::to_json(*t.args[i], t.args[i]->def)));
  for (uint32_t i = 0; i < t.n_outputs; ++i) {
    const attn_output& o = *t.outputs[i];
    outputs.push_back({{"name", o.name},
                       {"shape", "(" + std::string(o.shape ? o.shape : "") + ")"},
                       {"argument", o.argument ? Json(o.argument) : Json()},
                       {"doc", o.doc ? o.doc : ""}});
  }
  for (uint32_t i = 0; i < t.n_rules; ++i) rules.push_back(t.rules[i]->text);
  for (const ClaimInfo& c : claims_of(t))
    claims.push_back(
        {{"claim", c.name},
         {"subject", c.subject},
         {"condition", c.condition},
         {"relation", c.relation},
         {"degree", c.declared->kind == ATTN_CLAIM_HOMOGENEOUS ? Json(c.degree) : Json()},
         {"text", c.text()}});
  return {{"type", t.id},
          {"class", t.class_name},
          {"description", t.description},
          {"use_case", t.use_case},
          {"input_shape", t.input_shape},
          {"complexity", t.complexity},
          {"paper", t.paper},
          {"library", entry.library},
          {"inputs", inputs},
          {"parameters", params},
          {"rules", rules},
          {"arguments", args},
          {"outputs", outputs},
          {"claims", claims}};
}

}  // namespace attn::cli
