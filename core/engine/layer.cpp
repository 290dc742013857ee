// SPDX-License-Identifier: Apache-2.0
#include "core/engine/layer.hpp"

#include <atomic>
#include <cstring>
#include <exception>
#include <mutex>

#include "core/cpu/float_state.hpp"
#include "core/engine/builder.hpp"
#include "core/engine/plugin_call.hpp"
#include "core/error/error.hpp"
#include "core/schema/json_text.hpp"
#include "core/tensor/strided.hpp"
#include "core/threads/pool.hpp"
#include "core/weights/initializers.hpp"

namespace attn::engine {

namespace {
std::atomic<uint64_t> layers_made{0};
static_assert(kMaxInputs == kMaxPorts + program::kMostTables);
}  // namespace

Layer::Layer(const attn_type& type, const attn_value* values, std::string name, std::string plugin)
    : type_(type),
      name_(std::move(name)),
      plugin_(std::move(plugin)),
      id_(layers_made.fetch_add(1) + 1) {
  const cpu::FloatGuard arithmetic;
  attn_error e;
  const int32_t rc = guarded_call(&e, [&] { return type.create(values, &handle_, &e); });
  if (rc != ATTN_OK) {
    handle_ = nullptr;
    e.code = rc;
    if (rc == ATTN_INVALID_ARGUMENT)
      throw InvalidArgument(e.message, {.where = e.where, .type = type.id});
    raise(e, "create");
  }
  if (!handle_)
    throw Failure(std::string(type.id) + ": the plugin created no layer", {.type = type.id});
  for (uint32_t i = 0; i < type.n_params; ++i) {
    if (type.params[i]->flags & ATTN_PARAM_CAUSAL && values[i].kind == ATTN_VALUE_BOOL &&
        values[i].u.i != 0)
      causal_ = type.params[i]->name;
    if (schema::is_captures(*type.params[i]) && values[i].kind == ATTN_VALUE_OBJECT)
      tables_ = schema::tables_of_calls(schema::parse_json(values[i].u.s));
  }
}

Layer::~Layer() {
  const cpu::FloatGuard arithmetic;
  attn_error ignored;
  if (handle_) guarded_call(&ignored, [&] { return type_.destroy(handle_), int32_t{ATTN_OK}; });
}

void Layer::resolved(attn_value* values) const {
  if (!ATTN_HAS(&type_, attn_type, resolved) || !type_.resolved) return;
  attn_error e;
  const auto call = [&] { return type_.resolved(handle_, values), int32_t{ATTN_OK}; };
  if (guarded_call(&e, call) != ATTN_OK) raise(e, "resolved");
}

void Layer::raise(const attn_error& e, const char* call) const {
  ErrorDetails details{.where = e.where[0] ? name_ + " > " + e.where : name_, .type = type_.id};
  if (e.code == ATTN_INVALID_ARGUMENT || e.code == ATTN_UNSUPPORTED)
    throw InvalidArgument(name_ + ": " + e.message, std::move(details));
  throw Failure(name_ + ": " + e.message + " (in " + call + "() of type '" + type_.id + "'" +
                    (plugin_.empty() ? "" : ", plugin " + plugin_) + ")",
                std::move(details));
}

Weight* Layer::find_weight(std::string_view name) {
  for (Weight& w : weights_)
    if (w.name == name) return &w;
  return nullptr;
}

void Layer::build(const std::vector<attn_shape>& inputs, attn_dtype dtype, uint64_t seed,
                  const Accept& accept, StorageKind storage) {
  const cpu::FloatGuard arithmetic;
  if (built_)
    throw InvalidArgument(name_ +
                          ": the layer is built already; expected one without weights; make "
                          "another layer for other inputs");
  if (dtype != ATTN_F32 && dtype != ATTN_F64)
    throw InvalidArgument(name_ + ": a layer computes in float32 or float64, not " +
                          std::string(dtype_name(dtype)) + "; expected one of them");
  if (storage != StorageKind::float32 && dtype != ATTN_F32)
    throw InvalidArgument(name_ + ": weights in " + std::string(storage_name(storage)) +
                          " need a layer that computes in float32, not " +
                          std::string(dtype_name(dtype)) + "; expected float32 for one of the two");
  const auto forget = [this] {
    weights_.clear();
    states_.clear();
    components_.clear();
  };
  forget();  // what a build that a fork() cut off has left
  try {
    declare(inputs);
    if (accept)
      for (const Weight& w : weights_) accept(w);
    draw(dtype, seed);
  } catch (...) {
    forget();
    throw;
  }
  for (Weight& w : weights_) w.storage = storage;
  dtype_ = dtype;
  storage_ = storage;
  shapes_ = inputs;
  built_ = true;
  for (size_t i = 0; i < inputs.size(); ++i)
    if (inputs[i].present) warn_of_partial(*type_.inputs[i]);
}

void Layer::declare(const std::vector<attn_shape>& inputs) {
  BuilderHost host(*this, inputs);
  attn_error e;
  const int32_t rc = guarded_call(&e, [&] { return type_.build(handle_, &host.table, &e); });
  if (rc != ATTN_OK) {
    e.code = rc;
    raise(e, "build");
  }
  // Only now: the tables of a call come behind all weights.
  for (BuiltComponent& c : components_)
    for (const auto& [slot, name] : c.component.tables)
      for (size_t t = 0; t < tables_.size(); ++t)
        if (tables_[t].name == name)
          c.weights[static_cast<size_t>(slot)] = static_cast<int32_t>(weights_.size() + t);
}

namespace {

// In the kind of the layer, which may be a smaller one.
Array converted(const Weight& w, attn_dtype dtype) {
  try {
    return w.initial_value.astype(dtype);
  } catch (const InvalidArgument& e) {
    throw InvalidArgument("weight '" + w.name + "': " + e.what(), e.details());
  }
}

void draw_one(Weight& w, attn_dtype dtype, uint64_t seed) {
  if (w.flags & ATTN_WEIGHT_NOT_STORED) return;
  if (!w.has_initial_value)
    w.value = attn::weights::initial_weight(w.initializer, dtype, w.shape, seed, w.name);
  else if (dtype_is_floating(w.initial_value.dtype()))
    w.value = converted(w, dtype);
  else
    w.value = std::move(w.initial_value);
  w.initial_value = Array();
}

}  // namespace

// A weight is one sequence of random numbers, so that weights are what threads can share.
void Layer::draw(attn_dtype dtype, uint64_t seed) {
  constexpr int64_t kWorthThreads = 1 << 16;  // numbers of one weight: about 2 ms
  int64_t numbers = 0;
  for (const Weight& w : weights_) numbers = std::max(numbers, w.shape.elements());
  std::vector<std::exception_ptr> errors(weights_.size());
  const auto some = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto at = static_cast<size_t>(i);
      try {
        draw_one(weights_[at], dtype, seed);
      } catch (...) {
        errors[at] = std::current_exception();
      }
    }
  };
  const auto all = static_cast<int64_t>(weights_.size());
  if (numbers < kWorthThreads)
    some(0, all);
  else
    threads::PoolParallel().loop(all, 1, [&](int64_t b, int64_t e, int) { some(b, e); });
  for (const std::exception_ptr& error : errors)
    if (error) std::rethrow_exception(error);
}

void Layer::check_call(const Context& ctx, const Call& call) const {
  if (ctx.dtype() != dtype_)
    throw InvalidArgument(name_ + ": the layer computes in " + std::string(dtype_name(dtype_)) +
                          ", the context in " + std::string(dtype_name(ctx.dtype())) +
                          "; expected the same; make the context with the dtype() of the layer");
  if (call.state) {
    if (call.state->owner() != id_)
      throw InvalidArgument(name_ +
                            ": the state belongs to another layer; expected one of this layer; "
                            "make it by its make_state()");
    if (call.training || call.recording)
      throw InvalidArgument(
          name_ +
          ": a call with a state records nothing for a backward pass; training must be "
          "false and no state attached to train");
  }
  if (call.recording && storage_ != StorageKind::float32)
    throw InvalidArgument(name_ + ": the layer computes with weights in " +
                          std::string(storage_name(storage_)) +
                          ", which have no gradient; build it with float32 weights to record");
  refuse_mixing(call);
  if (!call.shapes_only && !call.communicator) refuse_additive(mask_signs(call.inputs));
}

void Layer::forward(Context& ctx, const Call& call) {
  const cpu::FloatGuard arithmetic;
  check_call(ctx, call);
  const SlicePlan* plan = slices(ctx, call);
  ctx.begin({.training = call.training,
             .recording = call.recording,
             .shapes_only = call.shapes_only,
             .seed = call.seed,
             .state = call.state,
             .communicator = call.communicator});
  if (plan != nullptr) {
    call_in_slices(ctx, call, *plan);
    ctx.handles.sliced = true;
  } else {
    take_handles(ctx, call);
    call_plugin(ctx, call);
  }
  ctx.handles.layer = id_;
}

// Inputs and weights of the call.
void Layer::take_handles(Context& ctx, const Call& call) {
  Context::Handles& h = ctx.handles;
  h.n_inputs = n_inputs();
  h.n_outputs = type_.n_outputs;
  h.n_weights = static_cast<uint32_t>(weights_.size());
  for (uint32_t i = 0; i < type_.n_inputs; ++i)
    if (call.inputs[i]) h.inputs[i] = take_input(ctx, i, *call.inputs[i]);
  const auto n_tables = static_cast<uint32_t>(tables_.size());
  auto** current = ctx.handle_list<attn_tensor>(h.n_weights + n_tables);
  for (uint32_t t = 0; t < n_tables; ++t) {
    const attn_view* v = call.inputs[type_.n_inputs + t];
    current[h.n_weights + t] = h.inputs[type_.n_inputs + t] = v ? ctx.external(*v, true) : nullptr;
  }
  h.weights = ctx.handle_list<Tensor>(h.n_weights);
  const std::shared_lock lock(mutex_);
  for (uint32_t i = 0; i < h.n_weights; ++i) {
    h.weights[i] =
        weights_[i].flags & ATTN_WEIGHT_NOT_STORED ? nullptr : ctx.weight(weights_[i], true);
    current[i] = h.weights[i];
  }
  ctx.set_weights(current, h.n_weights + n_tables);
}

// The type's own forward, and its outputs.
void Layer::call_plugin(Context& ctx, const Call& call) {
  Context::Handles& h = ctx.handles;
  attn_tensor* inputs[kMaxPorts] = {};
  attn_tensor* outputs[kMaxPorts] = {};
  for (uint32_t i = 0; i < type_.n_inputs; ++i) inputs[i] = h.inputs[i];
  attn_call c{};
  c.struct_size = sizeof c;
  c.flags = (call.training ? uint32_t{ATTN_CALL_TRAINING} : 0u) |
            (call.recording ? uint32_t{ATTN_CALL_RECORDING} : 0u) |
            (call.shapes_only ? uint32_t{ATTN_CALL_SHAPES_ONLY} : 0u) |
            (call.state ? uint32_t{ATTN_CALL_STATEFUL} : 0u) |
            (ctx.observer ? uint32_t{ATTN_CALL_OBSERVED} : 0u);
  c.n_inputs = type_.n_inputs;
  c.n_weights = h.n_weights + static_cast<uint32_t>(tables_.size());
  c.n_args = type_.n_args;
  c.n_outputs = type_.n_outputs;
  c.inputs = inputs;
  c.weights = ctx.weights();
  c.args = call.args;
  c.outputs = outputs;
  c.outputs_wanted = call.outputs_wanted;
  c.position = call.state ? call.state->length() : 0;
  c.engine = engine_table();
  c.ctx = &ctx;
  c.part = call.part;
  attn_error e;
  const int32_t rc = guarded_call(&e, [&] { return type_.forward(handle_, &c, &e); });
  if (rc != ATTN_OK) {
    ctx.forget_statistics();
    e.code = rc;
    raise(e, "forward");
  }
  for (uint32_t i = 0; i < type_.n_outputs; ++i) {
    if (outputs[i]) {
      h.outputs[i] = ctx.plain(ctx.checked(outputs[i]));
    } else if (!(type_.outputs[i]->flags & ATTN_OUTPUT_OPTIONAL)) {
      throw Failure(name_ + ": the plugin gave no output '" + type_.outputs[i]->name + "'",
                    {.where = name_, .type = type_.id});
    }
  }
}

void Layer::keep_state(Context& ctx) {
  State* state = ctx.state();
  if (!state) return;
  for (const auto& p : ctx.values()) state->set_value(p.index, p.tensor->view);
  state->commit();
}

attn_view Layer::output(const Context& ctx, uint32_t n) {
  return n < ctx.handles.n_outputs && ctx.handles.outputs[n] ? ctx.handles.outputs[n]->view
                                                             : attn_view{};
}

void Layer::check_backward(const Context& ctx, const attn_view* const* cotangents) const {
  const Context::Handles& h = ctx.handles;
  if (h.layer != id_ || !ctx.recorded())
    throw InvalidArgument(name_ +
                          ": backward needs a recorded forward call of this layer in this context; "
                          "each recorded call can be used once; expected one before each backward");
  for (uint32_t i = 0; i < h.n_outputs; ++i) {
    if (!cotangents[i]) continue;
    if (!h.outputs[i])
      throw InvalidArgument(name_ + ": output '" + type_.outputs[i]->name +
                            "' was not asked for, so that it has no gradient; ask for it in the "
                            "call, or leave its gradient out");
    const attn_view& y = h.outputs[i]->view;
    bool same = y.rank == cotangents[i]->rank;
    for (int k = 0; same && k < y.rank; ++k) same = y.shape[k] == cotangents[i]->shape[k];
    if (!same)
      throw InvalidArgument(name_ + ": the gradient of output '" + type_.outputs[i]->name +
                            "' has shape " + shape_text(*cotangents[i]) + "; expected " +
                            shape_text(y) + ", that of the output");
  }
}

void Layer::backward(Context& ctx, const attn_view* const* cotangents, void* const* weight_memory,
                     bool losses) {
  const cpu::FloatGuard arithmetic;
  check_backward(ctx, cotangents);
  Context::Handles& h = ctx.handles;
  for (uint32_t i = 0; i < h.n_weights; ++i)
    if (h.weights[i] && weight_memory[i] && h.weights[i]->storage->wants_grad)
      ctx.use_gradient_memory(h.weights[i], weight_memory[i]);
  if (!h.sliced) ctx.add_cotangents(cotangents);
  if (losses) ctx.add_gradient_of_losses();
  try {
    ctx.backward();  // of a call in slices: nothing but that it was used
    if (h.sliced) backward_in_slices(ctx, cotangents, weight_memory);
  } catch (const Failure& failure) {
    attn_error e{};
    e.code = ATTN_INTERNAL;
    std::snprintf(e.where, sizeof e.where, "%s", failure.details().where.c_str());
    std::snprintf(e.message, sizeof e.message, "%s", failure.what());
    raise(e, "backward");
  }
}

attn_view Layer::input_gradient(const Context& ctx, uint32_t n) {
  attn_view v{};
  if (n < ctx.handles.n_inputs && ctx.handles.inputs[n]) ctx.gradient(ctx.handles.inputs[n], &v);
  return v;
}

void Layer::commit(Context& ctx) {
  if (ctx.handles.layer != id_) return;
  const std::unique_lock lock(mutex_);
  for (const auto& p : ctx.statistics()) {
    Weight& w = weights_[p.index];
    attn_view to = p.tensor->view;
    to.dtype = w.value.dtype();
    to.data = w.value.raw();
    set_dense_strides(to);
    copy_strided(p.tensor->view, to);
    w.version.fetch_add(1);
  }
  ctx.forget_statistics();
}

}  // namespace attn::engine
