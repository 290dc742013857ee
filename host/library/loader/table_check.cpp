// SPDX-License-Identifier: Apache-2.0
#include "host/library/loader/table_check.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>
#include <utility>

#include "core/engine/limits.hpp"
#include "host/library/loader/schema_check.hpp"

namespace attn::loader {
namespace {

// Bytes of a struct up to and including its last member of ABI 1.0, so that older plugins keep passing when
// members are appended.
#define ATTN_SIZE_UP_TO(type, member) \
  static_cast<uint32_t>(offsetof(type, member) + sizeof(((type*)nullptr)->member))

using engine::kMaxArguments;
using engine::kMaxAttributes;
using engine::kMaxOperands;
using engine::kMaxPorts;

// What the host has room for; what: "outputs".
void check_count(const std::string& where, const char* what, uint32_t count, uint32_t least,
                 uint32_t most, Problems& problems) {
  if (count >= least && count <= most) return;
  problems.push_back(where + ": " + std::to_string(count) + " " + what + ", " +
                     std::to_string(least) + " to " + std::to_string(most) + " are possible");
}

// Extents of a shape in words, "batch, seq": tensors have no more.
void check_extents(const std::string& where, const char* shape, Problems& problems) {
  const std::string text = shape;
  const auto commas = static_cast<uint32_t>(std::count(text.begin(), text.end(), ','));
  check_count(where, "extents", text.empty() ? 0 : commas + 1, 0, ATTN_MAX_RANK, problems);
}

void check_aliases(const std::string& at, const attn_input& input, std::set<std::string>& names,
                   Problems& problems) {
  if (!ATTN_HAS(&input, attn_input, n_aliases) || input.n_aliases == 0) return;
  if (input.n_aliases > kMaxElements || input.aliases == nullptr) {
    problems.push_back(at + ": aliases are missing");
    return;
  }
  for (uint32_t i = 0; i < input.n_aliases; ++i) {
    const char* alias = input.aliases[i];
    if (!is_identifier(alias)) {
      problems.push_back(at + ": an alias is not an identifier");
    } else if (!names.insert(alias).second) {
      problems.push_back(at + ": the alias " + quoted(alias) + " is used twice");
    }
  }
}

void check_inputs(const std::string& where, const attn_type& t, Problems& problems) {
  if (!check_array(where + ": inputs", t.inputs, t.n_inputs, ATTN_SIZE_UP_TO(attn_input, shapes),
                   problems)) {
    return;
  }
  check_count(where, "inputs", t.n_inputs, 1, kMaxPorts, problems);
  std::set<std::string> names;
  for (uint32_t i = 0; i < t.n_inputs; ++i) {
    const attn_input& input = *t.inputs[i];
    const std::string at = where + ": input " + quoted(input.name);
    if (!is_identifier(input.name)) {
      problems.push_back(at + ": its name is not an identifier");
    } else if (!names.insert(input.name).second) {
      problems.push_back(at + ": the name is used twice");
    }
    check_aliases(at, input, names, problems);
    if (!is_text(input.doc)) problems.push_back(at + ": doc is not a text");
    if (input.n_shapes > kMaxElements || (input.n_shapes > 0 && input.shapes == nullptr)) {
      problems.push_back(at + ": shapes are missing");
      continue;
    }
    for (uint32_t s = 0; s < input.n_shapes; ++s) {
      if (!is_text(input.shapes[s]))
        problems.push_back(at + ": a shape is not a text");
      else
        check_extents(at, input.shapes[s], problems);
    }
    constexpr uint32_t kKinds = (2u << ATTN_BOOL) - 2u;
    if ((input.dtypes & ~kKinds) != 0) problems.push_back(at + ": unknown kinds of elements");
  }
  if (t.n_inputs > 0 && (t.inputs[0]->flags & ATTN_INPUT_OPTIONAL) != 0) {
    problems.push_back(where + ": its first input is optional");
  }
}

void check_outputs(const std::string& where, const attn_type& t, Problems& problems) {
  if (!check_array(where + ": outputs", t.outputs, t.n_outputs,
                   ATTN_SIZE_UP_TO(attn_output, argument), problems)) {
    return;
  }
  check_count(where, "outputs", t.n_outputs, 1, kMaxPorts, problems);
  std::set<std::string> names;
  for (uint32_t i = 0; i < t.n_outputs; ++i) {
    const attn_output& output = *t.outputs[i];
    const std::string at = where + ": output " + quoted(output.name);
    if (!is_identifier(output.name)) {
      problems.push_back(at + ": its name is not an identifier");
    } else if (!names.insert(output.name).second) {
      problems.push_back(at + ": the name is used twice");
    }
    if (!is_text(output.doc) || !is_text(output.shape)) {
      problems.push_back(at + ": doc or shape is not a text");
    } else {
      check_extents(at, output.shape, problems);
    }
    if (output.argument == nullptr) continue;
    bool found = false;
    for (uint32_t a = 0; t.args != nullptr && a < t.n_args && a < kMaxElements; ++a) {
      const attn_param* arg = t.args[a];
      found = found || (arg != nullptr && arg->name != nullptr && arg->kind == ATTN_PARAM_BOOL &&
                        std::strcmp(arg->name, output.argument) == 0);
    }
    if (!found) {
      problems.push_back(at + ": no bool argument " + quoted(output.argument) + " asks for it");
    }
  }
}

// {name} in a rule's text must name a parameter.
void check_rules(const std::string& where, const attn_type& t, Problems& problems) {
  if (!check_array(where + ": rules", t.rules, t.n_rules, ATTN_SIZE_UP_TO(attn_rule, user),
                   problems)) {
    return;
  }
  for (uint32_t i = 0; i < t.n_rules; ++i) {
    const attn_rule& rule = *t.rules[i];
    const std::string at = where + ": rule " + quoted(rule.text);
    if (!is_text(rule.text) || rule.text[0] == '\0') {
      problems.push_back(at + ": it has no text");
      continue;
    }
    if (rule.check == nullptr) problems.push_back(at + ": it has no check function");
    const std::string text = rule.text;
    for (std::size_t open = text.find('{'); open != std::string::npos;
         open = text.find('{', open + 1)) {
      const std::size_t close = text.find('}', open);
      if (close == std::string::npos) break;
      const std::string name = text.substr(open + 1, close - open - 1);
      if (!is_identifier(name.c_str())) continue;
      bool found = false;
      for (uint32_t p = 0; p < t.n_params && p < kMaxElements; ++p) {
        found = found || (t.params[p]->name != nullptr && name == t.params[p]->name);
      }
      if (!found) problems.push_back(at + ": there is no parameter '" + name + "'");
    }
  }
}

bool is_text_or_null(const char* text) { return text == nullptr || is_text(text); }

// What a claim of a later border means is not known: its texts alone are looked at.
void check_claims(const std::string& where, const attn_type& t, Problems& problems) {
  if (!ATTN_HAS(&t, attn_type, claims)) return;
  if (!check_array(where + ": claims", t.claims, t.n_claims, ATTN_SIZE_UP_TO(attn_claim, degree),
                   problems)) {
    return;
  }
  for (uint32_t i = 0; i < t.n_claims; ++i) {
    const attn_claim& claim = *t.claims[i];
    const std::string at = where + ": claim " + std::to_string(i);
    if (!is_text_or_null(claim.subject) || !is_text_or_null(claim.condition) ||
        !is_text_or_null(claim.relation)) {
      problems.push_back(at + ": subject, condition or relation is not a text");
      continue;
    }
    if (claim.kind > ATTN_CLAIM_DETERMINISTIC) continue;
    if (claim.kind == 0) problems.push_back(at + ": its kind is 0");
    if ((claim.condition == nullptr) != (claim.holds == nullptr) ||
        (claim.relation == nullptr) != (claim.allows == nullptr)) {
      problems.push_back(at + ": a function without words, or words without a function");
    }
    if (claim.kind == ATTN_CLAIM_REACHES && claim.allows == nullptr) {
      problems.push_back(at + ": reaches nothing, allows() is NULL");
    }
    if (claim.kind == ATTN_CLAIM_HOMOGENEOUS && !std::isfinite(claim.degree)) {
      problems.push_back(at + ": its degree is not finite");
    }
    const bool inert = claim.kind == ATTN_CLAIM_INERT;
    if (inert && claim.subject == nullptr) problems.push_back(at + ": inert names no weight");
    if (inert || claim.subject == nullptr) continue;
    bool found = false;
    for (uint32_t k = 0; k < t.n_inputs && k < kMaxElements; ++k) {
      const char* input = t.inputs[k]->name;
      found = found || (input != nullptr && std::strcmp(input, claim.subject) == 0);
    }
    if (!found) problems.push_back(at + ": there is no input " + quoted(claim.subject));
  }
}

void check_type(const attn_type& t, Problems& problems) {
  const std::string where = "type " + quoted(t.id);
  if (!is_dotted_name(t.id)) {
    problems.push_back(where +
                       ": the id is not made of [a-z][a-z0-9_]* joined by dots, at most 64 bytes");
  }
  if (!is_identifier(t.class_name)) {
    problems.push_back(where + ": the class name " + quoted(t.class_name) +
                       " is not an identifier");
  }
  const std::pair<const char*, const char*> texts[] = {{"description", t.description},
                                                       {"use_case", t.use_case},
                                                       {"input_shape", t.input_shape},
                                                       {"complexity", t.complexity},
                                                       {"paper", t.paper}};
  for (const auto& [name, text] : texts) {
    if (!is_text(text)) problems.push_back(where + ": its " + name + " is not a text");
  }
  const std::size_t before = problems.size();
  check_params(where, t.params, t.n_params, ParamsOf::type, problems);
  if (problems.size() == before) check_rules(where, t, problems);
  check_params(where, t.args, t.n_args, ParamsOf::call, problems);
  check_count(where, "arguments", t.n_args, 0, kMaxArguments, problems);
  const std::size_t inputs = problems.size();
  check_inputs(where, t, problems);
  if (problems.size() == inputs) check_claims(where, t, problems);
  check_outputs(where, t, problems);
  if (t.create == nullptr || t.destroy == nullptr || t.build == nullptr || t.forward == nullptr) {
    problems.push_back(where + ": create, destroy, build or forward is NULL");
  }
}

void check_op(const attn_op& op, Problems& problems) {
  const std::string where = "operator " + quoted(op.name);
  if (!is_dotted_name(op.name)) {
    problems.push_back(
        where + ": the name is not made of [a-z][a-z0-9_]* joined by dots, at most 64 bytes");
  }
  if (op.version == 0) problems.push_back(where + ": its version is 0");
  if (!is_text(op.doc)) problems.push_back(where + ": its doc is not a text");
  check_count(where, "inputs", op.n_in, 0, kMaxOperands, problems);
  check_count(where, "outputs", op.n_out, 1, kMaxPorts, problems);
  check_count(where, "saved tensors", op.n_saved, 0, kMaxPorts, problems);
  if (op.n_in <= kMaxOperands && op.n_out <= kMaxPorts) {
    const uint64_t beyond = ~((uint64_t{1} << op.n_in) - 1);
    if (((op.in_required | op.in_const) & beyond) != 0) {
      problems.push_back(where + ": in_required or in_const names an input that does not exist");
    }
    if (op.map_output < -1 || op.map_output >= static_cast<int32_t>(op.n_out)) {
      problems.push_back(where + ": map_output names an output that does not exist");
    }
  }
  if (op.shape == nullptr || op.forward == nullptr) {
    problems.push_back(where + ": shape or forward is NULL");
  }
  check_count(where, "attributes", op.n_attrs, 0, kMaxAttributes, problems);
  check_params(where, op.attrs, op.n_attrs, ParamsOf::op, problems);
}

void check_uses(const attn_plugin& p, Problems& problems) {
  if (!check_array("uses", p.uses, p.n_uses, ATTN_SIZE_UP_TO(attn_op_use, slot), problems)) return;
  for (uint32_t i = 0; i < p.n_uses; ++i) {
    const attn_op_use& use = *p.uses[i];
    if (!is_dotted_name(use.name) || use.version == 0 || use.slot == nullptr) {
      problems.push_back("use of operator " + quoted(use.name) +
                         ": name, version or slot is missing");
    }
  }
}

// What the file says and what its table says.
void check_agreement(const attn_plugin& p, const PluginNote& note, Problems& problems) {
  const auto differ = [&](const char* what, const std::string& file, const std::string& table) {
    if (file != table) {
      problems.push_back(std::string(what) + " is " + quoted(file.c_str()) +
                         " in the file's metadata and " + quoted(table.c_str()) + " in its table");
    }
  };
  differ("name", note.name, p.name);
  differ("version", note.version, p.version);
  differ("ABI minor built", std::to_string(note.abi_minor_built),
         std::to_string(p.abi_minor_built));
  differ("ABI minor needed", std::to_string(note.abi_minor_needed),
         std::to_string(p.abi_minor_needed));
  const std::set<std::string> in_note(note.types.begin(), note.types.end());
  std::set<std::string> in_table;
  for (uint32_t i = 0; i < p.n_types; ++i) in_table.insert(p.types[i]->id);
  for (const std::string& id : in_table) {
    if (in_note.count(id) == 0) {
      problems.push_back("type '" + id + "' is in its table and not in the file's metadata");
    }
  }
  for (const std::string& id : in_note) {
    if (in_table.count(id) == 0) {
      problems.push_back("type " + quoted(id.c_str()) +
                         " is in the file's metadata and not in its table");
    }
  }
}

std::optional<Refusal> refusal(RefusalKind kind, const Problems& problems) {
  if (problems.empty()) return std::nullopt;
  constexpr std::size_t kShown = 3;
  std::string text;
  for (std::size_t i = 0; i < problems.size() && i < kShown; ++i) {
    text += (i > 0 ? "; " : "") + problems[i];
  }
  if (problems.size() > kShown) {
    text += "; and " + std::to_string(problems.size() - kShown) + " more";
  }
  return Refusal{kind, text,
                 kind == RefusalKind::bad_table ? "a table that keeps the rules of attn/sdk/abi.h"
                                                : "metadata and table that agree",
                 "report it to the author of the plugin"};
}

}  // namespace

std::optional<Refusal> check_table(const attn_plugin* plugin, const PluginNote& note) {
  if (plugin == nullptr) {
    return refusal(RefusalKind::bad_table, {"attn_plugin_v1() returned no table"});
  }
  const attn_plugin& p = *plugin;
  // ProcessGroup behind abi_minor_needed can be trusted only when major and size are right.
  if (p.struct_size < ATTN_SIZE_UP_TO(attn_plugin, abi_minor_needed)) {
    return refusal(RefusalKind::bad_table,
                   {"the plugin's struct_size is " + std::to_string(p.struct_size)});
  }
  auto abi = check_abi(p.abi_major, p.abi_minor_built, p.abi_minor_needed);
  if (auto* wrong = std::get_if<Refusal>(&abi)) return *wrong;
  if (p.struct_size < ATTN_SIZE_UP_TO(attn_plugin, deinit)) {
    return refusal(RefusalKind::bad_table,
                   {"the plugin's struct_size is " + std::to_string(p.struct_size)});
  }
  Problems problems;
  if (!is_text(p.name) || p.name[0] == '\0') problems.push_back("the plugin has no name");
  if (!is_text(p.version) || p.version[0] == '\0') problems.push_back("the plugin has no version");
  if (!is_text(p.license) || p.license[0] == '\0') problems.push_back("the plugin has no license");
  if (p.abi_minor_needed > p.abi_minor_built)
    problems.push_back("needs a newer ABI than it was built with");
  const bool types =
      check_array("types", p.types, p.n_types, ATTN_SIZE_UP_TO(attn_type, forward), problems);
  const bool ops =
      check_array("operators", p.ops, p.n_ops, ATTN_SIZE_UP_TO(attn_op, cost), problems);
  check_uses(p, problems);
  if (!types || !ops) return refusal(RefusalKind::bad_table, problems);
  if (p.n_types + p.n_ops == 0) problems.push_back("it offers neither a type nor an operator");
  std::set<std::string> ids;
  for (uint32_t i = 0; i < p.n_types; ++i) {
    check_type(*p.types[i], problems);
    if (is_dotted_name(p.types[i]->id) && !ids.insert(p.types[i]->id).second) {
      problems.push_back("type " + quoted(p.types[i]->id) + " is listed twice");
    }
  }
  std::set<std::pair<std::string, uint32_t>> operators;
  for (uint32_t i = 0; i < p.n_ops; ++i) {
    check_op(*p.ops[i], problems);
    if (is_dotted_name(p.ops[i]->name) &&
        !operators.insert({p.ops[i]->name, p.ops[i]->version}).second) {
      problems.push_back("operator " + quoted(p.ops[i]->name) + " is listed twice");
    }
  }
  if (!problems.empty()) return refusal(RefusalKind::bad_table, problems);
  check_agreement(p, note, problems);
  return refusal(RefusalKind::metadata_mismatch, problems);
}

#undef ATTN_SIZE_UP_TO

}  // namespace attn::loader
