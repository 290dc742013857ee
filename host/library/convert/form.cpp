// SPDX-License-Identifier: Apache-2.0
#include "host/library/convert/form.hpp"

#include <algorithm>
#include <cstring>
#include <set>

#include "core/schema/text.hpp"
#include "host/library/convert/mapping.hpp"

namespace attn::conversion {

namespace {

constexpr int64_t kSmall = 1 << 20;  // elements that are no harm

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string out;
  for (const int64_t n : shape) out += (out.empty() ? "" : ", ") + std::to_string(n);
  return "(" + out + ")";
}

// The parts of one recipe, each element holding its number among all of them: what a recipe does to these
// tells where every element of a tensor comes from. Doubles count exactly to 2^53.
struct Numbered {
  TensorSet set{};
  std::map<std::string, Array> arrays{};
  std::vector<std::pair<std::string, int64_t>> begins{};  // of each part, in order
  int64_t size = 0;

  void add(const std::string& part, const Shape& shape) {
    if (arrays.contains(part)) return;
    Array a(ATTN_F64, shape);
    for (int64_t i = 0; i < a.size(); ++i) a.data<double>()[i] = static_cast<double>(size + i);
    begins.emplace_back(part, size);
    size += a.size();
    set.shapes.emplace(part, shape.to_vector());
    arrays.emplace(part, std::move(a));
  }
};

void copy_element(const Array& from, int64_t i, Array& to, int64_t k) {
  const size_t n = dtype_size(from.dtype());
  std::memcpy(static_cast<std::byte*>(to.raw()) + static_cast<size_t>(k) * n,
              static_cast<const std::byte*>(from.raw()) + static_cast<size_t>(i) * n, n);
}

bool all_zero(const Array& a) {
  const Array wide = a.astype(ATTN_F64);
  return std::all_of(wide.data<double>(), wide.data<double>() + wide.size(),
                     [](double x) { return x == 0; });
}

}  // namespace

InvalidArgument refusal(const std::string& text, ErrorDetails details) {
  const std::string end = details.hint.empty() ? "" : "; " + details.hint;
  return InvalidArgument(text + end, std::move(details));
}

const Json& Form::section(const char* key) const {
  static const Json none = Json::object();
  const Json* found = table_->find(key);
  return found ? *found : none;
}

std::string Form::title() const { return table_->at("title").as_string(); }

void Form::refuse(const std::string& text, const std::string& hint,
                  const std::string& tensor) const {
  throw refusal(title() + ": " + text, {.parameter = tensor, .hint = hint});
}

bool Form::required(const std::string& tensor) const {
  const std::vector<std::string> parts = leaves(table_->at("tensors").at(tensor));
  return std::any_of(parts.begin(), parts.end(), is_kernel);
}

std::vector<std::string> Form::prefixes(const Shapes& tensors) const {
  std::vector<std::string> needed, out;
  for (const auto& [tensor, recipe] : section("tensors").as_object())
    if (required(tensor)) needed.push_back(tensor);
  if (const Json* present = table_->find("present")) needed.push_back(present->as_string());
  for (const auto& [name, shape] : tensors) {
    if (!name.ends_with(needed.front())) continue;
    const std::string prefix = name.substr(0, name.size() - needed.front().size());
    if (!prefix.empty() && prefix.back() != '.' && prefix.back() != '/') continue;
    const auto there = [&](const std::string& n) { return tensors.contains(prefix + n); };
    const Json* absent = table_->find("absent");
    if (std::all_of(needed.begin(), needed.end(), there) && !(absent && there(absent->as_string())))
      out.push_back(prefix);
  }
  return out;
}

void Form::check_names(const Shapes& tensors, const std::string& prefix,
                       std::vector<std::string>* left_out) const {
  const Json& ignored = section("left_out");
  for (auto it = tensors.lower_bound(prefix); it != tensors.end(); ++it) {
    const std::string& name = it->first;
    if (!name.starts_with(prefix)) break;
    const std::string rest = name.substr(prefix.size());
    if (section("tensors").contains(rest)) continue;
    if (const Json* reason = section("refused").find(rest))
      refuse("'" + name + "': " + reason->as_string(), {}, name);
    if (ignored.is_list() && std::find(ignored.as_list().begin(), ignored.as_list().end(),
                                       Json(rest)) != ignored.as_list().end()) {
      if (left_out) left_out->push_back(name);
      continue;
    }
    refuse("tensor '" + name + "' is none that such a module has",
           "this may be another kind of module, or one with options that are not known here", name);
  }
}

Parts Form::read(const TensorSet& source, const std::string& prefix, Json variables,
                 std::vector<std::string>* left_out) const {
  for (const auto& [tensor, recipe] : section("tensors").as_object())
    if (required(tensor) && !source.shapes.contains(prefix + tensor))
      refuse("tensor '" + prefix + tensor + "' is missing", {}, prefix + tensor);
  check_names(source.shapes, prefix, left_out);
  for (const auto& [variable, place] : section("sizes").as_object()) {
    const auto it = source.shapes.find(prefix + place.at(0).as_string());
    if (it == source.shapes.end()) continue;
    int64_t size = 1;
    for (size_t i = 1; i < place.size(); ++i) {
      const auto axis = static_cast<size_t>(place.at(i).to_int64().value());
      if (axis >= it->second.size())
        refuse("tensor '" + it->first + "' " + shape_text(it->second) + " has too few axes", {},
               it->first);
      size *= it->second[axis];
    }
    if (const Json* given = variables.find(variable); given && *given != Json(size))
      refuse("the tensors say that " + variable + " is " + std::to_string(size) + ", not " +
             given->brief());
    variables.set(variable, size);
  }
  complete_variables(variables,
                     [&](const std::string& text, const std::string& hint) { refuse(text, hint); });

  Parts out{.variables = std::move(variables)};
  std::map<std::string, std::vector<bool>> known;
  for (const auto& [tensor, recipe] : section("tensors").as_object()) {
    const std::string name = prefix + tensor;
    if (!source.shapes.contains(name)) continue;
    Numbered parts;
    // Before memory for them is taken: a file of a few bytes can claim parts of any size.
    int64_t needed = 0, found = 1;
    for (const std::string& part : leaves(recipe))
      needed += part_shape(part, out.variables).elements();
    for (const int64_t n : source.shapes.at(name)) found *= n;
    if (needed > std::max(found, kSmall))
      refuse("tensor '" + name + "' is " + shape_text(source.shapes.at(name)) +
                 ", too small beside the others",
             {}, name);
    for (const std::string& part : leaves(recipe)) parts.add(part, part_shape(part, out.variables));
    parts.set.read = [&](const std::string& part) { return parts.arrays.at(part).clone(); };
    const Array places = Mapping(Json{{tensor, recipe}}, title(), variable_texts(out.variables))
                             .make(tensor, parts.set);
    if (places.shape().to_vector() != source.shapes.at(name))
      refuse("tensor '" + name + "' is " + shape_text(source.shapes.at(name)) + ", expected " +
                 places.shape().to_string() + " beside the others",
             "check num_heads", name);
    Array values = source.read(name);
    if (!dtype_is_floating(values.dtype()))
      refuse("tensor '" + name + "' is " + std::string(dtype_name(values.dtype())) +
                 "; expected floating numbers",
             {}, name);
    if (values.dtype() != ATTN_F64) values = values.astype(ATTN_F32);
    for (size_t k = 0; k < parts.begins.size(); ++k) {
      const auto& [part, begin] = parts.begins[k];
      const int64_t n = parts.arrays.at(part).size();
      Array& a = out.arrays.try_emplace(part, values.dtype(), part_shape(part, out.variables))
                     .first->second;
      if (a.dtype() != values.dtype()) a = a.astype(ATTN_F64), values = values.astype(ATTN_F64);
      std::vector<bool>& seen = known[part];
      seen.resize(static_cast<size_t>(n));
      for (int64_t i = 0; i < places.size(); ++i) {
        const int64_t at = static_cast<int64_t>(places.data<double>()[i]) - begin;
        if (at < 0 || at >= n) continue;
        copy_element(values, i, a, at);
        seen[static_cast<size_t>(at)] = true;
      }
    }
  }
  for (const auto& [part, seen] : known)
    if (std::find(seen.begin(), seen.end(), false) != seen.end())
      refuse("the tensors do not tell all of '" + part + "'; this form can only be written");
  return out;
}

std::map<std::string, Array> Form::write(const Parts& parts, const Shapes* target) const {
  TensorSet set;
  std::map<std::string, Array> zeros;
  for (const auto& [part, a] : parts.arrays) set.shapes.emplace(part, a.shape().to_vector());
  set.read = [&](const std::string& part) {
    const auto it = parts.arrays.find(part);
    return (it == parts.arrays.end() ? zeros.at(part) : it->second).clone();
  };
  std::map<std::string, Array> out;
  std::set<std::string> used;
  for (const auto& [tensor, recipe] : section("tensors").as_object()) {
    const std::vector<std::string> needed = leaves(recipe);
    const bool some = std::any_of(needed.begin(), needed.end(), [&](const std::string& part) {
      return parts.arrays.contains(part);
    });
    if (target ? !target->contains(tensor) : !some) continue;
    for (const std::string& part : needed) {
      used.insert(part);
      if (set.shapes.contains(part)) continue;
      if (!is_additive(part))
        refuse("'" + tensor + "' needs '" + part + "', which there is not", {}, tensor);
      const Shape shape = part_shape(part, parts.variables);
      zeros.emplace(part, Array(ATTN_F32, shape));
      set.shapes.emplace(part, shape.to_vector());
    }
    Array a =
        Mapping(Json{{tensor, recipe}}, title(), variable_texts(parts.variables)).make(tensor, set);
    if (target && a.shape().to_vector() != target->at(tensor))
      refuse("'" + tensor + "' would be " + a.shape().to_string() + ", and is " +
                 shape_text(target->at(tensor)),
             "the two must have the same sizes", tensor);
    out.emplace(tensor, std::move(a));
  }
  for (const auto& [part, a] : parts.arrays)
    if (!used.contains(part) && !(is_additive(part) && all_zero(a)))
      refuse("there is no place for '" + part + "' " + a.shape().to_string(),
             "it is not zero, so that leaving it out would change results", part);
  if (target)
    for (const auto& [tensor, shape] : *target)
      if (!out.contains(tensor)) check_names({{tensor, shape}}, "", nullptr);
  return out;
}

std::string Form::unequal(const Json& variables, const Form& library) const {
  const Json* equations = table_->find("equal");
  const auto called = [&](const Json& variable) {
    const Json* name = library.section("names").find(variable.as_string());
    return (name ? *name : variable).as_string();
  };
  for (size_t i = 0; equations && i < equations->size(); ++i) {
    const Json &a = equations->at(i).at(0), &b = equations->at(i).at(1);
    const Json &x = variables.at(a.as_string()), &y = variables.at(b.as_string());
    if (x != y)
      return called(a) + " (" + x.brief() + ") must be " + called(b) + " (" + y.brief() + ")";
  }
  return {};
}

}  // namespace attn::conversion
