// SPDX-License-Identifier: Apache-2.0
#include "core/engine/weights.hpp"

#include "core/error/error.hpp"
#include "core/kernels/compact.hpp"
#include "core/kernels/gemm.hpp"

namespace attn::engine {

PackedWeight Weight::packed(int64_t k, int64_t n, const float* data) {
  const std::lock_guard lock(mutex_);
  PackedCopy* copy = nullptr;
  for (PackedCopy& c : copies_)
    if (c.k == k && c.n == n) copy = &c;
  if (!copy) {
    copy = &copies_.emplace_back();
    copy->k = k;
    copy->n = n;
  }
  const bool compact = storage != StorageKind::float32;
  const int tag = compact ? 0 : kernels::packed_tag();  // compact panels are those of every level
  if (copy->version != version || copy->tag != tag) {
    const auto size = static_cast<int64_t>(compact ? kernels::compact_size(storage, k, n)
                                                   : kernels::packed_size(k, n));
    if (copy->panels.size() != size || copy->version == 0)
      copy->panels = Array::uninitialized(compact ? ATTN_U8 : ATTN_F32, Shape{size});
    copy->version = 0;
    if (!compact)
      kernels::pack_b(k, n, data, n, 1, copy->panels.data<float>());
    else if (!kernels::compact(storage, k, n, data, copy->panels.raw()))
      throw InvalidArgument("weight '" + name + "' holds numbers that " +
                            std::string(storage_name(storage)) +
                            " cannot keep; build the layer with weights in bfloat16 or float32");
    copy->version = version;
    copy->tag = tag;
  }
  return {copy->panels.raw(), storage};
}

size_t Weight::compact_bytes() {
  if (storage == StorageKind::float32) return 0;
  const std::lock_guard lock(mutex_);
  size_t sum = 0;
  for (const PackedCopy& c : copies_) sum += c.panels.bytes();
  return sum;
}

}  // namespace attn::engine
