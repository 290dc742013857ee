// SPDX-License-Identifier: Apache-2.0
//
// One form: how a library, or a type of this one, stores the parts of multi-head attention.
//
// Parts, the same for all forms. Kernels are (in, out), columns by head, then component:
//   query/kernel (dim, query_size)          key/kernel (key_width, key_size)    value/kernel (value_width, value_size)
//   output/kernel (num_heads value_dim, output_width)           query/bias, key/bias, value/bias, output/bias
//   query_norm/gamma, /beta (layer norm) or /scale (rms norm), key_norm/...: (key_dim), of each head
// with query_size = num_heads key_dim, key_size = num_kv_heads key_dim, value_size = num_kv_heads value_dim.
//
// A form is a JSON object:
//   title      what messages call it
//   types      attention types to convert to, the first that fits
//   sizes      {variable: [tensor, axis...]}: extents that tell a variable, multiplied
//   equal      [[variable, variable]...]: what must hold of a module that the form can store
//   names      {variable: what the library calls it}
//   tensors    {tensor: recipe over parts}, as in mapping.hpp
//   present, absent   a tensor that tells this form, or another one
//   ask        why the form is not taken unless it is asked for
//   refused    {tensor: reason}: tensors that this library has no counterpart of
//   left_out   [tensor...]: what belongs to a module without being attention
//   config     of a type: {parameter: value, or "{variable}"};  inputs: shapes to build with, -1 for any
//   free       of a type: parameters that change no result of a call without training
// And of Python objects, read by host/python/attn/convert.py:
//   classes       names of the module's class;  part_classes  {attribute: [class...]}
//   attributes    {variable: [path...]}: attributes, or keys of get_config(), that tell it and must agree
//   type_where    {path: type}: what to convert to where the attribute is true
//   must          {path: [[value...], reason]}: what an attribute has to be where there is one
// Tensors may be absent when they hold biases and norms alone. [any-thread]
#pragma once

#include <attn/convert.hpp>
#include <attn/error.hpp>

#include "host/library/convert/parts.hpp"

namespace attn::conversion {

struct Parts {
  Json variables = Json::object();
  std::map<std::string, Array> arrays{};
};

using Shapes = std::map<std::string, std::vector<int64_t>>;

// The error with its hint at the end of the message, for those who see nothing else.
[[nodiscard]] InvalidArgument refusal(const std::string& text, ErrorDetails details);

class Form {
 public:
  // Of attention_forms(), and of a type of this library. InvalidArgument: no such form.
  [[nodiscard]] static Form named(const std::string& name);
  [[nodiscard]] static Form of_type(const std::string& type);
  // Of a type that comes near to attention with those parts; one of estimate_forms().
  [[nodiscard]] static Form estimate_of(const std::string& type);

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const Json& table() const { return *table_; }
  [[nodiscard]] std::string title() const;

  // What stands before the names of each module of this form.
  [[nodiscard]] std::vector<std::string> prefixes(const Shapes& tensors) const;
  [[nodiscard]] Parts read(const TensorSet& source, const std::string& prefix, Json variables,
                           std::vector<std::string>* left_out) const;
  // `target`: the tensors wanted, with their shapes; none: those of which there are parts.
  [[nodiscard]] std::map<std::string, Array> write(const Parts& parts, const Shapes* target) const;
  // Which equation of `equal` does not hold, in the words of `library`; empty: all do.
  [[nodiscard]] std::string unequal(const Json& variables, const Form& library) const;

  [[noreturn]] void refuse(const std::string& text, const std::string& hint = {},
                           const std::string& tensor = {}) const;

 private:
  Form(std::string name, const Json& table) : name_(std::move(name)), table_(&table) {}
  [[nodiscard]] const Json& section(const char* key) const;  // an empty object where there is none
  [[nodiscard]] bool required(const std::string& tensor) const;
  void check_names(const Shapes& tensors, const std::string& prefix,
                   std::vector<std::string>* left_out) const;

  std::string name_;
  const Json* table_;
};

// The forms of all types: {type: form}.
[[nodiscard]] const Json& type_forms();
// Of types whose results are estimates of what these parts give: nothing is converted to them.
[[nodiscard]] const Json& estimate_forms();
// Keys of config.json that say nothing about attention in any family (family.hpp).
[[nodiscard]] const Json& ignored_model_keys();
// The same of those that stand beside text_config.
[[nodiscard]] const Json& ignored_beside_keys();
// The parts of a built layer by the form of its type. `form` is told of parameters that it cannot express, and refuses.
[[nodiscard]] Parts parts_of(const Attention& layer, const Form& type, const Form& form);
// Texts of the JSON files of forms/, by the names of the files: "sources/torch".
struct FormText {
  const char* name;
  const char* text;
};
[[nodiscard]] std::vector<FormText> form_texts();

}  // namespace attn::conversion
