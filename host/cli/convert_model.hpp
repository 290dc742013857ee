// SPDX-License-Identifier: Apache-2.0
//
// attn convert of whole models.
#pragma once

#include <string>

#include "host/cli/program.hpp"

namespace attn::cli {

struct ModelConversion {
  std::string source;  // a folder with config.json, or the file or index of tensors beside it
  std::string family, prefix;
  std::string output;  // a folder
};

int convert_model(const Globals& globals, const ModelConversion& o);

}  // namespace attn::cli
