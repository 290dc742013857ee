// SPDX-License-Identifier: Apache-2.0
#include "host/library/convert/mapping.hpp"

#include <attn/error.hpp>

#include <algorithm>
#include <charconv>
#include <numeric>

#include "core/schema/text.hpp"
#include "host/library/convert/rearrange.hpp"

namespace attn::conversion {

Mapping::Mapping(Json content, std::string path, std::map<std::string, std::string> variables)
    : content_(std::move(content)), path_(std::move(path)), variables_(std::move(variables)) {
  if (!content_.is_object()) refuse("must hold an object {weight: recipe}");
  for (const auto& [key, recipe] : content_.as_object())
    if (!key.starts_with('$')) targets_.push_back(key);
}

void Mapping::refuse(const std::string& text, const std::string& hint) const {
  const std::string where = path_ + (target_.empty() ? "" : ": '" + target_ + "'");
  throw InvalidArgument(where + ": " + text, {.where = path_, .parameter = target_, .hint = hint});
}

std::string Mapping::substituted(const std::string& text) const {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    if (text[at] != '{') {
      out += text[at++];
      continue;
    }
    const size_t close = text.find('}', at);
    if (close == std::string::npos) refuse("'" + text + "' has a '{' without '}'");
    const std::string name = text.substr(at + 1, close - at - 1);
    const auto it = variables_.find(name);
    if (it == variables_.end()) {
      schema::Names known;
      for (const auto& [n, value] : variables_) known.push_back(n);
      refuse("no value for {" + name + "}; known are " + schema::name_list(known),
             "give it by --set " + name + "=VALUE");
    }
    out += it->second;
    at = close + 1;
  }
  return out;
}

int64_t Mapping::integer(const Json& value, const char* key) const {
  if (const auto n = value.to_int64()) return *n;
  if (value.is_string()) {
    const std::string text = substituted(value.as_string());
    int64_t n = 0;
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), n);
    if (ec == std::errc() && end == text.data() + text.size()) return n;
  }
  refuse(std::string("'") + key + "' must be an integer, got " + value.brief());
}

std::vector<int64_t> Mapping::integers(const Json& value, const char* key) const {
  if (!value.is_list()) refuse(std::string("'") + key + "' must be a list of integers");
  std::vector<int64_t> out;
  for (const Json& x : value.as_list()) out.push_back(integer(x, key));
  return out;
}

size_t Mapping::axis(const Json& value, const Shape& shape) const {
  const int64_t n = integer(value, "axis");
  const int64_t at = n < 0 ? n + shape.rank() : n;
  if (at < 0 || at >= shape.rank())
    refuse("axis " + std::to_string(n) + " does not exist in a tensor " + shape.to_string());
  return static_cast<size_t>(at);
}

Array Mapping::load(const std::string& pattern, const TensorSet& source) {
  const std::string name = substituted(pattern);
  if (!source.shapes.contains(name)) {
    schema::Names names;
    for (const auto& [n, shape] : source.shapes) names.push_back(n);
    refuse("the source has no tensor '" + name + "'", schema::did_you_mean(name, names));
  }
  used_.insert(name);
  Array a = source.read(name);
  if (!dtype_is_floating(a.dtype()))
    refuse("tensor '" + name + "' is " + std::string(dtype_name(a.dtype())) +
           "; expected floating numbers");
  return a.dtype() == ATTN_F64 ? std::move(a) : a.astype(ATTN_F32);
}

Array Mapping::cook(const Json& recipe, const TensorSet& source) {
  if (recipe.is_string()) return load(recipe.as_string(), source);
  if (!recipe.is_object()) refuse("a recipe must be a name or an object, got " + recipe.brief());
  const schema::Names keys{"from",    "concat",    "axis",       "slice", "reshape",
                           "permute", "transpose", "rope_pairs", "add"};
  for (const auto& [key, value] : recipe.as_object())
    if (std::find(keys.begin(), keys.end(), key) == keys.end())
      refuse("unknown key '" + key + "'; accepted: " + schema::name_list(keys),
             schema::did_you_mean(key, keys));
  const Json* from = recipe.find("from");
  const Json* list = recipe.find("concat");
  if ((from != nullptr) == (list != nullptr)) refuse("a recipe needs either 'from' or 'concat'");
  if (from) {
    if (recipe.contains("axis") && !recipe.contains("slice"))
      refuse("'axis' without 'slice' or 'concat' means nothing");
    return apply(recipe, cook(*from, source));
  }
  if (recipe.contains("slice"))
    refuse("'slice' beside 'concat'", "slice the parts: {\"from\": ..., \"slice\": ...}");
  if (!list->is_list() || list->empty()) refuse("'concat' must be a list of recipes");
  std::vector<Array> parts;
  bool wide = false;
  for (const Json& part : list->as_list()) {
    parts.push_back(apply(recipe, cook(part, source)));
    wide = wide || parts.back().dtype() == ATTN_F64;
  }
  const Json zero = 0;
  const Json* along = recipe.find("axis");
  const size_t at = axis(along ? *along : zero, parts.front().shape());
  for (Array& p : parts) {
    if (wide) p = p.astype(ATTN_F64);
    Shape a = p.shape(), b = parts.front().shape();
    if (a.rank() == b.rank()) a[at] = b[at] = 0;
    if (a != b)
      refuse("cannot join " + parts.front().shape().to_string() + " and " + p.shape().to_string() +
             " along axis " + std::to_string(at));
  }
  return concatenated(parts, at);
}

Array Mapping::slice(const Json& recipe, const Json& range, const Array& a) const {
  const Json zero = 0;
  const Json* along = recipe.find("axis");
  const size_t at = axis(along ? *along : zero, a.shape());
  const std::vector<int64_t> ends = integers(range, "slice");
  if (ends.size() != 2 || ends[0] < 0 || ends[0] >= ends[1] || ends[1] > a.shape()[at])
    refuse("'slice' " + range.brief() + " does not lie in axis " + std::to_string(at) + " of " +
           a.shape().to_string());
  return sliced(a, at, ends[0], ends[1]);
}

Array Mapping::reshape(const Json& shape, const Array& a) const {
  std::vector<int64_t> extents = integers(shape, "reshape");
  int64_t known = 1, open = 0;
  bool sound = !extents.empty() && extents.size() <= ATTN_MAX_RANK;
  for (const int64_t n : extents) {
    if (n == -1)
      ++open;
    else if (n < 1 || n > a.size())
      sound = false;
    else if (sound && known <= a.size())
      known *= n;
  }
  sound = sound && open <= 1 && known > 0 && a.size() % known == 0;
  if (sound)
    for (int64_t& n : extents)
      if (n == -1) n = a.size() / known;
  if (!sound || Shape(extents).elements() != a.size())
    refuse("'reshape' " + shape.brief() + " does not fit " + a.shape().to_string());
  return reshaped(a, Shape(extents));
}

Array Mapping::permute(const Json& axes, const Array& a) const {
  const std::vector<int64_t> order = integers(axes, "permute");
  std::vector<int64_t> sorted = order, all(a.shape().size());
  std::sort(sorted.begin(), sorted.end());
  std::iota(all.begin(), all.end(), int64_t{0});
  if (sorted != all)
    refuse("'permute' " + axes.brief() + " is no order of the axes of " + a.shape().to_string());
  return permuted(a, order);
}

Array Mapping::transpose(const Array& a) const {
  if (a.shape().rank() < 2)
    refuse("'transpose' needs two axes, the tensor is " + a.shape().to_string());
  std::vector<int64_t> order(a.shape().size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::swap(order[order.size() - 1], order[order.size() - 2]);
  return permuted(a, order);
}

Array Mapping::pair(const Json& options, const Array& a) const {
  const Json* heads = options.is_object() ? options.find("heads") : nullptr;
  if (!heads) refuse("'rope_pairs' must be {\"heads\": H} or {\"heads\": H, \"dims\": R}");
  for (const auto& [key, value] : options.as_object())
    if (key != "heads" && key != "dims") refuse("'rope_pairs' has no key '" + key + "'");
  if (a.shape().rank() < 1) refuse("'rope_pairs' needs an axis");
  const int64_t width = a.shape()[a.shape().size() - 1], h = integer(*heads, "heads");
  if (h < 1 || width % h != 0)
    refuse("'rope_pairs': " + std::to_string(width) + " columns are not " + std::to_string(h) +
           " heads");
  const Json* dims = options.find("dims");
  const int64_t r = dims ? integer(*dims, "dims") : width / h;
  if (r < 0 || r > width / h || r % 2 != 0)
    refuse("'rope_pairs': dims must be even and at most " + std::to_string(width / h));
  return interleaved_pairs(a, h, r);
}

// In this order, whatever that of the keys.
Array Mapping::apply(const Json& recipe, Array a) const {
  if (const Json* range = recipe.find("slice")) a = slice(recipe, *range, a);
  if (const Json* shape = recipe.find("reshape")) a = reshape(*shape, a);
  if (const Json* order = recipe.find("permute")) a = permute(*order, a);
  if (const Json* wanted = recipe.find("transpose")) {
    if (!wanted->is_bool()) refuse("'transpose' must be true or false");
    if (wanted->as_bool()) a = transpose(a);
  }
  if (const Json* options = recipe.find("rope_pairs")) a = pair(*options, a);
  if (const Json* shift = recipe.find("add")) {
    if (!shift->is_number()) refuse("'add' must be a number");
    a = shifted(a, shift->to_double());
  }
  return a;
}

Array Mapping::make(const std::string& target, const TensorSet& source) {
  target_ = target;
  Array a = cook(content_.at(target), source);
  target_.clear();
  return a;
}

}  // namespace attn::conversion
