// SPDX-License-Identifier: Apache-2.0
#include "core/engine/weights.hpp"

#include "core/error/error.hpp"
#include "core/kernels/compact.hpp"
#include "core/kernels/gemm.hpp"
#include "core/kernels/gemm_bf16.hpp"

namespace attn::engine {

PackedWeight Weight::packed(int64_t k, int64_t n, const float* data, const Parallel& parallel) {
  const std::lock_guard lock(mutex_);
  const bool pairs = kernels::uses_bf16(parallel) &&
                     (storage == StorageKind::float32 || storage == StorageKind::bfloat16);
  PackedCopy* copy = nullptr;
  for (PackedCopy& c : copies_)
    if (c.k == k && c.n == n && c.pairs == pairs) copy = &c;
  if (!copy) {
    copy = &copies_.emplace_back();
    copy->k = k;
    copy->n = n;
    copy->pairs = pairs;
  }
  const bool compact = storage != StorageKind::float32 && !pairs;
  // Compact panels and pairs are those of every level.
  const int tag = compact || pairs ? 0 : kernels::packed_tag();
  if (copy->version != version || copy->tag != tag) {
    const auto size = static_cast<int64_t>(compact ? kernels::compact_size(storage, k, n)
                                           : pairs ? kernels::bf16_packed_size(k, n)
                                                   : kernels::packed_size(k, n));
    if (copy->panels.size() != size || copy->version == 0)
      copy->panels = Array::uninitialized(compact ? ATTN_U8
                                          : pairs ? ATTN_I32
                                                  : ATTN_F32,
                                          Shape{size});
    copy->version = 0;
    if (pairs)
      kernels::pack_bf16(k, n, data, static_cast<uint32_t*>(copy->panels.raw()));
    else if (!compact)
      kernels::pack_b(k, n, data, n, 1, copy->panels.data<float>());
    else if (!kernels::compact(storage, k, n, data, copy->panels.raw()))
      throw InvalidArgument("weight '" + name + "' holds numbers that " +
                            std::string(storage_name(storage)) +
                            " cannot keep; build the layer with weights in bfloat16 or float32");
    copy->version = version;
    copy->tag = tag;
  }
  if (pairs)
    return {nullptr, StorageKind::float32, static_cast<const uint32_t*>(copy->panels.raw())};
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
