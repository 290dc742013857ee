// SPDX-License-Identifier: Apache-2.0
//
// Tensors out of tensors with other names, orders and layouts: what a mapping says.
//
// A mapping is an object {target: recipe}. A recipe is a name in the source, or an object:
//   {"from": recipe, steps}            one tensor
//   {"concat": [recipe, ...], "axis": N, steps}   several, each put through the steps, then joined along N
// Steps, in this order whatever the order of the keys: "slice": [begin, end] along "axis"; "reshape": [...],
// one extent may be -1; "permute": [...]; "transpose": true, the last two axes; "rope_pairs": {"heads": H,
// "dims": R}, the last axis holds H heads whose first R components (default: all) are turned from half-split
// to interleaved pairs: new[2i] = old[i], new[2i+1] = old[i + R/2]; "add": x, to every element.
// {name} in names, and "{name}" in place of a number, stand for variables.
// host/docs/convert.md tells users the same. Errors: InvalidArgument that names the mapping and the target.
#pragma once

#include <attn/convert.hpp>
#include <attn/json.hpp>

#include <map>
#include <set>
#include <string>
#include <vector>

namespace attn::conversion {

class Mapping {
 public:
  // `path`: for messages.
  Mapping(Json content, std::string path, std::map<std::string, std::string> variables);

  // What has a recipe.
  [[nodiscard]] const std::vector<std::string>& targets() const { return targets_; }
  // Dense; float64 where a part of it is, else float32. Notes which source tensors were read.
  [[nodiscard]] Array make(const std::string& target, const TensorSet& source);
  [[nodiscard]] const std::set<std::string>& used() const { return used_; }

 private:
  [[noreturn]] void refuse(const std::string& text, const std::string& hint = "") const;
  [[nodiscard]] std::string substituted(const std::string& text) const;
  [[nodiscard]] int64_t integer(const Json& value, const char* key) const;
  [[nodiscard]] std::vector<int64_t> integers(const Json& value, const char* key) const;
  [[nodiscard]] size_t axis(const Json& value, const Shape& shape) const;
  [[nodiscard]] Array load(const std::string& name, const TensorSet& source);
  [[nodiscard]] Array cook(const Json& recipe, const TensorSet& source);
  [[nodiscard]] Array apply(const Json& recipe, Array a) const;
  // The steps of a recipe, each with the value of its key.
  [[nodiscard]] Array slice(const Json& recipe, const Json& range, const Array& a) const;
  [[nodiscard]] Array reshape(const Json& shape, const Array& a) const;
  [[nodiscard]] Array permute(const Json& order, const Array& a) const;
  [[nodiscard]] Array transpose(const Array& a) const;
  [[nodiscard]] Array pair(const Json& options, const Array& a) const;

  Json content_;
  std::string path_;
  std::map<std::string, std::string> variables_;
  std::vector<std::string> targets_;
  std::set<std::string> used_;
  std::string target_;  // the one being made
};

}  // namespace attn::conversion
