// SPDX-License-Identifier: Apache-2.0
//
// Questions to a plugin that are answered by yes or no: rules between parameters, conditions and relations of claims.
// The border gives these functions no way to report an error, so one that throws is a Failure here, which names it, its
// type and its plugin. [any-thread]
#pragma once

#include <attn/sdk/abi.h>

#include <attn/sdk/error.hpp>
#include <string>
#include <string_view>

#include "core/cpu/float_state.hpp"
#include "core/error/error.hpp"

namespace attn::schema {

// function, of: what f calls, as its author knows it: "check() of the rule", "a < b". plugin: its file; "": not known.
template <class F>
[[nodiscard]] bool ask(const attn_type& type, std::string_view plugin, std::string_view function,
                       std::string_view of, F&& f) {
  const cpu::FloatGuard arithmetic;
  attn_error e;
  bool yes = false;
  if (sdk::detail::guard(&e, [&] { yes = f() != 0; }) == ATTN_OK) return yes;
  throw Failure(std::string(type.id) + ": " + e.message + " (in " + std::string(function) + " '" +
                    std::string(of) + "' of type '" + type.id + "'" +
                    (plugin.empty() ? "" : ", plugin " + std::string(plugin)) +
                    "; it must give an answer and throw nothing)",
                {.type = type.id});
}

}  // namespace attn::schema
