// SPDX-License-Identifier: Apache-2.0
//
// Whether the parameters that a plugin declares make sense: kinds, defaults, ranges, choices, names.
//
// Reads plugin memory and trusts the pointers in it; what is unknown is tried in a child process first.
// Each function appends what it finds to `problems`, each beginning with `where`. [any-thread]
#pragma once

#include <attn/sdk/abi.h>

#include <string>
#include <vector>

namespace attn::loader {

using Problems = std::vector<std::string>;

enum class ParamsOf { type, call, op };

// A list of parameters: of a type, of its calls, or the attributes of an operator.
void check_params(const std::string& where, const attn_param* const* params, uint32_t count,
                  ParamsOf of, Problems& problems);

// Array pointers of a table: not NULL when the array has elements, no element NULL or shorter than the
// struct of ABI 1.0, no more than kMaxElements elements.
constexpr uint32_t kMaxElements = 1024;
[[nodiscard]] bool check_array(const std::string& where, const void* array, uint32_t count,
                               uint32_t struct_size, Problems& problems);

// [A-Za-z_][A-Za-z0-9_]*, at most 64 bytes.
[[nodiscard]] bool is_identifier(const char* text) noexcept;
// Parts of [a-z][a-z0-9_]* joined by dots, at most 64 bytes.
[[nodiscard]] bool is_dotted_name(const char* text) noexcept;
// Well-formed UTF-8 without control characters other than newline and tab; at most 16384 bytes. NULL is not.
[[nodiscard]] bool is_text(const char* text) noexcept;
// For messages: the text in quotes, what cannot be shown replaced, shortened to 80 bytes.
[[nodiscard]] std::string quoted(const char* text);

}  // namespace attn::loader
