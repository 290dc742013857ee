// SPDX-License-Identifier: Apache-2.0
//
// The tape: nodes kept while recording, and their walk from the last to the first.
//
// A storage has one gradient of its own extent; every view of it adds into its part. By the time a node is reached, all
// that used its outputs has been walked, so their gradient is complete; afterwards it is given back.
#include <chrono>
#include <cstring>

#include "core/engine/context.hpp"
#include "core/engine/plugin_call.hpp"
#include "core/engine/weights.hpp"
#include "core/error/error.hpp"
#include "core/tensor/strided.hpp"

namespace attn::engine {

attn_value* Context::copy_attributes(const attn_value* attrs, uint32_t n) {
  auto* copy = copy_header(attrs, n);
  for (uint32_t i = 0; i < n; ++i) {
    attn_value& v = copy[i];
    if (v.kind == ATTN_VALUE_I64S) v.u.is = copy_header(v.u.is, v.count);
    if (v.kind == ATTN_VALUE_F64S) v.u.fs = copy_header(v.u.fs, v.count);
    if (v.kind == ATTN_VALUE_STR && v.u.s) v.u.s = copy_header(v.u.s, std::strlen(v.u.s) + 1);
  }
  return copy;
}

void Context::record(const attn_op& op, attn_op_call call) {
  call.attrs = copy_attributes(call.attrs, op.n_attrs);
  call.in = copy_header(call.in, op.n_in);
  call.out = copy_header(call.out, op.n_out);
  auto** saved = header<attn_view*>(op.n_saved);
  for (uint32_t i = 0; i < op.n_saved; ++i) saved[i] = copy_header(call.saved[i], 1);
  call.saved = saved;
  // The label only where somebody will look at it.
  const bool labelled = keep_profile && label_[0];
  nodes_.push_back({&op, call, labelled ? copy_header(label_, std::strlen(label_) + 1) : ""});
}

void* Context::unset_gradient(Storage* s) {
  s->grad = s->grad_place ? s->grad_place : data_.allocate(bytes_of(*s));
  s->grad_in_arena = !s->grad_place;
  return s->grad;
}

void* Context::gradient_memory(Storage* s) {
  if (!s->grad) std::memset(unset_gradient(s), 0, bytes_of(*s));
  return s->grad;
}

attn_view Context::gradient_view(const Tensor* t) {
  attn_view v = t->view;
  v.data = static_cast<char*>(gradient_memory(t->storage)) +
           static_cast<size_t>(t->offset) * dtype_size(static_cast<attn_dtype>(t->storage->dtype));
  return v;
}

void Context::use_gradient_memory(Tensor* t, void* memory) { t->storage->grad = memory; }

void Context::add_gradient(Tensor* t, const attn_view& g) {
  Storage* s = t->storage;
  if (!s->wants_grad) return;
  if (!s->grad && sdk::is_dense(t->view) && size_of(t->view) == s->elements) {
    attn_view first = t->view;
    first.data = unset_gradient(s);
    return copy_strided(g, first);
  }
  const attn_view to = gradient_view(t);
  if (g.dtype == to.dtype) return add_strided(g, to);
  attn_view converted = to;
  converted.data = data_.allocate(static_cast<size_t>(size_of(to)) *
                                  dtype_size(static_cast<attn_dtype>(to.dtype)));
  set_dense_strides(converted);
  copy_strided(g, converted);
  add_strided(converted, to);
}

bool Context::is_last(const Storage* s) const {
  bool made = false;
  for (const Node& node : nodes_) {
    for (uint32_t i = 0; i < node.op->n_in; ++i)
      if (node.call.in[i] && tail(node.call.in[i])->storage == s) return false;
    for (uint32_t i = 0; i < node.op->n_out; ++i)
      made = made || (node.call.out[i] && tail(node.call.out[i])->storage == s);
  }
  for (const LossEntry& l : losses_) made = made && l.tensor->storage != s;
  return made;
}

void Context::add_cotangents(const attn_view* const* cotangents) {
  for (uint32_t i = 0; i < handles.n_outputs; ++i) {
    if (!cotangents[i]) continue;
    const attn_view& g = *cotangents[i];
    Tensor* t = handles.outputs[i];
    Storage* s = t->storage;
    bool alone = is_last(s);
    for (uint32_t k = 0; k < handles.n_outputs; ++k)
      alone = alone && (k == i || !handles.outputs[k] || handles.outputs[k]->storage != s);
    if (alone && s->wants_grad && g.dtype == s->dtype && sdk::is_dense(g) &&
        sdk::is_dense(t->view) && size_of(g) == s->elements)
      s->grad = g.data;
    else
      add_gradient(t, g);
  }
}

void Context::add_gradient_of_losses() {
  const double one = 1;
  for (const LossEntry& l : losses_) {
    attn_view v = l.tensor->view;
    v.dtype = ATTN_F64;
    v.data = const_cast<double*>(&one);
    add_gradient(l.tensor, v);
  }
}

void Context::gradient(const Tensor* t, attn_view* out) const {
  *out = t->view;
  out->data = nullptr;
  if (t->storage->grad) {
    set_dense_strides(*out);
    out->data = t->storage->grad;
  }
}

void Context::backward_node(const Node& node) {
  const attn_op& op = *node.op;
  attn_op_call call = node.call;
  attn_view dout_views[kMaxPorts], din_views[kMaxOperands];
  const attn_view* dout[kMaxPorts] = {};
  attn_view* din[kMaxOperands] = {};
  bool any = false;
  for (uint32_t i = 0; i < op.n_out; ++i) {
    if (!call.out[i] || !tail(call.out[i])->storage->grad) continue;
    dout_views[i] = gradient_view(tail(call.out[i]));
    dout[i] = &dout_views[i];
    any = true;
  }
  if (!any) return;
  for (uint32_t i = 0; i < op.n_in; ++i) {
    if (!call.in[i] || !tail(call.in[i])->storage->wants_grad || (op.in_const >> i & 1u)) continue;
    din_views[i] = gradient_view(tail(call.in[i]));
    din[i] = &din_views[i];
  }
  call.dout = dout;
  call.din = din;
  attn_error e;
  const size_t mark = scratch_.mark();
  const ProfileStart start = start_profile();
  const int32_t rc = guarded_call(&e, [&] { return op.vjp(&call, &e); });
  scratch_.rewind(mark);
  add_to_profile(op, call, node.label, start);
  if (rc != ATTN_OK)
    throw Failure(std::string("gradient of operator ") + op.name + ": " + e.message,
                  {.where = op.name});

  for (uint32_t i = 0; i < op.n_out; ++i) {
    if (!call.out[i]) continue;
    Storage* s = tail(call.out[i])->storage;
    if (!s->grad || !s->grad_in_arena) continue;
    data_.free(s->grad, bytes_of(*s));
    s->grad = nullptr;
    s->grad_in_arena = false;
  }
}

void Context::backward() {
  struct Used {  // also when a node fails
    bool& recording;
    ~Used() { recording = false; }
  } const used{recording_};
  for (; !nodes_.empty(); nodes_.pop_back()) backward_node(nodes_.back());
}

}  // namespace attn::engine
