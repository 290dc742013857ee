// SPDX-License-Identifier: Apache-2.0
#include "tests/sweeps/claims.hpp"

#include <attn/factory.hpp>

#include <cmath>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "tests/tools/plugin_folders.hpp"

namespace attn::sweeps {
namespace {

// The paragraph that begins with `what` and a colon, as one line without code marks.
std::optional<std::string> read_paragraph(const std::string& type, const std::string& what) {
  std::ifstream in(test::type_examples().at(type).parent_path() / "README.md");
  std::string text, line;
  bool inside = false;
  while (std::getline(in, line)) {
    if (line.starts_with(what + ": ")) inside = true, line = line.substr(what.size() + 2);
    if (inside && line.empty()) break;
    if (inside) text += (text.empty() ? "" : " ") + line;
  }
  if (!inside) return std::nullopt;
  std::erase(text, '`');
  if (text.ends_with('.')) text.pop_back();
  return text;
}

const std::optional<std::string>& paragraph(const std::string& type, const std::string& what) {
  static std::map<std::string, std::optional<std::string>> known;
  const std::string key = type + " " + what;
  const auto it = known.find(key);
  return it != known.end() ? it->second : known[key] = read_paragraph(type, what);
}

std::vector<std::string> split(const std::string& text, const std::string& at) {
  std::vector<std::string> out;
  size_t begin = 0;
  for (size_t end; (end = text.find(at, begin)) != std::string::npos; begin = end + at.size())
    out.push_back(text.substr(begin, end - begin));
  out.push_back(text.substr(begin));
  return out;
}

// A parameter as the layer shows it, an argument, or whether the call is one of training; behind a dot an option in it or an element.
Json value_of(const Setting& s, const std::string& word) {
  if (word == "training") return s.c.problem.training;
  const size_t dot = word.find('.');
  const std::string name = word.substr(0, dot),
                    inner = dot == std::string::npos ? "" : word.substr(dot + 1);
  const Json config = create_attention_layer(s.type, s.c.problem.config)->config();
  const Json* found = config.find(name);
  const attn_type& type = *find_attention_type(s.type).type;
  for (uint32_t i = 0; i < type.n_args && !found; ++i)
    if (name == type.args[i]->name) {
      found = s.c.problem.arguments.find(name);
      if (!found) return nullptr;
    }
  if (!found) throw std::runtime_error(s.type + ": a claim names '" + word + "', which is nothing");
  if (inner.empty()) return *found;
  if (found->is_list()) return found->at(std::stoul(inner));
  const Json* option = found->is_object() ? found->find(inner) : nullptr;
  return option ? *option : Json();
}

// The number that a name or a numeral stands for; nothing: null, or a list of different numbers.
std::optional<double> number(const Setting& s, const std::string& word) {
  if (word.find_first_not_of("-.0123456789") == std::string::npos) return std::stod(word);
  for (const auto& [input, form] : s.forms) {
    const std::vector<std::string> axes = check::axis_names(form);
    for (size_t i = 0; i < axes.size(); ++i)
      if (axes[i] == word) return static_cast<double>(s.c.problem.inputs.at(input).shape[i]);
  }
  const Json found = value_of(s, word);
  if (found.is_bool()) return found.as_bool();
  if (found.is_number()) return found.to_double();
  if (found.is_string()) return 1;
  if (!found.is_list()) return std::nullopt;
  for (const Json& j : found.as_list())
    if (!(j == found.at(size_t{0}))) return std::nullopt;
  return found.at(size_t{0}).to_double();
}

// NAME = A|B|C, of words or numbers.
bool is_one_of(const Json& value, const std::string& names) {
  for (const std::string& name : split(names, "|"))
    if (value.is_string() ? value.as_string() == name : value.is_number() && value.dump() == name)
      return true;
  return false;
}

// A (sign B)*, from left to right.
bool holds(const Setting& s, const std::string& condition) {
  const std::vector<std::string> w = split(condition, " ");
  if (w.size() == 3 && w[1] == "=") {
    const Json value = value_of(s, w[0]);
    if (value.is_null()) return false;
    if (value.is_string() || w[2].find('|') != std::string::npos) return is_one_of(value, w[2]);
  }
  std::optional<double> left = number(s, w[0]);
  for (size_t i = 1; i + 1 < w.size(); i += 2) {
    const std::optional<double> right = number(s, w[i + 1]);
    if (!left || !right) return false;
    const double a = *left, b = *right;
    if (w[i] == "*")
      left = a * b;
    else if (w[i] == "/")
      left = a / b;
    else if (w[i] == "%")
      left = std::fmod(a, b);
    else if (w[i] == "<")
      left = a < b;
    else if (w[i] == ">=")
      left = a >= b;
    else if (w[i] == "=")
      left = a == b;
    else
      throw std::runtime_error(s.type + ": a claim has the unknown sign '" + w[i] + "'");
  }
  return left.value_or(0) != 0;
}

}  // namespace

std::optional<std::vector<std::string>> claims(const Setting& s, const std::string& what) {
  const std::optional<std::string>& text = paragraph(s.type, what);
  if (!text) return std::nullopt;
  std::vector<std::string> out;
  for (const std::string& clause : split(*text, "; ")) {
    const std::vector<std::string> parts = split(clause, " with");
    bool all = true;
    for (size_t i = 1; i < parts.size(); ++i) {
      const bool without = parts[i].starts_with("out ");
      for (const std::string& condition : split(parts[i].substr(without ? 4 : 1), " and "))
        all = all && holds(s, condition) != without;
    }
    if (!all) continue;
    for (const std::string& subject : split(parts[0], ", ")) out.push_back(subject);
  }
  return out;
}

}  // namespace attn::sweeps
