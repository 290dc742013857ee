// SPDX-License-Identifier: Apache-2.0
//
// A layer and a call of it, as data. Parameters and arguments that are not given have their defaults.
#pragma once

#include <attn/json.hpp>

#include <map>
#include <string>

#include "host/check/generator/tensor.hpp"

namespace attn::check {

struct Problem {
  std::string type{};
  Json config{};     // an object: parameters as a user writes them
  Json arguments{};  // an object: those of the call
  std::map<std::string, Tensor> inputs{};
  std::map<std::string, Tensor> tables{};   // that the call brings (host/docs/score-programs.md)
  std::map<std::string, Tensor> weights{};  // by canonical name
  bool training = false;
};

}  // namespace attn::check
