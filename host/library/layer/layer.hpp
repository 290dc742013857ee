// SPDX-License-Identifier: Apache-2.0
//
// The one implementation of the abstract layer: a type of a plugin, run by the engine.
#pragma once

#include <attn/attention.hpp>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "core/engine/layer.hpp"
#include "core/threads/fork.hpp"
#include "host/library/layer/arguments.hpp"
#include "host/library/layer/plan.hpp"

namespace attn::weights {
class SafetensorsFile;
}

namespace attn::host {

// Where a type comes from. `keep` holds the library while the layer lives.
struct TypeSource {
  const attn_type* type = nullptr;
  std::string library{};         // path of the file
  std::string plugin_version{};  // of the plugin
  std::shared_ptr<const void> keep{};
};

class PluginLayer final : public Attention {
 public:
  // values: validated, in schema order; config: the same as Json, with the name at the end.
  PluginLayer(TypeSource source, const attn_value* values, Json config, std::string name);

  [[nodiscard]] const std::string& name() const override { return name_; }
  [[nodiscard]] const attn_type& type() const override { return *source_.type; }
  [[nodiscard]] Json config() const override { return config_; }
  [[nodiscard]] const std::string& library() const override { return source_.library; }
  [[nodiscard]] const std::vector<TableInfo>& tables() const override { return tables_; }

  void build(const std::vector<std::optional<Shape>>& inputs, const BuildOptions& options) override;
  // accept: as in engine::Layer::build.
  void build(const std::vector<std::optional<Shape>>& inputs, const BuildOptions& options,
             const engine::Layer::Accept& accept);
  [[nodiscard]] bool built() const override { return built_.load(); }
  [[nodiscard]] attn_dtype dtype() const override { return layer_.dtype(); }
  [[nodiscard]] std::vector<std::optional<Shape>> built_for() const override;

  using Attention::forward;
  [[nodiscard]] std::vector<NamedOutput> forward_all(std::span<const Input> inputs,
                                                     const CallOptions& options) override;
  void forward(Context& ctx, std::span<const Input> inputs, const CallOptions& options,
               std::span<const OutputMemory> outputs) override;
  [[nodiscard]] std::vector<std::pair<std::string, Shape>> output_shapes(
      std::span<const Input> inputs, const CallOptions& options) override;
  void backward(Context& ctx, std::span<const Input> cotangents, Gradients& into,
                const BackwardOptions& options) override;
  void commit(Context& ctx) override;
  [[nodiscard]] std::vector<Penalty> losses(const Context& ctx) const override;

  [[nodiscard]] std::unique_ptr<State> make_state(int64_t batch, int64_t capacity,
                                                  StorageKind histories) const override;
  [[nodiscard]] bool has_state() const override;
  [[nodiscard]] std::vector<StateInfo> states() const override;

  [[nodiscard]] std::vector<WeightInfo> weights() const override;
  [[nodiscard]] ConstView weight(std::string_view name) const override;
  void set_weight(std::string_view name, const ConstView& value) override;
  [[nodiscard]] View weight_memory(std::string_view name) override;
  void redraw(uint64_t seed) override;

  void save(const std::string& path) const override;
  void load(const std::string& path) override;

 private:
  void compare_tables(const attn::weights::SafetensorsFile& file, const std::string& path) const;
  // Tensors by their place among the inputs, or among the outputs.
  struct Ports {
    attn_view views[engine::kMaxInputs];
    const attn_view* given[engine::kMaxInputs] = {};
  };
  void check_table(const TableInfo& table, const ConstView& view) const;
  void resolve_defaults(const attn_value* values);
  void assign_inputs(std::span<const Input> inputs, Ports& ports) const;
  void build_from(const Ports& ports, attn_dtype dtype);
  // keeps_context: the caller has a Context for backward().
  void check_recording(const CallOptions& call, bool keeps_context) const;
  // The communicator of a call that others take part in, or nullptr.
  [[nodiscard]] Communicator* others(const CallOptions& call) const;
  // Finds what is wrong with a call before anything of it runs. For a shared call (shared.cpp) on all members
  // together, and the seed of `call` becomes that of all. Returns the context of the call: the given one, or, when
  // that is nullptr, `own`, which becomes one of the layer's.
  Context::Impl& start(Context* given, std::unique_ptr<Context>& own, std::span<const Input> inputs,
                       std::span<const OutputMemory> outputs, CallOptions& call, Ports& ports);
  // A whole call in a context of the layer's, which give_back() takes when its results were read.
  [[nodiscard]] std::unique_ptr<Context> run_in_own(std::span<const Input> inputs, CallOptions call,
                                                    bool shapes_only);
  [[nodiscard]] bool is_shared(const CallOptions& call) const;
  void start_shared(Context::Impl& ctx, std::span<const Input> inputs,
                    std::span<const OutputMemory> outputs, CallOptions& call, Ports& ports,
                    bool keeps_context);
  // Masks of which no member alone can say what they mean.
  void refuse_shared_masks(Context::Impl& ctx, const Ports& ports);
  void backward_shared(Context::Impl& ctx, std::span<const Input> cotangents, Gradients& into,
                       const BackwardOptions& options);
  void check_memory(std::span<const OutputMemory> outputs) const;
  // The output that m names, whose shape m must have.
  uint32_t check_output(const Context::Impl& ctx, const OutputMemory& m) const;
  // That the call which ctx has just ended could tell what it was asked for.
  void check_observed(const Context::Impl& ctx) const;
  void assign_cotangents(std::span<const Input> cotangents, Ports& ports) const;
  void check_gradients(const Gradients& gradients) const;
  void add_penalty_gradients(Gradients& into) const;
  // Whether the type claims batch_independent for a call; what engine::Layer::Call asks.
  struct Asked {
    const PluginLayer* layer;
    const Ports* ports;
    const CallOptions* options;
    bool training;
  };
  [[nodiscard]] static bool rows_independent(const void* asked);
  void run(Context::Impl& ctx, const Ports& ports, const CallOptions& options, bool shapes_only);
  // plan.cpp: how the call cuts its work.
  void take_plan(Context::Impl& ctx, const engine::Layer::Call& call, bool deterministic) const;
  [[nodiscard]] tuning::PlanKey plan_key(const PlanCall& call) const;
  void require_built() const;
  engine::Weight& find(std::string_view name) const;
  [[nodiscard]] std::unique_ptr<Context> borrow();
  void give_back(std::unique_ptr<Context> ctx);

  TypeSource source_;
  Json config_;
  std::string name_;
  std::vector<TableInfo> tables_;
  mutable engine::Layer layer_;         // its own lock guards what may change in const calls
  threads::CallbackMutex build_mutex_;  // the plugin runs inside
  std::atomic<bool> built_{false};
  threads::Mutex contexts_mutex_;
  std::vector<std::unique_ptr<Context>> contexts_;  // of the simple forward
};

}  // namespace attn::host
