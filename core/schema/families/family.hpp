// SPDX-License-Identifier: Apache-2.0
//
// What the families of named things have in common: probability types, norms, activations, initializers and
// regularizers are tables of members; a member has a name, further names, and options with kinds, ranges and
// defaults. One file a family holds its table and turns a name with options into numbers (resolve_...).
//
// Everything thrown is InvalidArgument. details().parameter is the option concerned ("" for the name itself),
// details().value what was given. Tables are made once and never change. [any-thread]
#pragma once

#include <attn/sdk/abi.h>

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/schema/initializer_spec.hpp"
#include "core/schema/json.hpp"
#include "core/schema/regularizer_spec.hpp"
#include "core/schema/text.hpp"

namespace attn::schema {

enum class OptionKind {
  real,
  integer,
  boolean,
  axis,         // integer
  axes,         // integer or a list of distinct integers
  reals,        // list of numbers
  text,         // one of choices
  initializer,  // name or object
  regularizer,  // name, object or null
  constraint,   // an interval or null
  nothing,      // known elsewhere, here only null is taken
  seed,         // integer or null
};

enum class Range {
  any,
  positive,
  not_negative,
  unit,       // [0, 1]
  open_unit,  // (0, 1)
};

struct Option {
  const char* name;
  OptionKind kind;
  Range range = Range::any;
  std::string def = "null";  // JSON text; what holds when the option is absent
  bool nullable = false;
  std::vector<const char*> choices{};
  bool required = false;
  // Another option and the choice beside which this one counts; with others it must be left out, or be null.
  std::pair<const char*, const char*> only_with{};
};

struct FamilyMember {
  const char* name;
  std::vector<const char*> aliases{};
  int kind = 0;  // a value of the family's enum in kinds.hpp or *_spec.hpp
  std::vector<Option> options{};
  bool extra = false;  // only where a type's schema lists the name among its choices
};

struct Family {
  const char* noun;       // "Probability type": begins messages
  const char* option_of;  // what messages call the owner of an option: "probability type"
  bool ignore_case = false;
  std::vector<FamilyMember> members{};

  // By name or alias; nullptr when there is none.
  [[nodiscard]] const FamilyMember* find(std::string_view name) const;
  [[nodiscard]] Names names() const;  // with aliases, for suggestions
};

// The options a member was given, checked and with defaults filled in.
class Options {
 public:
  // Checks in this order: keys that the member does not have, options that are missing, then kinds and
  // ranges in the order of the table. name: as the user wrote it, for messages. Null counts as {}.
  Options(const Family& family, const FamilyMember& member, std::string_view name,
          const Json& given);

  [[nodiscard]] bool given(std::string_view option) const;
  [[nodiscard]] Json value(std::string_view option) const;  // given or default
  [[nodiscard]] double real(std::string_view option) const;
  [[nodiscard]] bool boolean(std::string_view option) const;
  // One or several; fails for axis 0, the batch.
  [[nodiscard]] std::vector<std::int64_t> axes(std::string_view option) const;
  [[nodiscard]] bool has(std::string_view option) const;  // whether the member has it

  // "<Noun> 'V': argument 'x' <complaint>" in the words of the family.
  [[noreturn]] void fail(std::string_view option, const std::string& complaint) const;

 private:
  void check(const Option& option, const Json& value) const;
  void check_range(const Option& option, const Json& value) const;

  const Family& family_;
  const FamilyMember& member_;
  std::string name_;
  Json given_;
};

// A weight that a member of a family brings along.
struct WeightDeclaration {
  int slot = 0;      // place among the weights of the family's operator
  std::string name;  // relative to the site: "gamma", "threshmax/slope"
  std::vector<std::int64_t> shape;
  InitializerSpec initializer;
  RegularizerSpec regularizer{};
  bool trainable = true;
  bool statistic = false;  // changed by training calls
  // Interval that an optimiser is expected to clip the weight to after a step; information only.
  std::optional<std::pair<double, double>> clip{};
  // What it begins with, in place of the initializer, where there are any; whole: they are int32.
  std::vector<double> values{};
  bool whole = false;
};

// A member ready for a layer: the attributes that the family's operators begin with, and its weights.
// Attributes point into the object: movable, not copyable.
struct Component {
  std::vector<attn_value> attributes{};
  std::vector<WeightDeclaration> weights{};
  std::vector<std::pair<int, std::string>>
      tables{};  // slots that calls fill, by the names of their tables
  int slots = 0;
  std::uint32_t flags = 0;  // ATTN_COMPONENT_*

  Component() = default;
  Component(Component&&) = default;
  Component& operator=(Component&&) = default;
  Component(const Component&) = delete;
  Component& operator=(const Component&) = delete;

  void add(std::int64_t value);
  void add(double value);
  void add(std::vector<std::int64_t> values);
  void add(std::vector<double> values);
  void add(std::string text);

 private:
  std::vector<std::vector<std::int64_t>> integers_{};
  std::vector<std::vector<double>> reals_{};
  std::deque<std::string> texts_{};
};

// The extents of an input at a site; -1: not known. Fails with a message that names the site.
[[nodiscard]] std::int64_t known_extent(const attn_shape& input, std::int64_t axis,
                                        std::string_view site);

// -1 .. 1 - rank, ascending and distinct; throws for axes out of range, duplicates (as 1 and -1), and for the batch.
[[nodiscard]] std::vector<std::int64_t> negative_axes(const std::vector<std::int64_t>& axes,
                                                      int rank, std::string_view whose);

}  // namespace attn::schema
