// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <mutex>
#include <optional>
#include <vector>

#include "host/library/layer/construct.hpp"
#include "host/library/layer/layer.hpp"

namespace attn::host {

// How a seed becomes weights is the type's own affair: a layer made with the other seed shows it.
void PluginLayer::redraw(uint64_t seed) {
  require_built();
  const attn_type& t = type();
  const auto* parameters_end = t.params + t.n_params;
  const auto* parameter = std::find_if(
      t.params, parameters_end, [](const attn_param* p) { return p->kind == ATTN_PARAM_SEED; });
  if (parameter == parameters_end)
    throw InvalidArgument(name_ + ": type '" + t.id +
                              "' has no seed to draw from; expected a type with a parameter that "
                              "is a seed; its weights are as they were built or loaded",
                          {.where = name_, .type = t.id});
  Json config = config_;
  config.erase("name");
  config.set((*parameter)->name, Json(seed));
  const std::unique_ptr<Attention> other = construct(t.id, config, Json());
  other->build(built_for(), {.dtype = dtype(), .seed = 0});
  for (const engine::Weight& w : layer_.weights())
    if (w.has_initial_value && !(w.flags & ATTN_WEIGHT_TRAINABLE))
      set_weight(w.name, other->weight(w.name));
  config_.set((*parameter)->name, Json(seed));
}

}  // namespace attn::host
