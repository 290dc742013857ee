// SPDX-License-Identifier: Apache-2.0
#include "core/schema/families/program.hpp"

#include <algorithm>
#include <attn/sdk/score_programs.hpp>
#include <cmath>

#include "core/error/error.hpp"
#include "core/program/program.hpp"
#include "core/schema/families/initializer.hpp"
#include "core/schema/input_names.hpp"

namespace attn::schema {
namespace {

constexpr char kVariables[] = "bhqksBHQK";  // in the order of program::Variable
constexpr const char* kAlibi = "alibi_slopes";
constexpr const char* kBuckets = "t5_buckets";
constexpr std::int64_t kBatch = program::letter_extent(program::kExtents.find('B')),
                       kHeads = program::letter_extent(program::kExtents.find('H'));

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
  const char* const expected =
      table.input
          ? "a list of positive integers or \"B\", \"H\", \"Q\" and \"K\", extents of the call"
          : "a list of positive integers or \"H\", the number of heads";
  if (!shape.is_list()) fail(table.name, shape, "has shape " + shape.brief(), expected);
  for (const Json& x : shape.as_list()) {
    const std::int64_t n = x.is_integer() ? x.to_int64().value_or(0) : 0;
    const std::string letter = x.is_string() ? x.as_string() : "";
    const std::size_t place =
        letter.size() == 1 ? program::kExtents.find(letter) : std::string_view::npos;
    const bool known =
        place != std::string_view::npos && (table.input || program::letter_extent(place) == kHeads);
    if (!known && n < 1) fail(table.name, shape, "has shape " + shape.brief(), expected);
    table.shape.push_back(known ? program::letter_extent(place) : n);
  }
}

bool read_switch(const std::string& name, const char* key, const Json* given, bool def) {
  if (given == nullptr) return def;
  if (!given->is_bool())
    fail(name, *given, std::string("has ") + key + " " + given->brief(), "true or false");
  return given->as_bool();
}

// A table that each call brings.
void read_input(Captures::Table& table, const Json& given) {
  for (const auto& [key, value] : given.as_object())
    if (key != "shape" && key != "dtype" && key != "input")
      fail(table.name, given, "is an input of the call and has '" + key + "'",
           "shape and dtype beside input", "remove '" + key + "', or 'input' for a weight");
  const Json *shape = given.find("shape"), *dtype = given.find("dtype");
  if (shape == nullptr)
    fail(table.name, given, "is an input of the call without a shape",
         "one, such as [\"B\", \"K\"]");
  read_shape(table, *shape);
  const std::string kind = dtype == nullptr     ? "float"
                           : dtype->is_string() ? dtype->as_string()
                                                : "";
  if (kind != "float" && kind != "i32")
    fail(table.name, *dtype, "has dtype " + dtype->brief(), "\"float\" or \"i32\"");
  table.whole = kind == "i32";
  table.trainable = false;
}

const Family& buckets_family() {
  static const Family family{"Initializer",
                             "initializer",
                             false,
                             {{kBuckets,
                               {},
                               0,
                               {{"num_buckets", OptionKind::integer, Range::positive, "32"},
                                {"max_distance", OptionKind::integer, Range::positive, "128"},
                                {"bidirectional", OptionKind::boolean, Range::any, "true"}}}}};
  return family;
}

// The buckets of k - q from 1 - L to L - 1, by number k - q + L - 1: whole numbers, which are not trained.
void read_buckets(Captures::Table& table, const Json& given, const Json& initializer) {
  const NamedSpec spec = read_named(buckets_family(), "Unknown initializer", initializer);
  const Options options(buckets_family(), *spec.member, spec.name, spec.config);
  const std::int64_t most = *options.value("max_distance").to_int64(),
                     buckets = *options.value("num_buckets").to_int64();
  const bool both = options.boolean("bidirectional");
  const std::int64_t exact = (both ? buckets / 2 : buckets) / 2;
  if (exact < 1) options.fail("num_buckets", "must be at least two for a direction");
  if (most <= exact) options.fail("max_distance", "must be above " + std::to_string(exact));
  if (table.shape.size() != 1 || table.shape[0] % 2 != 1)
    fail(table.name, given, std::string("has initializer ") + kBuckets + " and another shape",
         "[2 L - 1], for positions that are less than L apart");
  if (given.contains("trainable") && table.trainable)
    fail(table.name, given, "is trainable and holds whole numbers", "\"trainable\": false");
  const auto values = sdk::programs::t5_buckets((table.shape[0] + 1) / 2, buckets, most, both);
  table.values.assign(values.begin(), values.end());
  table.whole = true;
  table.trainable = false;
}

Captures::Table read_object(const std::string& name, const Json& given) {
  const Names known{"values", "shape", "initializer", "trainable", "dtype", "input"};
  for (const auto& [key, value] : given.as_object())
    if (std::find(known.begin(), known.end(), key) == known.end())
      fail(name, given, "has '" + key + "'", "some of " + name_list(known),
           did_you_mean(key, known));
  Captures::Table table{.name = name, .trainable = true};
  table.input = read_switch(name, "input", given.find("input"), false);
  if (table.input) {
    read_input(table, given);
    return table;
  }
  if (given.contains("dtype"))
    fail(name, given, "is a weight and has a dtype", "one for inputs of the call alone",
         "remove 'dtype', or set 'input'");
  const Json *values = given.find("values"), *shape = given.find("shape"),
             *initializer = given.find("initializer");
  if ((values == nullptr) == (shape == nullptr) || (values != nullptr && initializer != nullptr))
    fail(name, given, "is " + given.brief(), "values, or a shape with an initializer");
  table.trainable = read_switch(name, "trainable", given.find("trainable"), true);
  if (values != nullptr) {
    Lists(table, *values).read();
    return table;
  }
  read_shape(table, *shape);
  table.alibi = initializer != nullptr && *initializer == Json(kAlibi);
  if (table.alibi && table.shape.size() != 1)
    fail(name, given, std::string("has initializer ") + kAlibi + " and shape " + shape->brief(),
         "one axis, [\"H\"]");
  if (table.alibi) return table;
  const Json* of = initializer != nullptr && initializer->is_object()
                       ? initializer->find("class_name")
                       : initializer;
  if (of != nullptr && *of == Json(kBuckets)) {
    read_buckets(table, given, *initializer);
    return table;
  }
  table.initializer = resolve_initializer(initializer != nullptr ? *initializer : Json("zeros"));
  return table;
}

// Rows of a batch know nothing of each other: b is the index of the batch in tables of a call, and nothing else is.
void check_examples(const ProgramParam& param, std::string_view text, const program::Steps& all,
                    const Captures& captures) {
  const auto is_b = [&](std::int32_t i) {
    const program::Node& n = all.steps[static_cast<std::size_t>(i)];
    return n.op == program::Op::variable && n.variable == program::Variable::b;
  };
  for (const program::Node& n : all.steps) {
    const Captures::Table* table =
        n.op == program::Op::read ? &captures.tables[static_cast<std::size_t>(n.table)] : nullptr;
    const std::size_t batch = table != nullptr ? table->batch_axis() : program::kMostAxes;
    for (std::size_t i = 0; i < static_cast<std::size_t>(n.operands); ++i) {
      const std::int32_t in = n.in[i];
      if (is_b(in) == (i == batch)) continue;
      const auto at = static_cast<std::size_t>(all.steps[static_cast<std::size_t>(in)].begin);
      if (i == batch)
        program::refuse(param.kind, text, at,
                        "axis " + std::to_string(i + 1) + " of '" + table->name +
                            "' is the batch, and has another index than b",
                        "b", "rows of the batch know nothing of each other");
      program::refuse(param.kind, text, at, "'b' is not the index of an axis \"B\" here",
                      "b as an index of such an axis alone",
                      R"(capture {"shape": ["B", "K"], "dtype": "i32", "input": true} as doc )"
                      "and write doc[b, k]");
    }
  }
}

}  // namespace

std::size_t Captures::Table::batch_axis() const {
  return static_cast<std::size_t>(std::find(shape.begin(), shape.end(), kBatch) - shape.begin());
}
std::string Captures::Table::text() const {
  return std::string(whole ? "whole numbers " : "floating ") + program::extents_text(shape);
}

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
    if (std::count(table.shape.begin(), table.shape.end(), kBatch) > 1)
      fail(name, x, "has the batch twice", "one axis \"B\"");
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
  const program::Steps& written = score ? made->written_score : made->written_rule;
  const bool batched =
      std::any_of(captures.tables.begin(), captures.tables.end(),
                  [](const Captures::Table& t) { return t.batch_axis() < t.shape.size(); });
  for (const program::Node& n : written.steps) {
    if (n.op != program::Op::variable || n.variable == program::Variable::s) continue;
    const char name = kVariables[static_cast<std::size_t>(n.variable)];
    if (param.variables.find(name) != std::string_view::npos) continue;
    std::string told;
    for (const char c : std::string_view(kVariables))
      if (c == 'b' && !batched)
        continue;
      else if (param.variables.find(c) != std::string_view::npos || (score && c == 's'))
        told += (told.empty() ? "" : ", ") + std::string(1, c);
    program::refuse(param.kind, text, static_cast<std::size_t>(n.begin),
                    "layers of this type cannot tell '" + std::string(1, name) + "'",
                    "of the variables " + told, "");
  }
  check_examples(param, text, written, captures);
}

void check_tables(const attn_type& type, const Captures& captures) {
  for (const Captures::Table& table : captures.tables) {
    if (!table.input) continue;
    Names taken = input_names(type);
    for (std::uint32_t i = 0; i < type.n_args; ++i) {
      taken.emplace_back(type.args[i]->name);
      taken.insert(taken.end(), type.args[i]->aliases,
                   type.args[i]->aliases + type.args[i]->n_aliases);
    }
    taken.insert(taken.end(), {"training", "seed", "state", "record"});
    if (std::find(taken.begin(), taken.end(), table.name) != taken.end())
      fail(table.name, Json(table.name), "is an input of the call",
           "another name than those that calls of the type have: " + name_list(taken));
    for (std::uint32_t i = 0; i < type.n_params; ++i) {
      const auto program = program_param(*type.params[i]);
      for (const std::int64_t n : table.shape) {
        // Of keys a table has all, with a state those so far; of queries nobody knows then how many came before.
        if (!program || n >= 0 || n == kHeads) continue;
        const char letter = program::kExtents[program::place_of(n)];
        const char variable = letter == 'B' ? 'b' : letter == 'K' ? 'k' : letter;
        if (program->variables.find(variable) == std::string_view::npos)
          fail(table.name, Json(program::extents_text(table.shape)),
               std::string("has an axis \"") + letter + "\"",
               "extents that layers of this type can tell",
               letter == 'Q' && program->variables.find('q') != std::string_view::npos
                   ? "queries are positions among the keys: write \"K\""
                   : "");
      }
    }
  }
}

void refuse_unread(const std::string& capture, const Json& captures, const Names& texts) {
  fail(capture, captures.at(capture), "is read by no text",
       "a name that one of " + name_list(texts) + " uses", "use it there, or remove it");
}

std::vector<Captures::Table> tables_of_calls(const Json& value) {
  std::vector<Captures::Table> tables = resolve_captures(value).tables;
  std::erase_if(tables, [](const Captures::Table& table) { return !table.input; });
  return tables;
}

std::vector<Captures::Table> tables_of_calls(const attn_type& type, const Json& config) {
  std::vector<Captures::Table> tables;
  for (std::uint32_t i = 0; i < type.n_params; ++i)
    if (const Json* value = config.find(type.params[i]->name);
        is_captures(*type.params[i]) && value != nullptr)
      for (Captures::Table& table : tables_of_calls(*value)) tables.push_back(std::move(table));
  return tables;
}

Component captures_component(const Captures& captures, std::int64_t heads) {
  Component component;
  std::string names, constants;
  for (const program::Name& n : captures.names) {
    std::string& list = n.table < 0 ? constants : names;
    if (!list.empty()) list += ",";
    const Captures::Table* table =
        n.table < 0 ? nullptr : &captures.tables[static_cast<std::size_t>(n.table)];
    list += table != nullptr && table->input ? program::declaration(n.name, table->shape) : n.name;
    if (n.table >= 0) continue;
    list += "=" + (n.type == program::Type::whole ? std::to_string(n.whole) : Json(n.real).dump());
  }
  component.add(std::move(names));
  component.add(std::move(constants));
  for (const Captures::Table& table : captures.tables) {
    if (table.input) {
      component.tables.emplace_back(component.slots++, table.name);
      continue;
    }
    WeightDeclaration d{.slot = component.slots++,
                        .name = std::string(kCaptures) + "/" + table.name,
                        .shape = table.shape,
                        .initializer = table.initializer};
    std::int64_t elements = 1;
    for (std::int64_t& n : d.shape) {
      if (n == kHeads) n = heads;
      if (__builtin_mul_overflow(elements, n, &elements) || elements > program::kMostWhole)
        fail(table.name, Json(d.shape), "has shape " + Json(d.shape).dump(),
             "fewer than 2^31 elements");
    }
    d.trainable = table.trainable;
    d.values = table.alibi ? sdk::programs::alibi_slopes(d.shape[0]) : table.values;
    d.whole = table.whole;
    component.weights.push_back(std::move(d));
  }
  return component;
}

}  // namespace attn::schema
