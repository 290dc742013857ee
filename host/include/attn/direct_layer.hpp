// SPDX-License-Identifier: Apache-2.0
//
// What the classes of attn/layers.hpp are made of: a layer that is an object instead of a pointer, and the kinds of
// its parameters. Nothing here is specific to a type.
//
// A DirectLayer is an Attention: everything of attn/attention.hpp works on it, with the same rules for threads and
// errors. It owns the layer that its type's plugin made; moving is cheap, what was moved from may only be destroyed
// or assigned to.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include <attn/attention.hpp>
#include <attn/json.hpp>

namespace attn {

// A parameter that has no default: leaving it out does not compile.
template <class T>
struct Required {
  T value;
  constexpr Required(T v) : value(std::move(v)) {}       // NOLINT: .dim = 512
  constexpr operator const T&() const { return value; }  // NOLINT
};

// One number for both axes, or one for each.
class IntOrPair {
 public:
  IntOrPair(std::int64_t both) : value_(both) {}  // NOLINT: .kernel_size = 3
  IntOrPair(std::int64_t first, std::int64_t second) : value_(Json::list({first, second})) {}
  // Of parameters that take three.
  IntOrPair(std::int64_t first, std::int64_t second, std::int64_t third)
      : value_(Json::list({first, second, third})) {}
  [[nodiscard]] const Json& json() const { return value_; }

 private:
  Json value_;
};

class DirectLayer : public Attention {
 public:
  [[nodiscard]] const std::string& name() const override { return layer_->name(); }
  [[nodiscard]] const attn_type& type() const override { return layer_->type(); }
  [[nodiscard]] Json config() const override { return layer_->config(); }
  [[nodiscard]] const std::string& library() const override { return layer_->library(); }
  [[nodiscard]] const std::vector<TableInfo>& tables() const override { return layer_->tables(); }

  void build(const std::vector<std::optional<Shape>>& inputs, const BuildOptions& o = {}) override {
    layer_->build(inputs, o);
  }
  [[nodiscard]] bool built() const override { return layer_->built(); }
  [[nodiscard]] attn_dtype dtype() const override { return layer_->dtype(); }
  [[nodiscard]] std::vector<std::optional<Shape>> built_for() const override {
    return layer_->built_for();
  }

  using Attention::forward;
  [[nodiscard]] std::vector<NamedOutput> forward_all(std::span<const Input> inputs,
                                                     const CallOptions& o = {}) override {
    return layer_->forward_all(inputs, o);
  }
  void forward(Context& ctx, std::span<const Input> inputs, const CallOptions& o = {},
               std::span<const OutputMemory> outputs = {}) override {
    layer_->forward(ctx, inputs, o, outputs);
  }
  [[nodiscard]] std::vector<std::pair<std::string, Shape>> output_shapes(
      std::span<const Input> inputs, const CallOptions& o = {}) override {
    return layer_->output_shapes(inputs, o);
  }
  void backward(Context& ctx, std::span<const Input> cotangents, Gradients& into,
                const BackwardOptions& o = {}) override {
    layer_->backward(ctx, cotangents, into, o);
  }
  void commit(Context& ctx) override { layer_->commit(ctx); }
  [[nodiscard]] std::vector<Penalty> losses(const Context& ctx) const override {
    return layer_->losses(ctx);
  }

  [[nodiscard]] std::unique_ptr<State> make_state(
      int64_t n, int64_t capacity = 0,
      StorageKind histories = StorageKind::float32) const override {
    return layer_->make_state(n, capacity, histories);
  }
  [[nodiscard]] bool has_state() const override { return layer_->has_state(); }
  [[nodiscard]] std::vector<StateInfo> states() const override { return layer_->states(); }

  [[nodiscard]] std::vector<WeightInfo> weights() const override { return layer_->weights(); }
  [[nodiscard]] ConstView weight(std::string_view w) const override { return layer_->weight(w); }
  void set_weight(std::string_view w, const ConstView& v) override { layer_->set_weight(w, v); }
  [[nodiscard]] View weight_memory(std::string_view w) override { return layer_->weight_memory(w); }
  void redraw(uint64_t seed) override { layer_->redraw(seed); }

  void save(const std::string& path) const override { layer_->save(path); }
  void load(const std::string& path) override { layer_->load(path); }

 protected:
  // Checks and texts are those of create_attention_layer; no log line is written.
  DirectLayer(std::string_view type, const Json& parameters, std::string_view name);

 private:
  std::unique_ptr<Attention> layer_;
};

}  // namespace attn
