// SPDX-License-Identifier: Apache-2.0
//
// Names and texts of the schema.
#include <attn/factory.hpp>

#include <cctype>
#include <set>

#include "host/check/child.hpp"
#include "host/check/schema/lists.hpp"
#include "host/cli/types.hpp"

namespace attn::check {
namespace {

struct Named {
  std::string what;  // "parameter 'dim'"
  std::string name;
  const char* doc;  // nullptr: none is needed
};

// Everything of a type that has a name, aliases included.
std::vector<Named> names_of(const attn_type& t) {
  std::vector<Named> out;
  const auto add = [&](const char* kind, const char* name, const char* doc) {
    out.push_back({std::string(kind) + " '" + name + "'", name, doc});
  };
  const auto add_params = [&](const char* kind, const attn_param* const* params, uint32_t n) {
    for (uint32_t i = 0; i < n; ++i) {
      add(kind, params[i]->name, params[i]->doc ? params[i]->doc : "");
      for (uint32_t a = 0; a < params[i]->n_aliases; ++a)
        add("alias", params[i]->aliases[a], nullptr);
    }
  };
  add_params("parameter", t.params, t.n_params);
  add_params("argument", t.args, t.n_args);
  for (uint32_t i = 0; i < t.n_inputs; ++i) {
    add("input", t.inputs[i]->name, t.inputs[i]->doc);
    if (ATTN_HAS(t.inputs[i], attn_input, n_aliases))
      for (uint32_t a = 0; a < t.inputs[i]->n_aliases; ++a)
        add("alias", t.inputs[i]->aliases[a], nullptr);
  }
  for (uint32_t i = 0; i < t.n_outputs; ++i) add("output", t.outputs[i]->name, t.outputs[i]->doc);
  return out;
}

bool is_snake_case(const std::string& name) {
  bool good = !name.empty() && std::islower(static_cast<unsigned char>(name[0]));
  for (const unsigned char c : name)
    good = good && (std::islower(c) || std::isdigit(c) || c == '_');
  return good && name.find("__") == std::string::npos && name.back() != '_';
}

Outcome snake_case(Subject& s) {
  const std::vector<Named> names = names_of(s.type());
  for (const Named& n : names)
    if (!is_snake_case(n.name))
      return failed(
          "a name is not in snake_case, as configs, keyword arguments of Python and members of C++ "
          "have it; expected words of lower case letters joined by _",
          n.what);
  return passed(std::to_string(names.size()) + " names");
}

// A call names arguments and inputs in one list, in Python together with those of numpy's calls.
Outcome unique_names(Subject& s) {
  const attn_type& t = s.type();
  std::set<std::string> seen;
  const auto take = [&](const std::string& name) { return seen.insert(name).second; };
  std::vector<std::string> twice;
  for (uint32_t i = 0; i < t.n_args; ++i)
    if (!take(t.args[i]->name)) twice.emplace_back(t.args[i]->name);
  for (uint32_t i = 0; i < t.n_inputs; ++i)
    if (!take(t.inputs[i]->name)) twice.emplace_back(t.inputs[i]->name);
  if (twice.empty()) return passed();
  return failed(
      "an argument of the call and an input have the same name, so that a call by name means both; "
      "rename one",
      "'" + twice.front() + "'");
}

Outcome documented(Subject& s) {
  const std::vector<Named> names = names_of(s.type());
  for (const Named& n : names) {
    if (!n.doc) continue;
    const std::string doc = one_line(n.doc);
    if (doc.size() < 3 || doc == n.name)
      return failed(
          "something has no documentation, which `attn info` and the classes of Python show; say "
          "in a few "
          "words what it does",
          n.what + (doc.empty() ? "" : " is called \"" + doc + "\""));
  }
  return passed();
}

Outcome texts(Subject& s) {
  const attn_type& t = s.type();
  const std::pair<const char*, const char*> all[] = {{"description", t.description},
                                                     {"use_case", t.use_case},
                                                     {"input_shape", t.input_shape},
                                                     {"complexity", t.complexity},
                                                     {"paper", t.paper}};
  for (const auto& [name, text] : all)
    if (one_line(text).empty())
      return failed(
          "the type leaves a text empty that `attn info` shows; fill it in, \"none\" where there "
          "is "
          "nothing to say",
          name);
  if (!std::isupper(static_cast<unsigned char>(t.class_name[0])) ||
      std::string(t.class_name).find('_') != std::string::npos)
    return failed("the class name is not in CamelCase; expected one such as MyAttention",
                  t.class_name);
  return passed();
}

Outcome rules_worded(Subject& s) {
  const attn_type& t = s.type();
  for (uint32_t i = 0; i < t.n_rules; ++i) {
    const std::string text = t.rules[i]->text;
    bool names = false;
    for (uint32_t p = 0; p < t.n_params; ++p)
      names = names || text.find(t.params[p]->name) != std::string::npos;
    if (!names)
      return failed("a rule does not say which parameters it is about; name them in its text",
                    one_line(text));
  }
  return passed(std::to_string(t.n_rules) + " rules");
}

// Extents of outputs are those of inputs, or of parameters.
Outcome extents_named(Subject& s) {
  const attn_type& t = s.type();
  for (uint32_t i = 0; i < t.n_inputs; ++i) {
    if (t.inputs[i]->flags & ATTN_INPUT_UNUSED) continue;
    if (t.inputs[i]->n_shapes == 0)
      return failed(
          "an input says no shape; list one text for each rank it takes, such as \"batch, seq, "
          "dim\"",
          t.inputs[i]->name);
    for (uint32_t k = 0; k < t.inputs[i]->n_shapes; ++k)
      for (const std::string& extent : cli::extents(t.inputs[i]->shapes[k]))
        if (extent.empty())
          return failed("a shape has an extent without a name",
                        std::string(t.inputs[i]->name) + ": \"" + t.inputs[i]->shapes[k] + "\"");
  }
  return passed();
}

}  // namespace

std::span<const Test> word_tests() {
  static constexpr Test kTests[] = {
      {.name = "names_are_snake_case",
       .promise = "Names of parameters, arguments, inputs and outputs are in snake_case.",
       .run = snake_case,
       .group = Group::schema},
      {.name = "names_are_unique",
       .promise = "No argument of a call has the name of an input.",
       .run = unique_names,
       .group = Group::schema},
      {.name = "documented",
       .promise = "Every parameter, argument, input and output is documented.",
       .run = documented,
       .group = Group::schema},
      {.name = "texts",
       .promise = "The type has all its texts, and a class name in CamelCase.",
       .run = texts,
       .group = Group::schema},
      {.name = "rules_worded",
       .promise = "Every rule names the parameters that it is about.",
       .run = rules_worded,
       .group = Group::schema},
      {.name = "extents_named",
       .promise = "Every input says its shapes, with a name for each extent.",
       .run = extents_named,
       .group = Group::schema},
  };
  return kTests;
}

}  // namespace attn::check
