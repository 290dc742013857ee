// SPDX-License-Identifier: Apache-2.0
//
// What a layer keeps from call to call when the caller attaches a state: histories (keys and values of the
// positions seen) and values of fixed size.
//
// All histories of a state have one length. What a call appends or sets counts only when the call succeeds.
// One state belongs to one sequence of calls: not thread-safe; different states are independent.
#pragma once

#include <attn/sdk/abi.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/tensor/array.hpp"
#include "core/tensor/compact_rows.hpp"

namespace attn::engine {

struct StateDeclaration {
  std::string name{};
  uint32_t flags = 0;  // ATTN_STATE_HISTORY or ATTN_STATE_VALUE
  int axis = 0;
  Shape shape{};  // -1: from the first use; axis 0 is the batch
  int64_t max_len = 0;
};

class State {
 public:
  // owner: id() of its layer. capacity 0: the largest the declarations allow. Throws InvalidArgument for a batch
  // or capacity that does not fit.
  // kind: how histories are kept, of float32 layers; refused where there is none, or a row of its last axis grows.
  State(uint64_t owner, std::vector<StateDeclaration> declarations, attn_dtype dtype, int64_t batch,
        int64_t capacity, StorageKind kind = StorageKind::float32);

  [[nodiscard]] int64_t batch() const { return batch_; }
  [[nodiscard]] int64_t length() const { return length_; }
  [[nodiscard]] int64_t capacity() const { return capacity_; }
  [[nodiscard]] size_t bytes() const;

  // Back to the beginning: length 0, no values.
  void reset();
  // Drops the newest positions; 0 <= length <= length(). Refused for a state with values, which cannot go back.
  void truncate(int64_t length);
  // Row b becomes the old row rows[b]; rows may repeat, and their number is the new batch.
  void reorder(const std::vector<int64_t>& rows);

  // ---- for the engine ----
  [[nodiscard]] uint64_t owner() const { return owner_; }
  [[nodiscard]] attn_dtype dtype() const { return dtype_; }
  // The committed positions of a history that is kept in float32 or float64; data nullptr before the first.
  [[nodiscard]] attn_view history(uint32_t index) const;

  // Copies x to the end of the history and shows all of it, which is x's positions longer than length(). Positions
  // become permanent with commit(). In a shape-only call nothing is copied and the view has no data; everything
  // else, refusals too, is the same. In a state of another kind than float32 the view has no data either, and rows()
  // tells where it is.
  [[nodiscard]] attn_view append(uint32_t index, const attn_view& x, bool shapes_only);
  // A history of another kind than float32, once something was appended; data nullptr otherwise.
  [[nodiscard]] CompactRows rows(uint32_t index) const;
  // The value, or data nullptr when it was never set.
  [[nodiscard]] attn_view value(uint32_t index) const;
  // Refuses what cannot become the value: another rank, another batch, extents other than those declared or,
  // where -1 was declared, those of the value it replaces.
  void check_value(uint32_t index, const attn_view& x) const;
  void set_value(uint32_t index,
                 const attn_view& x);  // permanent at once: the engine calls it at its commit
  // So many further positions, for states without a history; permanent with commit().
  void advance(int64_t positions);
  void begin() { pending_ = 0; }
  void commit() { length_ += pending_, pending_ = 0; }

 private:
  struct Slot {
    StateDeclaration declaration{};
    Array memory{}, scales{};  // scales: of int8, one for each row of the last axis
    bool present = false;      // a history that has memory, a value that was set
  };
  // Throws unless a plugin's index is that of a state of this kind (ATTN_STATE_*).
  void check(uint32_t index, uint32_t kind) const;
  // Keeps x from element `first` of a slot of another kind than float32 on.
  void keep(Slot& slot, const Shape& shape, const attn_view& x, const attn_view& to, int64_t first);
  [[nodiscard]] CompactRows rows_in(const Slot& slot) const;
  // The memory of a slot; data nullptr when it has none.
  [[nodiscard]] static attn_view memory_of(const Slot& slot);
  [[nodiscard]] Shape history_shape(const Slot& slot, const attn_view& x) const;

  uint64_t owner_;
  std::vector<Slot> slots_;
  attn_dtype dtype_;
  StorageKind kind_;
  int64_t batch_, capacity_;
  int64_t length_ = 0, pending_ = 0;
};

}  // namespace attn::engine
