// SPDX-License-Identifier: Apache-2.0
//
// The backward pass of a call that was recorded in slices.
#include <cstring>

#include "core/engine/layer.hpp"
#include "core/engine/slices_run.hpp"

namespace attn::engine {

namespace {

constexpr int64_t kSumGrain = 1 << 14;

// to[j] += the gradients that the slices have, in their order. of(slice): where one lies, or nullptr.
template <class T, class Of>
void add_slices(Context& ctx, void* memory, int64_t elements, int64_t slices, const Of& of) {
  auto* to = static_cast<T*>(memory);
  ctx.parallel->loop(elements, kSumGrain, [&](int64_t begin, int64_t end, int) {
    for (int64_t slice = 0; slice < slices; ++slice) {
      const auto* from = static_cast<const T*>(of(slice));
      for (int64_t j = begin; from != nullptr && j < end; ++j) to[j] += from[j];
    }
  });
}

template <class Of>
void add_slices_of(Context& ctx, const Storage& s, void* to, int64_t slices, const Of& of) {
  if (s.dtype == ATTN_F64)
    add_slices<double>(ctx, to, s.elements, slices, of);
  else
    add_slices<float>(ctx, to, s.elements, slices, of);
}

}  // namespace

void Layer::backward_in_slices(Context& ctx, const attn_view* const* cotangents,
                               void* const* weight_memory) {
  const SlicePlan& plan = ctx.slice_plan;
  const int64_t slices = plan.slices();
  const Context::Handles& all = ctx.handles;
  // Of inputs that the slices have rows of, gradients go straight to their place among those of the batch.
  const auto cut = [&](uint32_t i) {
    return all.inputs[i]->view.shape[0] != ctx.part(0).handles.inputs[i]->view.shape[0];
  };
  const auto place = [&](uint32_t i, int64_t first) {
    const Storage& s = *all.inputs[i]->storage;
    return static_cast<char*>(s.grad) +
           bytes_of(s) / static_cast<size_t>(plan.batch) * static_cast<size_t>(first);
  };
  for (uint32_t i = 0; i < all.n_inputs; ++i)
    if (all.inputs[i] != nullptr && all.inputs[i]->view.rank > 0 && cut(i))
      ctx.unset_gradient(all.inputs[i]->storage);
  for_slices(ctx, plan, true, [&](Context& part, int64_t first) {
    part.forget_profile();
    const Context::Handles& own = part.handles;
    for (uint32_t i = 0; i < all.n_inputs; ++i)
      if (all.inputs[i] != nullptr && all.inputs[i]->storage->grad != nullptr)
        part.place_gradient(own.inputs[i], place(i, first));
    attn_view views[kMaxPorts];
    const attn_view* rows[kMaxPorts] = {};
    for (uint32_t i = 0; i < own.n_outputs; ++i) {
      if (cotangents[i] == nullptr) continue;
      views[i] = rows_of(*cotangents[i], first, own.outputs[i]->view.shape[0]);
      rows[i] = &views[i];
    }
    part.add_cotangents(rows);
    part.backward();
  });
  for (uint32_t i = 0; i < all.n_inputs; ++i) {
    if (all.inputs[i] == nullptr) continue;
    const auto storage = [&](int64_t slice) { return ctx.part(slice).handles.inputs[i]->storage; };
    Storage& s = *all.inputs[i]->storage;
    const bool placed = s.grad != nullptr;
    bool any = false;
    for (int64_t slice = 0; slice < slices; ++slice) any = any || storage(slice)->grad != nullptr;
    if (!any) {
      s.grad = nullptr;
    } else if (placed) {
      for (int64_t slice = 0; slice < slices; ++slice)
        if (storage(slice)->grad == nullptr)
          std::memset(place(i, slice * plan.rows), 0, bytes_of(*storage(slice)));
    } else {
      std::memset(ctx.unset_gradient(&s), 0, bytes_of(s));
      add_slices_of(ctx, s, s.grad, slices, [&](int64_t slice) { return storage(slice)->grad; });
    }
  }
  for (uint32_t i = 0; i < ctx.part(0).handles.n_weights; ++i) {
    const Tensor* w = ctx.part(0).handles.weights[i];
    if (w != nullptr && weight_memory[i] != nullptr && w->storage->wants_grad)
      add_slices_of(ctx, *w->storage, weight_memory[i], slices, [&](int64_t slice) {
        return ctx.part(slice).handles.weights[i]->storage->grad;
      });
  }
}

}  // namespace attn::engine
