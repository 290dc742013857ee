// SPDX-License-Identifier: Apache-2.0
//
// From text to expressions: tokens, grammar, types. One expression a text; host/docs/score-programs.md has the grammar.
// What is wrong is an InvalidArgument that tells line and column, shows the text and says what to write. [any-thread]
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/program/dag.hpp"

namespace attn::program {

// A name that a layer adds: a constant, or a captured tensor by number.
struct Name {
  std::string name;
  Type type = Type::real;  // whole or real
  int table = -1;          // -1: a constant
  int rank = 0;
  int64_t whole = 0;
  double real = 0;
};

enum class Kind : uint8_t { score, mask_rule };

inline constexpr size_t kMostText = 4096;
inline constexpr size_t kMostNodes = 512;  // of the texts; with derivatives kMostDerived
inline constexpr size_t kMostDerived = 2048;

// The expression of a text, in dag; a truth value for a mask rule, a real number for a score.
int32_t parse(Kind kind, std::string_view text, const std::vector<Name>& names, Dag& dag);

// The words of a text that compiles which `names` may hold, each where it stands.
[[nodiscard]] std::vector<std::string_view> words(Kind kind, std::string_view text);

// Throws where the text is wrong: what, expected, hint ("" where there is none), at byte `at`.
[[noreturn]] void refuse(Kind kind, std::string_view text, size_t at, const std::string& what,
                         const std::string& expected, const std::string& hint);

// Whether a layer may call something so; throws when it may not. Reserved are the names of the language.
void check_name(std::string_view name);

}  // namespace attn::program
