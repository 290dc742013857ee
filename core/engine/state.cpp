// SPDX-License-Identifier: Apache-2.0
#include "core/engine/state.hpp"

#include <algorithm>
#include <cstring>

#include "core/error/error.hpp"
#include "core/tensor/strided.hpp"

namespace attn::engine {

State::State(uint64_t owner, std::vector<StateDeclaration> declarations, attn_dtype dtype,
             int64_t batch, int64_t capacity, StorageKind kind)
    : owner_(owner), dtype_(dtype), kind_(kind), batch_(batch), capacity_(capacity) {
  if (batch < 1)
    throw InvalidArgument("state: batch " + std::to_string(batch) +
                          " must be positive; give the number of sequences");
  if (capacity < 0)
    throw InvalidArgument("state: capacity " + std::to_string(capacity) +
                          " must not be negative; give the longest sequence, or 0 for what the "
                          "layer allows");
  int64_t bound = 0;
  bool history = false;
  for (auto& d : declarations) {
    if (d.flags & ATTN_STATE_HISTORY) {
      history = true;
      if (d.max_len > 0) bound = bound ? std::min(bound, d.max_len) : d.max_len;
    }
    if (kind != StorageKind::float32 && d.flags & ATTN_STATE_HISTORY &&
        d.axis == d.shape.rank() - 1)
      throw InvalidArgument("state '" + d.name +
                            "': its last axis grows, so that it has no rows to keep in " +
                            std::string(storage_name(kind)) + "; expected float32");
    slots_.emplace_back().declaration = std::move(d);
  }
  if (slots_.empty()) throw InvalidArgument("state: this layer keeps none");
  if (kind != StorageKind::float32 && !history)
    throw InvalidArgument("state '" + slots_.front().declaration.name +
                          "': a running value stays float32, and this layer has no history; "
                          "expected float32, got " +
                          std::string(storage_name(kind)));
  if (kind != StorageKind::float32 && dtype != ATTN_F32)
    throw InvalidArgument("state: histories in " + std::string(storage_name(kind)) +
                          " need a layer that computes in float32, not " +
                          std::string(dtype_name(dtype)) + "; make a state in float32");
  if (capacity_ == 0) capacity_ = bound;
  if (history && capacity_ == 0)
    throw InvalidArgument("state: this layer has no longest length of its own; give a capacity");
  if (bound > 0 && capacity_ > bound)
    throw InvalidArgument("state: capacity " + std::to_string(capacity_) + " exceeds " +
                          std::to_string(bound) +
                          ", the largest position of this layer; give that at most, or 0");
}

size_t State::bytes() const {
  size_t sum = 0;
  for (const Slot& s : slots_) sum += s.present ? s.memory.bytes() + s.scales.bytes() : 0;
  return sum;
}

void State::reset() {
  length_ = pending_ = 0;
  for (Slot& s : slots_)
    if (s.declaration.flags & ATTN_STATE_VALUE) s.present = false;
}

void State::truncate(int64_t length) {
  if (length < 0 || length > length_)
    throw InvalidArgument("state: length " + std::to_string(length) + " must be between 0 and " +
                          std::to_string(length_) + ", the positions that it has");
  if (length == length_) return;
  for (const Slot& s : slots_)
    if (s.present && (s.declaration.flags & ATTN_STATE_VALUE))
      throw InvalidArgument("state: '" + s.declaration.name +
                            "' is a running value and cannot go back; reset the state");
  length_ = length;
}

namespace {

// Row b of the result is row rows[b] of a.
Array rows_of(const Array& a, const std::vector<int64_t>& rows) {
  Shape shape = a.shape();
  const size_t row = a.bytes() / static_cast<size_t>(shape[0]);
  shape[0] = static_cast<int64_t>(rows.size());
  Array out = Array::uninitialized(a.dtype(), shape);
  auto* to = static_cast<char*>(out.raw());
  const auto* from = static_cast<const char*>(a.raw());
  for (size_t b = 0; b < rows.size(); ++b)
    std::memcpy(to + b * row, from + static_cast<size_t>(rows[b]) * row, row);
  return out;
}

}  // namespace

void State::reorder(const std::vector<int64_t>& rows) {
  if (rows.empty())
    throw InvalidArgument("state: reorder got no rows; expected one for each sequence that stays");
  for (const int64_t r : rows)
    if (r < 0 || r >= batch_)
      throw InvalidArgument("state: row " + std::to_string(r) + " must be between 0 and " +
                            std::to_string(batch_ - 1) + ", the sequences that it has");
  // All new memory first, so that a lack of it changes nothing.
  std::vector<Array> fresh(slots_.size()), scales(slots_.size());
  for (size_t i = 0; i < slots_.size(); ++i) {
    const Slot& s = slots_[i];
    if (s.present) fresh[i] = rows_of(s.memory, rows);
    if (s.scales.size() > 0) scales[i] = rows_of(s.scales, rows);
  }
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].present) slots_[i].memory = std::move(fresh[i]);
    if (slots_[i].scales.size() > 0) slots_[i].scales = std::move(scales[i]);
  }
  batch_ = static_cast<int64_t>(rows.size());
}

// The extents of a history's memory: those it has, or what its declaration and its first positions make them.
Shape State::history_shape(const Slot& s, const attn_view& x) const {
  if (s.present) return s.memory.shape();
  Shape shape = s.declaration.shape;
  if (x.rank != shape.rank())
    throw InvalidArgument("state '" + s.declaration.name + "': rank " + std::to_string(x.rank) +
                          " appended where " + std::to_string(shape.rank()) + " was declared");
  for (size_t i = 0; i < shape.size(); ++i) {
    if (static_cast<int>(i) == s.declaration.axis)
      shape[i] = capacity_;
    else if (i == 0)
      shape[i] = batch_;
    else if (shape[i] < 0)
      shape[i] = x.shape[i];
  }
  return shape;
}

void State::check(uint32_t index, uint32_t kind) const {
  if (index >= slots_.size() || !(slots_[index].declaration.flags & kind))
    throw Failure("state: the type declared no " +
                  std::string(kind & ATTN_STATE_HISTORY ? "history" : "value") + " of index " +
                  std::to_string(index));
}

attn_view State::append(uint32_t index, const attn_view& x, bool shapes_only) {
  check(index, ATTN_STATE_HISTORY);
  Slot& s = slots_[index];
  if (x.dtype != dtype_)
    throw InvalidArgument("state: a history keeps " + std::string(dtype_name(dtype_)));
  const Shape shape = history_shape(s, x);
  const auto axis = static_cast<size_t>(s.declaration.axis);
  for (size_t i = 0; i < shape.size(); ++i) {
    if (x.rank != shape.rank() || (i != axis && x.shape[i] != shape[i]))
      throw InvalidArgument("state '" + s.declaration.name + "': shape " + shape_text(x) +
                            " does not continue a state of batch " + std::to_string(batch_) +
                            " and shape " + shape.to_string() +
                            "; give inputs of that batch, or reset the state");
  }
  const int64_t count = x.shape[axis];
  if (pending_ != 0 && pending_ != count)
    throw InvalidArgument("state '" + s.declaration.name + "': " + std::to_string(count) +
                          " positions appended, " + std::to_string(pending_) +
                          " to another history");
  if (length_ + count > capacity_)
    throw InvalidArgument("state: " + std::to_string(length_) + " + " + std::to_string(count) +
                          " positions exceed the capacity of " + std::to_string(capacity_) +
                          "; make a state with a larger one, or truncate it");
  pending_ = count;
  attn_view all{};
  all.dtype = dtype_;
  all.rank = shape.rank();
  const Shape stride = shape.dense_strides();
  for (size_t i = 0; i < shape.size(); ++i) {
    all.shape[i] = i == axis ? length_ + count : shape[i];
    all.stride[i] = stride[i];
  }
  if (shapes_only) return all;
  attn_view to = all;
  to.shape[axis] = count;
  if (kind_ != StorageKind::float32) {
    keep(s, shape, x, to, length_ * stride[axis]);
    return all;
  }
  if (!s.present) s.memory = Array(dtype_, shape);
  s.present = true;
  all.data = s.memory.raw();
  to.data = static_cast<char*>(all.data) +
            static_cast<size_t>(length_ * stride[axis]) * dtype_size(dtype_);
  copy_strided(x, to);
  return all;
}

void State::keep(Slot& s, const Shape& shape, const attn_view& x, const attn_view& to,
                 int64_t first) {
  if (!s.present) {
    Shape rows = shape;
    rows[shape.size() - 1] = 1;
    if (kind_ == StorageKind::int8) s.scales = Array(ATTN_F32, rows);
    s.memory = Array(kind_ == StorageKind::int8       ? ATTN_U8
                     : kind_ == StorageKind::bfloat16 ? ATTN_BF16
                                                      : ATTN_F16,
                     shape);
  }
  s.present = true;
  CompactRows rows = rows_in(s);
  rows.first = first;
  if (!narrow(x, to, rows))
    throw InvalidArgument("state '" + s.declaration.name + "': a number is too large for " +
                          std::string(storage_name(kind_)) +
                          "; make the state in bfloat16 or float32");
}

CompactRows State::rows_in(const Slot& s) const {
  if (kind_ == StorageKind::float32 || !s.present) return {};
  const Shape& shape = s.memory.shape();
  return {kind_, s.memory.raw(), s.scales.size() > 0 ? s.scales.data<float>() : nullptr,
          shape[shape.size() - 1]};
}

CompactRows State::rows(uint32_t index) const {
  check(index, ATTN_STATE_HISTORY);
  return rows_in(slots_[index]);
}

attn_view State::memory_of(const Slot& s) {
  attn_view v{};
  if (!s.present) return v;
  v.data = const_cast<void*>(s.memory.raw());
  v.dtype = s.memory.dtype();
  v.rank = s.memory.shape().rank();
  const Shape stride = s.memory.shape().dense_strides();
  for (size_t i = 0; i < stride.size(); ++i) {
    v.shape[i] = s.memory.shape()[i];
    v.stride[i] = stride[i];
  }
  return v;
}

attn_view State::value(uint32_t index) const {
  check(index, ATTN_STATE_VALUE);
  return memory_of(slots_[index]);
}

attn_view State::history(uint32_t index) const {
  check(index, ATTN_STATE_HISTORY);
  if (kind_ != StorageKind::float32)
    throw Failure("state: a history in " + std::string(storage_name(kind_)) + " is no tensor");
  attn_view v = memory_of(slots_[index]);
  if (v.data) v.shape[slots_[index].declaration.axis] = length_;
  return v;
}

void State::check_value(uint32_t index, const attn_view& x) const {
  check(index, ATTN_STATE_VALUE);
  const Slot& s = slots_[index];
  Shape wanted = s.present ? s.memory.shape() : s.declaration.shape;
  if (wanted.rank() > 0) wanted[0] = batch_;
  bool fits = x.rank == wanted.rank();
  for (size_t i = 0; fits && i < wanted.size(); ++i)
    fits = wanted[i] < 0 || x.shape[i] == wanted[i];
  if (!fits)
    throw InvalidArgument("state '" + s.declaration.name + "': shape " + shape_text(x) +
                          " does not fit a state of batch " + std::to_string(batch_) +
                          " and shape " + wanted.to_string() +
                          "; give inputs of that batch, or reset the state");
}

void State::advance(int64_t positions) {
  constexpr int64_t kLongest = int64_t{1} << 62;
  if (positions < 0 || positions > kLongest - length_ || (pending_ != 0 && pending_ != positions))
    throw Failure("state: " + std::to_string(positions) + " positions counted after " +
                  std::to_string(pending_));
  pending_ = positions;
}

void State::set_value(uint32_t index, const attn_view& x) {
  Slot& s = slots_[index];
  const Shape shape(x.shape, static_cast<size_t>(x.rank));
  if (!s.present || s.memory.shape() != shape || s.memory.dtype() != x.dtype)
    s.memory = Array::uninitialized(static_cast<attn_dtype>(x.dtype), shape);
  attn_view to = x;
  to.data = s.memory.raw();
  set_dense_strides(to);
  copy_strided(x, to);
  s.present = true;
}

}  // namespace attn::engine
