// SPDX-License-Identifier: Apache-2.0
//
// What is behind a public State.
#pragma once

#include <attn/attention.hpp>

#include <utility>

#include "core/engine/state.hpp"

namespace attn::host {

class LayerState final : public State {
 public:
  explicit LayerState(engine::State s) : engine(std::move(s)) {}
  [[nodiscard]] int64_t batch() const override { return engine.batch(); }
  [[nodiscard]] int64_t length() const override { return engine.length(); }
  [[nodiscard]] int64_t capacity() const override { return engine.capacity(); }
  [[nodiscard]] size_t bytes() const override { return engine.bytes(); }
  void reset() override { engine.reset(); }
  void truncate(int64_t length) override { engine.truncate(length); }
  void reorder(const std::vector<int64_t>& rows) override { engine.reorder(rows); }

  engine::State engine;
};

}  // namespace attn::host
