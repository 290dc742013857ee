// SPDX-License-Identifier: Apache-2.0
//
// The weights of one layer: declared at build, owned here, in the layer's dtype (float or double).
//
// version counts changes; packed copies keep the version they were made of and are made again when it differs. Reading
// from many threads is fine; changing a weight needs exclusive use of the layer. Statistics are the exception: they are
// read and committed under the layer's lock.
#pragma once

#include <attn/sdk/abi.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/schema/initializer_spec.hpp"
#include "core/schema/regularizer_spec.hpp"
#include "core/tensor/array.hpp"
#include "core/threads/ctx.hpp"
#include "core/threads/fork.hpp"

namespace attn::engine {

// A weight rearranged for the matrix kernels, as a (k, n) matrix.
struct PackedCopy {
  uint64_t version = 0;  // of the weight it was made from
  int tag = 0;           // of the layout (kernels::packed_tag)
  int64_t k = 0, n = 0;
  bool pairs = false;  // of kernels::pack_bf16
  Array panels{};      // floats, or the bytes of kernels::compact, or pairs
};

struct Weight {
  std::string name{};
  uint32_t flags = 0;  // ATTN_WEIGHT_*
  Shape shape{};
  schema::InitializerSpec initializer{};
  schema::RegularizerSpec regularizer{};
  Array
      initial_value{};  // first values in place of the initializer, when has_initial_value; empty once built
  bool has_initial_value = false;
  double (*table)(const attn_layer*, const int64_t*, int64_t) = nullptr;  // as in attn_weight
  double tolerance = 0;                                                   // of a file's table
  Array value{};                               // of the layer's dtype, or of whole numbers
  StorageKind storage = StorageKind::float32;  // of its packed copies
  std::atomic<uint64_t> version{1};

  // The current value packed as a (k, n) matrix; data: that matrix in row-major order, the weight seen
  // through a reshape. Made at the first use after a change, valid until the next change. [any-thread]
  // Calls with products of bfloat16 get pairs of it, where the kind allows. Throws InvalidArgument for numbers that
  // `storage` cannot keep.
  PackedWeight packed(int64_t k, int64_t n, const float* data, const Parallel& parallel);
  // Of the packed copies where they are of another kind than float32; 0: there are none. [any-thread]
  size_t compact_bytes();

 private:
  threads::Mutex mutex_;
  std::deque<PackedCopy> copies_;  // one for each (k, n)
};

}  // namespace attn::engine
