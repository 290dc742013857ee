// SPDX-License-Identifier: Apache-2.0
//
// The kinds of parameters, call arguments and attributes, as values and in words. [any-thread]
#pragma once

#include <attn/sdk/abi.h>

#include <cstdint>
#include <iterator>
#include <string_view>

namespace attn::schema {

struct KindRow {
  int32_t value;     // the attn_value_kind that it arrives as
  const char* text;  // what follows "must be"
};

// In the order of attn_param_kind; the first one stands for kinds that this version does not have.
inline constexpr KindRow kKindRows[] = {{ATTN_VALUE_STR, "a string"},
                                        {ATTN_VALUE_BOOL, "true or false"},
                                        {ATTN_VALUE_I64, "an integer"},
                                        {ATTN_VALUE_F64, "a number"},
                                        {ATTN_VALUE_STR, "a string"},
                                        {ATTN_VALUE_I64S, "a list of integers"},
                                        {ATTN_VALUE_F64S, "a list of numbers"},
                                        {ATTN_VALUE_I64S, "an integer or a pair of integers"},
                                        {ATTN_VALUE_I64, "an integer"},
                                        {ATTN_VALUE_STR, "a string"},
                                        {ATTN_VALUE_STR, "a string"},
                                        {ATTN_VALUE_STR, "a string"},
                                        {ATTN_VALUE_STR, "a name or an object"},
                                        {ATTN_VALUE_STR, "a name or an object"},
                                        {ATTN_VALUE_OBJECT, "an object"}};
static_assert(std::size(kKindRows) == ATTN_PARAM_OPTIONS + 1);

constexpr const KindRow& kind_row(uint32_t param_kind) {
  return kKindRows[param_kind < std::size(kKindRows) ? param_kind : 0];
}
constexpr int32_t value_kind(uint32_t param_kind) { return kind_row(param_kind).value; }
constexpr const char* kind_text(uint32_t param_kind) { return kind_row(param_kind).text; }

// An INT_OR_PAIR that takes three numbers, too: `of` says so.
inline constexpr std::string_view kTriple = "triple";
constexpr bool takes_three(const attn_param& p) {
  return p.kind == ATTN_PARAM_INT_OR_PAIR && p.of != nullptr && p.of == kTriple;
}
constexpr const char* kind_text(const attn_param& p) {
  return takes_three(p) ? "an integer, or two or three integers" : kind_text(p.kind);
}

}  // namespace attn::schema
