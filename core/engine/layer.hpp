// SPDX-License-Identifier: Apache-2.0
//
// One layer of one type: the plugin's object, its weights, and the calls into it.
//
// Build once, then forward from any number of threads, each with a context of its own. Statistics that a training call
// collected are applied by commit(), under the layer's lock, in the order of the commits. Changing weights needs
// exclusive use. Errors: InvalidArgument for what the caller gave, Failure for the rest; a call that fails leaves
// weights, statistics and states as they were.
#pragma once

#include <attn/sdk/abi.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/engine/context.hpp"
#include "core/engine/state.hpp"
#include "core/engine/weights.hpp"
#include "core/schema/families/family.hpp"
#include "core/schema/families/program.hpp"
#include "core/threads/fork.hpp"

namespace attn::engine {

// A family member ready for use, and what the plugin sees of it.
struct BuiltComponent {
  std::string name{};  // for messages: "norm 'rms_norm' (q_norm)"
  schema::Component component{};
  std::vector<int32_t> weights{};  // index of the layer's weight in each slot, or -1
  attn_component table{};
};

class Layer {
 public:
  // values: one for each parameter of the type, validated. name, plugin: for messages.
  Layer(const attn_type& type, const attn_value* values, std::string name, std::string plugin = "");
  ~Layer();
  Layer(const Layer&) = delete;
  Layer& operator=(const Layer&) = delete;

  // inputs: one for each input of the type. Draws the initial weights from seed. accept: sees each weight as it
  // is declared, before any gets memory, and throws what it refuses. After an exception build() may be called
  // again.
  using Accept = std::function<void(const Weight&)>;
  // storage: of the packed copies of weights; other kinds than float32 need a float32 layer, and refuse calls that
  // record.
  void build(const std::vector<attn_shape>& inputs, attn_dtype dtype, uint64_t seed,
             const Accept& accept = {}, StorageKind storage = StorageKind::float32);
  [[nodiscard]] bool built() const { return built_; }
  // Unlike an address, never used again: contexts and states may outlive the layer they belong to.
  [[nodiscard]] uint64_t id() const { return id_; }
  [[nodiscard]] attn_dtype dtype() const { return dtype_; }
  [[nodiscard]] StorageKind storage() const { return storage_; }
  [[nodiscard]] const attn_type& type() const { return type_; }
  [[nodiscard]] const std::string& name() const { return name_; }
  // What each call brings for its score program, as inputs behind those of the type. The plugin finds them among the
  // weights of the call, behind those of the layer.
  [[nodiscard]] const std::vector<schema::Captures::Table>& tables() const { return tables_; }
  [[nodiscard]] uint32_t n_inputs() const {
    return type_.n_inputs + static_cast<uint32_t>(tables_.size());
  }
  [[nodiscard]] const std::vector<attn_shape>& build_shapes() const { return shapes_; }
  // Replaces the nulls among the values the layer was made with by what it put in their place.
  void resolved(attn_value* values) const;

  [[nodiscard]] std::deque<Weight>& weights() { return weights_; }
  [[nodiscard]] const std::deque<Weight>& weights() const { return weights_; }
  [[nodiscard]] Weight* find_weight(std::string_view name);
  // Element of a not stored weight that has a table.
  [[nodiscard]] double table_value(const Weight& w, int64_t index) const {
    return w.table(handle_, w.shape.begin(), index);
  }
  [[nodiscard]] const std::vector<StateDeclaration>& states() const { return states_; }

  struct Call {
    const attn_view* const* inputs = nullptr;  // one for each of n_inputs(); nullptr: not given
    const attn_value* args = nullptr;          // one for each argument, validated
    uint64_t outputs_wanted = 0;
    bool training = false, recording = false, shapes_only = false;
    uint64_t seed = 0;
    State* state = nullptr;
    // A call that several ranks share: both, or neither. They outlive the call and its backward pass.
    const attn_communicator* communicator = nullptr;
    const attn_shard* part = nullptr;
    // Whether no row of the batch depends on others in calls with these arguments and inputs of any extents; asked once
    // and kept. nullptr: they do. See slices.hpp.
    bool (*rows_independent)(const void* caller) = nullptr;
    const void* caller = nullptr;
  };
  // A number that calls with the same arguments and inputs of the same kinds and extents share, also on other machines.
  [[nodiscard]] uint64_t kind_of(const Call& call) const;
  // Runs forward; results stay in ctx until its next call: output(), backward(), commit(). What the state was
  // given counts after keep_state().
  void forward(Context& ctx, const Call& call);
  // What the floating elements of keep masks show: two bits an input, one for a negative number and one for a number
  // above 0; after the first of these nothing more is read. forward() refuses masks with the first bit alone; where
  // several ranks have a part each, the caller does, with the bits of all.
  [[nodiscard]] uint32_t mask_signs(const attn_view* const* inputs) const;
  void refuse_additive(uint32_t signs) const;
  // Makes permanent what the last call of ctx, which must have succeeded, did to its state.
  static void keep_state(Context& ctx);
  // An output of the last call; data nullptr: not given.
  [[nodiscard]] static attn_view output(const Context& ctx, uint32_t n);

  // Throws what backward() would refuse: no recorded call of this layer in ctx, cotangents of other shapes.
  void check_backward(const Context& ctx, const attn_view* const* cotangents) const;
  // Gradients of sum(output * cotangent) over the outputs. cotangents: one for each output, nullptr: zero.
  // weight_memory: one for each weight, dense memory to accumulate into or nullptr. losses: penalties of the
  // activities count too. Afterwards input_gradient() gives the inputs'.
  void backward(Context& ctx, const attn_view* const* cotangents, void* const* weight_memory,
                bool losses);
  [[nodiscard]] static attn_view input_gradient(const Context& ctx, uint32_t n);

  // Applies the statistics of the last training call of ctx, once.
  void commit(Context& ctx);

  // For weights being read or replaced while calls may run.
  [[nodiscard]] threads::SharedMutex& mutex() const { return mutex_; }

 private:
  friend struct BuilderHost;
  void declare(const std::vector<attn_shape>& inputs);
  void draw(attn_dtype dtype, uint64_t seed);
  void check_call(const Context& ctx, const Call& call) const;
  void take_handles(Context& ctx, const Call& call);
  void call_plugin(Context& ctx, const Call& call);
  // slices.cpp. nullptr: one call for all rows.
  [[nodiscard]] bool led_by_batch(uint32_t input, const attn_view& v) const;
  [[nodiscard]] int64_t batch_of(const Call& call) const;
  bool rows_independent(const Call& call, uint64_t form);
  const SlicePlan* slices(Context& ctx, const Call& call);
  void plan_slices(Context& ctx, const Call& call, SlicePlan& plan);
  void call_slice(Context& ctx, Context& part, const Call& call, const SlicePlan& plan,
                  int64_t first);
  void call_in_slices(Context& ctx, const Call& call, const SlicePlan& plan);
  // slices_backward.cpp
  void backward_in_slices(Context& ctx, const attn_view* const* cotangents,
                          void* const* weight_memory);
  // positions.cpp
  [[noreturn]] void refuse(const char* subject, const char* consequence, const char* cure,
                           const BuiltComponent& c, const char* how, const char* expected) const;
  void refuse_mixing(const Call& call) const;
  void warn_of_partial(const attn_input& in);
  Tensor* take_input(Context& ctx, uint32_t i, const attn_view& v);
  [[noreturn]] void raise(const attn_error& e, const char* call) const;

  const attn_type& type_;
  std::string name_, plugin_;
  const uint64_t id_;
  attn_layer* handle_ = nullptr;
  const char* causal_ = nullptr;  // the parameter that makes every call causal
  bool built_ = false;
  std::atomic<bool> told_partial_{false};
  std::array<std::atomic<uint64_t>, 8> independence_{};  // answers to rows_independent
  std::atomic<uint64_t> next_answer_{0};
  attn_dtype dtype_ = ATTN_F32;
  StorageKind storage_ = StorageKind::float32;
  std::vector<attn_shape> shapes_;
  std::deque<Weight> weights_;
  std::vector<StateDeclaration> states_;
  std::deque<BuiltComponent> components_;
  std::vector<schema::Captures::Table> tables_;
  mutable threads::SharedMutex mutex_;
};

}  // namespace attn::engine
