// SPDX-License-Identifier: Apache-2.0
//
// Which plugins the tests of generated files see.
#pragma once

#include <attn/factory.hpp>
#include <attn/plugins.hpp>

#include <string>
#include <vector>

#include "tests/tools/build.hpp"

// Types of the library's own plugin directory, whatever else this user has. To be called before anything else.
inline const std::vector<std::string>& library_types() {
  static const std::vector<std::string> types = [] {
    attn::set_plugin_options({.paths = {attn::test::built("lib/attn/plugins")}});
    return attn::list_attention_types();
  }();
  return types;
}
