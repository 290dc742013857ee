// SPDX-License-Identifier: Apache-2.0
//
// What the generators of headers share.
#pragma once

#include <string>

namespace attn::generate {

// A name of the library as a C++ identifier: dots become underscores, words of the language get one behind them.
[[nodiscard]] std::string identifier(const std::string& name);

// Leaves a file alone that already has this text. Throws std::runtime_error when it cannot be written.
void write_if_changed(const std::string& path, const std::string& text);

}  // namespace attn::generate
