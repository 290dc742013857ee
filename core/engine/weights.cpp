// SPDX-License-Identifier: Apache-2.0
#include "core/engine/weights.hpp"

#include "core/kernels/gemm.hpp"

namespace attn::engine {

const float* Weight::packed(int64_t k, int64_t n, const float* data) {
  const std::lock_guard lock(mutex_);
  PackedCopy* copy = nullptr;
  for (PackedCopy& c : copies_)
    if (c.k == k && c.n == n) copy = &c;
  if (!copy) {
    copy = &copies_.emplace_back();
    copy->k = k;
    copy->n = n;
  }
  const int tag = kernels::packed_tag();
  if (copy->version != version || copy->tag != tag) {
    const auto size = static_cast<int64_t>(kernels::packed_size(k, n));
    if (copy->panels.size() != size || copy->version == 0)
      copy->panels = Array::uninitialized(ATTN_F32, Shape{size});
    kernels::pack_b(k, n, data, n, 1, copy->panels.data<float>());
    copy->version = version;
    copy->tag = tag;
  }
  return copy->panels.data<float>();
}

}  // namespace attn::engine
