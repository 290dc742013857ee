// SPDX-License-Identifier: Apache-2.0
#include "host/cli/golden.hpp"

#include <attn/config.hpp>
#include <attn/error.hpp>

#include <algorithm>
#include <limits>

#include "host/cli/compare.hpp"

namespace attn::cli {

namespace {

[[noreturn]] void refuse(const std::string& path, const std::string& text) {
  throw InvalidArgument(path + ": " + text, {.where = path,
                                             .expected = "a golden case (attn-golden-1)",
                                             .hint = "tests/goldens/README.md has the format"});
}

const std::string& metadata(const GoldenCase& c, const char* key) {
  const auto it = c.file.metadata().find(key);
  if (it == c.file.metadata().end())
    refuse(c.path, std::string("metadata '") + key + "' is missing");
  return it->second;
}

Json json(const GoldenCase& c, const char* key, Json::Kind kind) {
  Json value = parse_config(metadata(c, key), c.path + ": metadata '" + key + "'");
  if (value.kind() != kind) refuse(c.path, std::string("metadata '") + key + "' has a wrong kind");
  return value;
}

std::vector<std::string> texts(const GoldenCase& c, const char* key) {
  std::vector<std::string> out;
  const Json list = json(c, key, Json::Kind::list);
  for (const Json& j : list.as_list()) {
    if (!j.is_string()) refuse(c.path, std::string("metadata '") + key + "' must list names");
    out.push_back(j.as_string());
  }
  return out;
}

}  // namespace

int64_t total_length(const std::vector<int64_t>& lengths) {
  int64_t sum = 0;
  for (const int64_t n : lengths) sum += std::min(n, std::numeric_limits<int64_t>::max() - sum);
  return sum;
}

GoldenCase::GoldenCase(const std::string& p) : path(p), file(p) {
  if (metadata(*this, "format") != "attn-golden-1")
    refuse(path, "metadata 'format' is '" + metadata(*this, "format") + "'");
  type = metadata(*this, "type");
  name = metadata(*this, "case");
  config = json(*this, "config", Json::Kind::object);
  call = json(*this, "call", Json::Kind::object);
  inputs = texts(*this, "inputs");
  outputs = texts(*this, "outputs");
  if (file.metadata().contains("tolerance")) {
    const Json own = json(*this, "tolerance", Json::Kind::object);
    const auto number = [&](const char* key) -> std::optional<double> {
      const Json* value = own.find(key);
      if (!value) return std::nullopt;
      if (!value->is_number()) refuse(path, "metadata 'tolerance' must hold numbers");
      return value->to_double();
    };
    output_tolerance = number("output");
    gradient_tolerance = number("grad");
  }
  if (file.metadata().contains("decode")) {
    const Json decode = json(*this, "decode", Json::Kind::object);
    const Json* list = decode.find("chunks");
    if (!list || !list->is_list()) refuse(path, "metadata 'decode' has no list 'chunks'");
    for (const Json& n : list->as_list()) {
      chunks.push_back(n.to_int64().value_or(0));
      if (chunks.back() < 1) refuse(path, "metadata 'decode' must hold positive lengths");
    }
  }
  for (const std::string& input : inputs)
    if (!has("input/" + input)) refuse(path, "tensor 'input/" + input + "' is missing");
  for (const std::string& output : outputs)
    if (!has("output/" + output)) refuse(path, "tensor 'output/" + output + "' is missing");
  if (outputs.empty()) refuse(path, "metadata 'outputs' names nothing to compare");
  // A tensor that nothing reads would look compared.
  const auto lists = [](const std::vector<std::string>& names, const std::string& tensor) {
    const size_t slash = tensor.find('/');
    return std::find(names.begin(), names.end(), tensor.substr(slash + 1)) != names.end();
  };
  for (const SafetensorsEntry& e : file.entries()) {
    const std::string kind = e.name.substr(0, e.name.find('/'));
    const bool known = kind == "input" || kind == "grad_input" ? lists(inputs, e.name)
                       : kind == "output" || kind == "cotangent"
                           ? lists(outputs, e.name)
                           : kind == "weight" || kind == "weight_after" || kind == "grad_weight";
    if (!known) refuse(path, "tensor '" + e.name + "' is no part of the case");
  }
}

std::vector<std::string> GoldenCase::names(const std::string& prefix) const {
  std::vector<std::string> out;
  for (const SafetensorsEntry& e : file.entries())
    if (e.name.starts_with(prefix + "/")) out.push_back(e.name.substr(prefix.size() + 1));
  std::sort(out.begin(), out.end());
  return out;
}

double GoldenCase::largest_gradient() const {
  double largest = 0;
  for (const char* prefix : {"grad_input", "grad_weight"})
    for (const std::string& n : names(prefix))
      largest = std::max(largest, largest_magnitude(file.read(prefix + ("/" + n)).view()));
  return largest;
}

}  // namespace attn::cli
