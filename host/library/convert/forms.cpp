// SPDX-License-Identifier: Apache-2.0
//
// The tables of all forms, read once.
#include <attn/config.hpp>

#include "core/schema/text.hpp"
#include "host/library/convert/family.hpp"
#include "host/library/convert/form.hpp"

namespace attn::conversion {

namespace {
// Those whose file stands in `folder`, by the name of the file.
Json tables(const std::string& folder) {
  Json out = Json::object();
  for (const FormText& f : form_texts()) {
    const std::string name = f.name;
    if (name.starts_with(folder))
      out.set(name.substr(folder.size()), parse_config(f.text, "forms/" + name + ".json"));
  }
  return out;
}
}  // namespace

const Json& type_forms() {
  static const Json all = tables("types/");
  return all;
}

const Json& estimate_forms() {
  static const Json all = tables("estimates/");
  return all;
}

namespace {
const Json& ignored_keys() {
  static const Json all = tables("families/").at("ignored");
  return all;
}
}  // namespace

const Json& ignored_model_keys() { return ignored_keys().at("keys"); }
const Json& ignored_beside_keys() { return ignored_keys().at("beside_text_config"); }

Form Form::estimate_of(const std::string& type) { return {type, estimate_forms().at(type)}; }

Form Form::named(const std::string& name) {
  if (const Json* table = attention_forms().find(name)) return {name, *table};
  schema::Names names;
  for (const auto& [n, table] : attention_forms().as_object()) names.push_back(n);
  throw refusal(
      "no form '" + name + "' of attention weights; known are " + schema::name_list(names),
      {.value = name, .hint = schema::did_you_mean(name, names)});
}

Form Form::of_type(const std::string& type) {
  if (const Json* table = type_forms().find(type)) return {type, *table};
  schema::Names names;
  for (const auto& [n, table] : type_forms().as_object()) names.push_back(n);
  throw refusal("attention type '" + type +
                    "' is not made of the parts that other libraries' attention has; those "
                    "that are: " +
                    schema::name_list(names),
                {.type = type, .hint = "choose one of them, or write a mapping (--map)"});
}

}  // namespace attn::conversion

namespace attn {
const Json& attention_forms() {
  static const Json all = conversion::tables("sources/");
  return all;
}
const Json& model_families() {
  static const Json all = conversion::joined_families(conversion::tables("families/"));
  return all;
}
}  // namespace attn
