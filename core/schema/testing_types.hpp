// SPDX-License-Identifier: Apache-2.0
//
// The schemas of the twenty types as the specification writes them: `name = default [kind]`, for tests of the
// validation without any plugin. Tables are never freed.
#pragma once

#include <attn/sdk/abi.h>

#include <string>
#include <string_view>
#include <vector>

namespace attn::schema::testing {

// nullptr when there is no such type.
const attn_type* find_type(std::string_view id);
std::vector<std::string> type_names();

}  // namespace attn::schema::testing
