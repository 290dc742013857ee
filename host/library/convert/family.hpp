// SPDX-License-Identifier: Apache-2.0
//
// One family of published models: what its config.json says about attention, and under which names its weights are.
//
// A family is a JSON object, forms/families/NAME.json:
//   title       what messages call it
//   like        another family, whose objects this one adds to; null takes an entry away
//   model_types values of model_type in config.json
//   type        attention type of its layers
//   defaults    {key: value}: what absent keys of config.json mean
//   kinds       expression: the kind of each layer, or of the layers of one period
//   converted   kinds that are attention; absent: all
//   left_out    kinds that are no attention; others than these and `converted` are refused
//   local_rope  {kinds: [...], theta: key}: older configs give these layers a base of their own, without scaling
//   alpha_rope  expression, the size of a head: dynamic scalings of these models with an `alpha` multiply the base by
//               alpha^(size / (size - 2)), at every length
//   variables   {name: expression}: for recipes, beside the integers of the layer's config
//   config      {parameter: expression}; null leaves the parameter out
//   must        {key: [[value...], reason]}: what a key has to be where it is there
//   ignored     [key...]: keys that say nothing about attention, beside those of forms/families/ignored.json, which has
//               those that stand beside text_config, too
//   tensors     {weight: recipe}, as in mapping.hpp, names below the module
// An expression is the name of a key, or an object with one of
//   {"value": x}                          x itself
//   {"product"|"quotient"|"sum": [e...]}  numbers; null where one is null
//   {"inverse_sqrt": e}                   1 / sqrt(e), e above 0; null of null
//   {"if": e, "then": e, "else": e}       e is true, or neither null nor false nor 0
//   {"first": [e...]}                     the first that is not null
//   {"same": [key...]}                    the same, and others that are not null have to agree with it
//   {"object": {key: e}}                  an object
//   {"by_kind": {kind: e}}                by the kind of the layer; null for others
//   {"every": e, "last": kind, "others": kind}   kinds of a period of e layers
//   {"from_layer": e, "before": kind, "after": kind}
//   {"rope": "theta" | "scaling" | "share" | "positions" | "score_factor"}   of the layer's rotary positions: base,
//       rope_scaling, share of the head, how many there are (dynamic scaling reaches beyond those trained), and what scores
//       are multiplied by
// Keys that no expression reads and no list names are refused. [any-thread]
#pragma once

#include <attn/json.hpp>

#include <map>
#include <set>
#include <string>
#include <vector>

namespace attn::conversion {

class Family {
 public:
  // InvalidArgument: no such family.
  [[nodiscard]] static Family named(const std::string& name);
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const Json& table() const { return table_; }
  [[nodiscard]] std::string title() const { return table_.at("title").as_string(); }
  [[noreturn]] void refuse(const std::string& text, const std::string& hint = {},
                           const std::string& key = {}) const;

 private:
  std::string name_;
  Json table_;
};

// A config.json under the rules of a family, for one of its layers.
class ModelConfig {
 public:
  ModelConfig(const Family& family, const Json& config, int64_t layer);
  // "" where the family has one kind.
  [[nodiscard]] const std::string& kind() const { return kind_; }
  [[nodiscard]] bool is_converted() const;
  // 0 where config.json does not tell.
  [[nodiscard]] int64_t layers() const { return layers_; }
  // Of the expressions in `section`; those that are null are left out.
  [[nodiscard]] Json section(const char* name);
  // Keys of config.json that the parameter was made of; none before section() made it.
  [[nodiscard]] std::vector<std::string> keys_of(const std::string& parameter) const;
  // What is neither read nor known to say nothing, and what has another value than it must have.
  void refuse_rest() const;

 private:
  struct Rope {
    Json theta{}, share{}, scaling{};
  };

  [[nodiscard]] Json key(const std::string& name);
  void find_kind(const Json& kinds);
  [[nodiscard]] Json value(const Json& expression);
  [[nodiscard]] Json number(const std::string& operation, const Json& operands);
  [[nodiscard]] Json kinds(const Json& expression);
  // x, of that name, as a number; refuses everything else.
  [[nodiscard]] double real(const Json* x, const std::string& name) const;
  [[nodiscard]] Json rope(const std::string& what);
  [[nodiscard]] Rope rope_rules();
  [[nodiscard]] Rope older_rope_rules(std::string& theta_key);
  [[nodiscard]] Json scaling(const std::string& name, Json given);
  void scale_by_alpha(Rope& rope);
  // Refuses two keys that say different things.
  void same(const std::string& name, const Json& x, const std::string& other, const Json& y) const;
  // Whether the family says what that key has to be; refuses everything else.
  bool check_must(const std::string& name, const Json& x) const;

  const Family& family_;
  Json config_, beside_ = Json::object();  // of the language model, and what stands beside it
  std::set<std::string> given_{};          // keys without those that defaults add
  int64_t layer_, layers_ = 0;
  std::string kind_{};
  std::set<std::string> read_{};
  std::map<std::string, std::set<std::string>> parameter_keys_{};
};

// What families are, with what those that they are like say.
[[nodiscard]] Json joined_families(Json tables);

}  // namespace attn::conversion
