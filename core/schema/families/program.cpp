// SPDX-License-Identifier: Apache-2.0
#include "core/schema/families/program.hpp"

#include <algorithm>
#include <cmath>

#include "core/error/error.hpp"
#include "core/program/program.hpp"
#include "core/schema/families/initializer.hpp"

namespace attn::schema {
namespace {

constexpr char kVariables[] = "bhqksBHQK";  // in the order of program::Variable

[[noreturn]] void fail(const std::string& name, const Json& value, const std::string& what,
                       const std::string& expected, const std::string& hint = "") {
  const std::string text = "capture '" + name + "' " + what + "; expected " + expected +
                           (hint.empty() ? "" : "; " + hint);
  throw InvalidArgument(
      text, {.parameter = name, .value = value.brief(), .expected = expected, .hint = hint});
}

bool is_number(const Json& x) { return x.is_number() && std::isfinite(x.to_double()); }

void check_whole(const std::string& name, const Json& x) {
  const auto n = x.to_int64();
  if (!n || *n > program::kMostWhole || *n < -program::kMostWhole)
    fail(name, x, "holds " + x.brief(), "whole numbers within 32 bits",
         "write a real one with a point");
}

// The numbers of nested lists, which must be as long as each other.
class Lists {
 public:
  Lists(Captures::Table& table, const Json& all) : table_(table), all_(all) {}

  void read() {
    for (const Json* x = &all_; x->is_list(); x = &x->at(std::size_t{0})) {
      if (x->size() == 0) refuse(*x);
      table_.shape.push_back(static_cast<std::int64_t>(x->size()));
    }
    read(all_, 0);
    for (const Json* x : numbers_) table_.whole = table_.whole && x->is_integer();
    for (const Json* x : numbers_) {
      if (table_.whole) check_whole(table_.name, *x);
      table_.values.push_back(x->to_double());
    }
  }

 private:
  void read(const Json& x, std::size_t depth) {
    if (depth == table_.shape.size()) {
      if (!is_number(x)) refuse(x);
      numbers_.push_back(&x);
      return;
    }
    if (!x.is_list() || static_cast<std::int64_t>(x.size()) != table_.shape[depth]) refuse(x);
    for (const Json& element : x.as_list()) read(element, depth + 1);
  }
  [[noreturn]] void refuse(const Json& x) const {
    fail(table_.name, x, "holds " + x.brief(),
         "numbers, or lists of numbers that are equally long");
  }

  Captures::Table& table_;
  const Json& all_;
  std::vector<const Json*> numbers_{};
};

void read_shape(Captures::Table& table, const Json& shape) {
  const char* const expected = "a list of positive integers or \"H\", the number of heads";
  if (!shape.is_list()) fail(table.name, shape, "has shape " + shape.brief(), expected);
  for (const Json& x : shape.as_list()) {
    const auto n = x.is_integer() ? x.to_int64() : std::nullopt;
    const bool heads = x.is_string() && x.as_string() == "H";
    if (!heads && (!n || *n < 1)) fail(table.name, shape, "has shape " + shape.brief(), expected);
    table.shape.push_back(heads ? Captures::kHeads : *n);
  }
}

Captures::Table read_object(const std::string& name, const Json& given) {
  const Names known{"values", "shape", "initializer", "trainable"};
  for (const auto& [key, value] : given.as_object())
    if (std::find(known.begin(), known.end(), key) == known.end())
      fail(name, given, "has '" + key + "'", "some of " + name_list(known),
           did_you_mean(key, known));
  Captures::Table table{.name = name, .trainable = true};
  const Json *values = given.find("values"), *shape = given.find("shape"),
             *initializer = given.find("initializer"), *trainable = given.find("trainable");
  if ((values == nullptr) == (shape == nullptr) || (values != nullptr && initializer != nullptr))
    fail(name, given, "is " + given.brief(), "values, or a shape with an initializer");
  if (trainable != nullptr) {
    if (!trainable->is_bool())
      fail(name, *trainable, "has trainable " + trainable->brief(), "true or false");
    table.trainable = trainable->as_bool();
  }
  if (values != nullptr) {
    Lists(table, *values).read();
    return table;
  }
  read_shape(table, *shape);
  table.initializer = resolve_initializer(initializer != nullptr ? *initializer : Json("zeros"));
  return table;
}

}  // namespace

Captures resolve_captures(const Json& given) {
  Captures out;
  if (given.is_null()) return out;
  std::vector<program::Name> constants;
  for (const auto& [name, x] : given.as_object()) {
    try {
      program::check_name(name);
    } catch (const InvalidArgument& e) {
      throw InvalidArgument(e.what(), {.parameter = name, .value = x.brief()});
    }
    if (is_number(x)) {
      program::Name n{.name = name};
      if (x.is_integer()) {
        check_whole(name, x);
        n.type = program::Type::whole;
        n.whole = *x.to_int64();
      } else {
        n.real = x.to_double();
      }
      constants.push_back(std::move(n));
      continue;
    }
    Captures::Table table{.name = name, .whole = true};
    if (x.is_list())
      Lists(table, x).read();
    else if (x.is_object())
      table = read_object(name, x);
    else
      fail(name, x, "is " + x.brief(), "a number, a list of numbers, or an object");
    if (table.shape.size() > program::kMostAxes)
      fail(name, x, "has " + std::to_string(table.shape.size()) + " axes",
           "at most " + std::to_string(program::kMostAxes));
    out.names.push_back({.name = name,
                         .type = table.whole ? program::Type::whole : program::Type::real,
                         .table = static_cast<int>(out.tables.size()),
                         .rank = static_cast<int>(table.shape.size())});
    out.tables.push_back(std::move(table));
  }
  out.names.insert(out.names.end(), constants.begin(), constants.end());
  return out;
}

void check_program(const ProgramParam& param, std::string_view text, const Captures& captures) {
  if (text.empty()) program::refuse(param.kind, text, 0, "the text is empty", "an expression", "");
  const bool score = param.kind == program::Kind::score;
  program::Source source{.names = captures.names};
  (score ? source.score : source.mask_rule) = text;
  const auto made = program::make_program(source);
  for (const program::Node& n : (score ? made->written_score : made->written_rule).steps) {
    if (n.op != program::Op::variable || n.variable == program::Variable::s) continue;
    const char name = kVariables[static_cast<std::size_t>(n.variable)];
    if (param.variables.find(name) != std::string_view::npos) continue;
    std::string told;
    for (const char c : std::string_view(kVariables))
      if (param.variables.find(c) != std::string_view::npos || (score && c == 's'))
        told += (told.empty() ? "" : ", ") + std::string(1, c);
    program::refuse(param.kind, text, static_cast<std::size_t>(n.begin),
                    "layers of this type cannot tell '" + std::string(1, name) + "'",
                    "of the variables " + told, "");
  }
}

Component captures_component(const Captures& captures, std::int64_t heads) {
  Component component;
  std::string names, constants;
  for (const program::Name& n : captures.names) {
    std::string& list = n.table < 0 ? constants : names;
    if (!list.empty()) list += ",";
    list += n.name;
    if (n.table >= 0) continue;
    list += "=" + (n.type == program::Type::whole ? std::to_string(n.whole) : Json(n.real).dump());
  }
  component.add(std::move(names));
  component.add(std::move(constants));
  for (const Captures::Table& table : captures.tables) {
    WeightDeclaration d{.slot = component.slots++,
                        .name = std::string(kCaptures) + "/" + table.name,
                        .shape = table.shape,
                        .initializer = table.initializer};
    std::int64_t elements = 1;
    for (std::int64_t& n : d.shape) {
      if (n == Captures::kHeads) n = heads;
      if (__builtin_mul_overflow(elements, n, &elements) || elements > program::kMostWhole)
        fail(table.name, Json(d.shape), "has shape " + Json(d.shape).dump(),
             "fewer than 2^31 elements");
    }
    d.trainable = table.trainable;
    d.values = table.values;
    d.whole = table.whole;
    component.weights.push_back(std::move(d));
  }
  return component;
}

}  // namespace attn::schema
