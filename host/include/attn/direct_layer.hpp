// SPDX-License-Identifier: Apache-2.0
//
// What the classes of attn/layers.hpp are made of: a layer that is an object instead of a pointer, and the kinds of
// its parameters. Nothing here knows a type.
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
  [[nodiscard]] const Json& json() const { return value_; }

 private:
  Json value_;
};

class DirectLayer : public Attention {
 public:
  ~DirectLayer() override = default;
  DirectLayer(DirectLayer&&) noexcept = default;
  DirectLayer& operator=(DirectLayer&&) noexcept = default;

  [[nodiscard]] const std::string& name() const override;
  [[nodiscard]] const attn_type& type() const override;
  [[nodiscard]] Json config() const override;
  [[nodiscard]] const std::string& library() const override;

  void build(const std::vector<std::optional<Shape>>& inputs,
             const BuildOptions& options = {}) override;
  [[nodiscard]] bool built() const override;
  [[nodiscard]] attn_dtype dtype() const override;

  using Attention::forward;
  [[nodiscard]] std::vector<NamedOutput> forward_all(std::span<const Input> inputs,
                                                     const CallOptions& options = {}) override;
  void forward(Context& ctx, std::span<const Input> inputs, const CallOptions& options = {},
               std::span<const OutputMemory> outputs = {}) override;
  [[nodiscard]] std::vector<std::pair<std::string, Shape>> output_shapes(
      std::span<const Input> inputs, const CallOptions& options = {}) override;
  void backward(Context& ctx, std::span<const Input> cotangents, Gradients& into,
                const BackwardOptions& options = {}) override;
  void commit(Context& ctx) override;
  [[nodiscard]] std::vector<Penalty> losses(const Context& ctx) const override;

  [[nodiscard]] std::unique_ptr<State> make_state(int64_t batch,
                                                  int64_t capacity = 0) const override;
  [[nodiscard]] bool has_state() const override;
  [[nodiscard]] std::vector<StateInfo> states() const override;

  [[nodiscard]] std::vector<WeightInfo> weights() const override;
  [[nodiscard]] ConstView weight(std::string_view name) const override;
  void set_weight(std::string_view name, const ConstView& value) override;
  void redraw(uint64_t seed) override;

  void save(const std::string& path) const override;
  void load(const std::string& path) override;

 protected:
  // Checks and texts are those of create_attention_layer; no log line is written.
  DirectLayer(std::string_view type, const Json& parameters, std::string_view name);

 private:
  std::unique_ptr<Attention> layer_;
};

}  // namespace attn
