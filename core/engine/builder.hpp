// SPDX-License-Identifier: Apache-2.0
//
// What a type's build() talks to: it fills a layer's weights, states and components. Lives for one build.
#pragma once

#include <attn/sdk/abi.h>

#include <vector>

#include "core/engine/layer.hpp"

namespace attn::engine {

struct BuilderHost {
  BuilderHost(Layer& to, const std::vector<attn_shape>& inputs);

  [[nodiscard]] uint32_t add_weight(const attn_weight& w);
  [[nodiscard]] uint32_t add_state(const attn_state& s);
  [[nodiscard]] const attn_component* add_component(const attn_component_spec& s);

  Layer& layer;
  attn_builder table{};

 private:
  static void take_initial_value(Weight& w, const attn_weight& d);
  Weight& new_weight(std::string name, const Shape& shape, uint32_t flags);
};

}  // namespace attn::engine
