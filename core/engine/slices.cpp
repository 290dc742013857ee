// SPDX-License-Identifier: Apache-2.0
#include "core/engine/slices.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string_view>

#include "core/cpu/caches.hpp"
#include "core/engine/layer.hpp"
#include "core/engine/slices_run.hpp"
#include "core/error/error.hpp"
#include "core/tensor/strided.hpp"

namespace attn::engine {

namespace {

constexpr int64_t kLeastBytes = 1 << 18;  // of inputs; smaller calls are not looked at
// What a slice may fill: so many second-level caches (not those of all threads, whose number must not count), and no
// less than this part of the weights, which every slice reads once; or one with what operators pass on.
constexpr int64_t kCaches = 4, kWeights = 4;
// A recorded call has a context for each slice, and a gradient of each weight in each of them.
constexpr int64_t kMostTapes = 64, kTrainedWeights = 1;

bool led_by_batch(const char* extents) {
  constexpr std::string_view kBatch = "batch";
  const std::string_view text = extents == nullptr ? "" : extents;
  return text.starts_with(kBatch) && (text.size() == kBatch.size() || text[kBatch.size()] == ',');
}
// By the text for tensors of that rank.
bool led_by_batch(const attn_input& in, const attn_view& v) {
  return std::any_of(in.shapes, in.shapes + in.n_shapes, [&](const char* extents) {
    return led_by_batch(extents) &&
           std::count(extents, extents + std::strlen(extents), ',') + 1 == v.rank;
  });
}

// What calls have in common, as numbers (FNV-1a). The form: arguments, and which inputs of which ranks are given. The
// kind: also their extents; calls of a kind need the same memory.
class Fingerprint {
 public:
  Fingerprint(const attn_type& type, uint32_t n_inputs, const Layer::Call& call) {
    add(call.outputs_wanted);
    add((call.training ? 2 : 0) + (call.recording ? 1 : 0));
    for (uint32_t i = 0; i < n_inputs; ++i) {
      const attn_view* v = call.inputs[i];
      add(v == nullptr ? 0 : static_cast<uint64_t>(v->rank * 64 + v->dtype + 1));
    }
    for (uint32_t i = 0; i < type.n_args; ++i) {
      const attn_value& a = call.args[i];
      add(static_cast<uint64_t>(a.kind));
      for (uint32_t k = 0; a.kind == ATTN_VALUE_I64S && k < a.count; ++k)
        add(static_cast<uint64_t>(a.u.is[k]));
      for (uint32_t k = 0; a.kind == ATTN_VALUE_F64S && k < a.count; ++k)
        add(std::bit_cast<uint64_t>(a.u.fs[k]));
      if (a.kind == ATTN_VALUE_STR || a.kind == ATTN_VALUE_OBJECT)
        for (const char* c = a.u.s; c != nullptr && *c != '\0'; ++c) add(static_cast<uint8_t>(*c));
      if (a.kind == ATTN_VALUE_BOOL || a.kind == ATTN_VALUE_I64 || a.kind == ATTN_VALUE_F64)
        add(static_cast<uint64_t>(a.u.i));
    }
    form = hash_;
    for (uint32_t i = 0; i < n_inputs; ++i)
      for (int axis = 0; call.inputs[i] != nullptr && axis < call.inputs[i]->rank; ++axis)
        add(static_cast<uint64_t>(call.inputs[i]->shape[axis]));
    kind = hash_;
  }
  uint64_t form, kind;

 private:
  void add(uint64_t x) { hash_ = (hash_ ^ x) * 1099511628211u; }
  uint64_t hash_ = 14695981039346656037u;
};

int64_t bytes_of(const attn_view& v) {
  return size_of(v) * static_cast<int64_t>(dtype_size(static_cast<attn_dtype>(v.dtype)));
}

}  // namespace

bool Layer::led_by_batch(uint32_t input, const attn_view& v) const {
  if (input < type_.n_inputs) return engine::led_by_batch(*type_.inputs[input], v);
  return tables_[input - type_.n_inputs].batch_axis() == 0;
}

// The rows of the batch, where all inputs and arguments can be cut by them; otherwise 0.
int64_t Layer::batch_of(const Call& call) const {
  int64_t batch = 1;
  for (const schema::Captures::Table& t : tables_)
    if (t.batch_axis() != 0 && t.batch_axis() < t.shape.size()) return 0;
  for (uint32_t i = 0; i < n_inputs(); ++i) {
    const attn_view* v = call.inputs[i];
    if (v == nullptr || v->rank == 0 || !led_by_batch(i, *v)) continue;
    if (v->shape[0] == 1 || v->shape[0] == batch) continue;
    if (batch != 1) return 0;
    batch = v->shape[0];
  }
  for (uint32_t i = 0; i < type_.n_args; ++i)
    if (call.args[i].count == static_cast<uint64_t>(batch)) return 0;  // perhaps one for each row
  return batch;
}

bool Layer::rows_independent(const Call& call, uint64_t form) {
  // An answer is the form with a mark that it is one, and the answer, in its last bits.
  const uint64_t asked = (form & ~uint64_t{3}) | 2;
  for (const auto& answer : independence_) {
    const uint64_t known = answer.load();
    if ((known & ~uint64_t{1}) == asked) return (known & 1) != 0;
  }
  const bool yes = call.rows_independent(call.caller);
  independence_[next_answer_.fetch_add(1) % independence_.size()] = asked | (yes ? 1 : 0);
  return yes;
}

uint64_t Layer::kind_of(const Call& call) const {
  return Fingerprint(type_, n_inputs(), call).kind;
}

const SlicePlan* Layer::slices(Context& ctx, const Call& call) {
  if (call.rows_independent == nullptr || call.shapes_only || call.state != nullptr ||
      call.communicator != nullptr || ctx.keep_maps || !ctx.observations.led_by_batch())
    return nullptr;
  int64_t elements = 0;
  for (uint32_t i = 0; i < n_inputs(); ++i)
    if (call.inputs[i] != nullptr) elements += size_of(*call.inputs[i]);
  const int64_t planned = ctx.plan.slice_rows;
  if (planned <= 0 && elements * static_cast<int64_t>(dtype_size(dtype_)) < kLeastBytes)
    return nullptr;
  SlicePlan& plan = ctx.slice_plan;
  const Fingerprint print(type_, n_inputs(), call);
  if (plan.layer != id_ || plan.kind != print.kind || plan.planned != planned) {
    plan.layer = 0;
    plan.planned = planned;
    plan.batch = plan.rows = batch_of(call);
    if (plan.batch > 1 && rows_independent(call, print.form)) plan_slices(ctx, call, plan);
    plan.layer = id_;
    plan.kind = print.kind;
  }
  return plan.whole() ? nullptr : &plan;
}

void Layer::plan_slices(Context& ctx, const Call& call, SlicePlan& plan) {
  Call shapes = call;
  shapes.shapes_only = true;
  int64_t bytes = 0;
  // What a recorded call keeps for its backward pass says nothing of what its operators pass on, so that it is looked at
  // twice: what a call without a tape needs, and the order in which this one asks for it.
  for (const bool recording : {false, true}) {
    if (recording && !call.recording) break;
    shapes.recording = recording;
    ctx.begin({.training = call.training,
               .recording = recording,
               .shapes_only = true,
               .seed = call.seed});
    take_handles(ctx, shapes);
    ctx.count_storages({});
    call_plugin(ctx, shapes);
    if (ctx.needs_whole_batch()) return;
    if (!recording) bytes = ctx.most_bytes();
  }
  for (uint32_t i = 0; i < type_.n_outputs; ++i) {
    const Tensor* out = ctx.handles.outputs[i];
    plan.outputs[i] = attn_view{};
    plan.outputs[i].rank = -1;
    plan.storage[i] = -1;
    if (out == nullptr) continue;
    if (!engine::led_by_batch(type_.outputs[i]->shape) || out->view.rank == 0 ||
        out->view.shape[0] != plan.batch)
      return;
    plan.outputs[i] = out->view;
    set_dense_strides(plan.outputs[i]);
    if (sdk::is_dense(out->view) && out->offset == 0 &&
        out->storage->elements == size_of(out->view))
      plan.storage[i] = out->storage->index;
  }
  int64_t weights = 0;
  for (const Weight& w : weights_) weights += static_cast<int64_t>(w.value.bytes());
  const int64_t passed_on = std::max<int64_t>(bytes, 1);
  for (uint32_t i = 0; i < n_inputs(); ++i)
    if (call.inputs[i] != nullptr) bytes += bytes_of(*call.inputs[i]);
  if (plan.planned > 0) {
    plan.rows = std::min(plan.planned, plan.batch);
  } else {
    const int64_t cache = cpu::caches().second.bytes;
    const int64_t room =
        std::max(kCaches * cache, weights / (call.recording ? kTrainedWeights : kWeights));
    if (bytes <= 2 * room) return;
    // Layers that gather pass on little of what they read, and read it once: a cut is for what they pass on. Their
    // gradients are as large as the inputs, though.
    const int64_t gathered = call.recording ? 0 : plan.batch * cache / passed_on;
    const int64_t rows =
        std::clamp<int64_t>(std::max(plan.batch * room / bytes, gathered), 1, plan.batch);
    const int64_t slices = (plan.batch + rows - 1) / rows;
    plan.rows = (plan.batch + slices - 1) / slices;  // no last one with a few rows
  }
  if (call.recording) plan.rows = std::max(plan.rows, (plan.batch + kMostTapes - 1) / kMostTapes);
}

// Inputs of the rows from `first` on in `part`, results at their places in those of ctx.
void Layer::call_slice(Context& ctx, Context& part, const Call& call, const SlicePlan& plan,
                       int64_t first) {
  const int64_t rows = std::min(plan.rows, plan.batch - first);
  attn_view views[kMaxInputs], results[kMaxPorts];
  const attn_view* inputs[kMaxInputs] = {};
  for (uint32_t i = 0; i < n_inputs(); ++i) {
    const attn_view* v = inputs[i] = call.inputs[i];
    if (v == nullptr || v->rank == 0 || v->shape[0] != plan.batch || !led_by_batch(i, *v)) continue;
    views[i] = rows_of(*v, first, rows);
    inputs[i] = &views[i];
  }
  Placement places[kMaxPorts];
  for (uint32_t i = 0; i < type_.n_outputs; ++i) {
    if (ctx.handles.outputs[i] == nullptr) continue;
    results[i] = rows_of(ctx.handles.outputs[i]->view, first, rows);
    places[i] = {plan.storage[i], results[i].data, bytes_of(results[i])};
  }
  Call own = call;
  own.inputs = inputs;
  part.bfloat16 = ctx.bfloat16;
  part.keep_profile = ctx.keep_profile;
  part.observations.ask_as(ctx.observations);
  part.begin({.training = call.training, .recording = call.recording, .seed = call.seed});
  take_handles(part, own);
  part.count_storages({places, type_.n_outputs});
  call_plugin(part, own);
  if (part.observer != nullptr)
    ctx.observations.take_slice(part.observations, first, rows, plan.batch);
  for (uint32_t i = 0; i < type_.n_outputs; ++i) {
    if (ctx.handles.outputs[i] == nullptr) continue;
    const attn_view &from = output(part, i), &to = results[i];
    if (from.rank != to.rank || !std::equal(from.shape, from.shape + from.rank, to.shape))
      throw Failure(name_ + ": output '" + type_.outputs[i]->name + "' of " + std::to_string(rows) +
                        " rows has shape " + shape_text(from) + ", expected " + shape_text(to) +
                        ": the type claims batch_independent, but is not",
                    {.where = name_, .type = type_.id});
    if (from.data != to.data) copy_strided(from, to);
  }
}

void Layer::call_in_slices(Context& ctx, const Call& call, const SlicePlan& plan) {
  ctx.handles.n_inputs = n_inputs();
  ctx.handles.n_outputs = type_.n_outputs;
  for (uint32_t i = 0; i < type_.n_outputs; ++i)
    if (plan.outputs[i].rank >= 0) ctx.handles.outputs[i] = ctx.dense(plan.outputs[i]);
  for_slices(ctx, plan, call.recording,
             [&](Context& part, int64_t first) { call_slice(ctx, part, call, plan, first); });
  if (!call.recording) return;
  for (uint32_t i = 0; i < n_inputs(); ++i) {
    const Tensor* in = ctx.part(0).handles.inputs[i];
    if (in != nullptr && in->storage->wants_grad)
      ctx.handles.inputs[i] = ctx.without_data(*call.inputs[i]);
  }
}

}  // namespace attn::engine
