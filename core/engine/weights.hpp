// SPDX-License-Identifier: Apache-2.0
//
// The weights of one layer: declared at build, owned here, in the layer's kind of number (float or double).
//
// version counts changes; packed copies remember the version they were made of, so they follow. Reading from many
// threads is fine; changing a weight needs exclusive use of the layer. Statistics are the exception: they are read
// and committed under the layer's lock.
#pragma once

#include <attn/sdk/abi.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "core/schema/initializer_spec.hpp"
#include "core/schema/regularizer_spec.hpp"
#include "core/tensor/array.hpp"

namespace attn::engine {

// A weight rearranged for the matrix kernels. k x n is the shape as the product sees it.
struct PackedCopy {
  uint64_t version = 0;
  int64_t k = 0, n = 0;
  bool transposed = false;
  Array panels{};
};

struct Weight {
  std::string name{};
  uint32_t flags = 0;  // ATTN_WEIGHT_*
  Shape shape{};
  schema::InitializerSpec initializer{};
  schema::RegularizerSpec regularizer{};
  Array value{};
  std::atomic<uint64_t> version{1};

  // The copy packed from the current value as (k, n), or as its transpose; made at the first use.
  // data: the k x n matrix in row-major order, the weight seen through a reshape. [any-thread]
  const PackedCopy& packed(int64_t k, int64_t n, bool transposed, const float* data);

 private:
  std::mutex mutex_;
  std::deque<std::unique_ptr<PackedCopy>>
      copies_;  // at most one current one for each (k, n, transposed)
};

}  // namespace attn::engine
