// SPDX-License-Identifier: Apache-2.0
//
// Tensors, views, states and results of a call. Running operators: run.cpp; gradients: backward.cpp.
#include "core/engine/context.hpp"

#include <algorithm>
#include <cstring>

#include "core/cpu/level.hpp"
#include "core/engine/weights.hpp"
#include "core/error/error.hpp"
#include "core/ops/keep.hpp"
#include "core/tensor/strided.hpp"
#include "core/threads/pool.hpp"

namespace attn::engine {

namespace {
constexpr int64_t kMaskGrain = 1 << 16;  // elements of a mask that are worth another thread

PackedWeight packed_weight(attn_ctx* ctx, const attn_tensor* w) {
  Weight* weight = tail(w)->storage->weight;
  const attn_view& v = w->view;
  if (!weight || !sdk::is_dense(v) || size_of(v) != weight->value.size()) return {};
  if (weight->storage == StorageKind::float32 && cpu::level() == cpu::Level::reference) return {};
  return weight->packed(v.shape[0], v.shape[1], static_cast<const float*>(v.data), *ctx->parallel);
}

CompactRows compact_rows(const attn_tensor* handle) {
  const Tensor* t = tail(handle);
  if (!t->storage->rows) return {};
  CompactRows rows = *t->storage->rows;
  rows.first += t->offset;
  return rows;
}
}  // namespace

int ContextParallel::concurrency() const noexcept { return serial ? 1 : threads::concurrency(); }

void ContextParallel::run(int64_t n, int64_t grain, Body body, void* user) {
  if (!serial) return threads::run(n, grain, body, user);
  grain = std::max<int64_t>(grain, 1);
  for (int64_t begin = 0; begin < n; begin += grain)
    body(user, begin, std::min(n, begin + grain), 0);
}

Context::Context(attn_dtype dtype) : dtype_(dtype), parallel_(scratch_) {
  if (dtype != ATTN_F32 && dtype != ATTN_F64)
    throw InvalidArgument("a context computes in float32 or float64, not " +
                          std::string(dtype_name(dtype)) + "; expected one of them");
  // An unusable ATTN_THREADS is refused here, where an error can be returned.
  (void)threads::concurrency();
  parallel = &parallel_;
  packed_weight = engine::packed_weight;
  compact_rows = engine::compact_rows;
  nodes_.reserve(64);
  statistics_.reserve(8);
  values_.reserve(8);
  losses_.reserve(16);
  free_tensors_.reserve(256);
  free_storages_.reserve(256);
}

Context::~Context() = default;

void Context::begin(const Start& start) {
  ++epoch_;
  training_ = start.training;
  recording_ = start.recording;
  shapes_only_ = start.shapes_only;
  seed_ = start.seed;
  state_ = start.state;
  communicator_ = start.communicator;
  random_ordinal_ = 0;
  draws_ = false;
  data_.reset();
  headers_.reset();
  scratch_.reset();
  free_tensors_.clear();
  free_storages_.clear();
  nodes_.clear();
  statistics_.clear();
  values_.clear();
  losses_.clear();
  profile_.clear();
  maps_.clear();
  parallel_.bfloat16 = bfloat16 && !recording_ && dtype_ == ATTN_F32;
  observations.begin();
  observer = observations.asked() && !shapes_only_ ? &observations : nullptr;
  label_[0] = '\0';
  operators_ = 0;
  handles = Handles{};
  count_storages({});
  if (state_) state_->begin();
}

Storage* Context::new_storage(int64_t elements, int32_t dtype, bool allocate) {
  Storage* s = nullptr;
  if (!free_storages_.empty()) {
    s = free_storages_.back();
    free_storages_.pop_back();
  } else {
    s = header<Storage>();
  }
  *s = Storage{};
  s->elements = elements;
  s->dtype = dtype;
  if (!allocate) return s;
  const auto bytes = static_cast<size_t>(elements) * dtype_size(static_cast<attn_dtype>(dtype));
  s->index = storages_++;
  bytes_ += static_cast<int64_t>(bytes);
  most_bytes_ = std::max(most_bytes_, bytes_);
  if (shapes_only_) return s;
  for (const Placement& p : places_)
    if (p.storage == s->index && p.bytes == static_cast<int64_t>(bytes)) s->data = p.data;
  if (s->data == nullptr) {
    s->data = data_.allocate(bytes);
    s->in_arena = true;
  }
  return s;
}

Tensor* Context::dense(const attn_view& shape) {
  attn_view v = shape;
  set_dense_strides(v);
  return new_tensor(new_storage(size_of(v), v.dtype, true), v, 0);
}

Tensor* Context::without_data(const attn_view& shape) {
  attn_view v = shape;
  v.dtype = dtype_;
  set_dense_strides(v);
  return new_tensor(new_storage(size_of(v), v.dtype, false), v, 0);
}

void Context::count_storages(std::span<const Placement> places) {
  storages_ = bytes_ = most_bytes_ = 0;
  places_ = places;
}

void Context::make_parts(int64_t n, bool serial) {
  while (static_cast<int64_t>(parts_.size()) < n)
    parts_.push_back(std::make_unique<Context>(dtype_));
  for (const auto& part : parts_) part->parallel_.serial = serial;
}

void Context::add_slice_profile(const Context& slice, int64_t threads, size_t first) {
  if (!keep_profile) return;
  const std::lock_guard lock(profile_mutex_);
  const std::vector<OpRecord>& own = slice.profile_;
  if (profile_.size() < first + own.size()) profile_.resize(first + own.size());
  for (size_t i = 0; i < own.size(); ++i) {
    OpRecord& sum = profile_[first + i];
    if (sum.name.empty()) {
      sum = own[i];
      sum.seconds = sum.flops = sum.bytes = sum.taken = sum.given = sum.held = 0;
      sum.slices = 0;
    }
    sum.seconds += own[i].seconds / static_cast<double>(threads);
    sum.flops += own[i].flops;
    sum.bytes += own[i].bytes;
    sum.taken += own[i].taken;
    sum.given += own[i].given;
    sum.held = std::max(sum.held, own[i].held * static_cast<double>(threads));
    sum.scratch = std::max(sum.scratch, own[i].scratch * static_cast<size_t>(threads));
    ++sum.slices;
  }
}

size_t Context::peak_bytes() const {
  size_t bytes = data_.peak() + headers_.peak() + scratch_.peak();
  for (const auto& part : parts_) bytes += part->peak_bytes();
  return bytes;
}

Tensor* Context::new_tensor(Storage* s, const attn_view& v, int64_t offset) {
  Tensor* t = nullptr;
  if (!free_tensors_.empty()) {
    t = free_tensors_.back();
    free_tensors_.pop_back();
  } else {
    t = header<Tensor>();
  }
  *t = Tensor{};
  t->view = v;
  t->view.dtype = s->dtype;
  t->view.data =
      s->data ? static_cast<char*>(s->data) +
                    static_cast<size_t>(offset) * dtype_size(static_cast<attn_dtype>(s->dtype))
              : nullptr;
  t->refs = 1;
  t->epoch = epoch_;
  t->storage = s;
  t->offset = offset;
  ++s->refs;
  return t;
}

void Context::drop_storage(Storage* s) {
  if (--s->refs > 0) return;
  const size_t bytes = bytes_of(*s);
  if (s->index >= 0) bytes_ -= static_cast<int64_t>(bytes);
  if (s->in_arena) data_.free(s->data, bytes);
  free_storages_.push_back(s);
}

void Context::release(attn_tensor* handle) {
  Tensor* t = tail(handle);
  if (!t || t->epoch != epoch_ || t->refs > 0 || recording_)
    return;  // the tape needs what it holds
  drop_storage(t->storage);
  t->epoch = 0;
  free_tensors_.push_back(t);
}

Tensor* Context::checked(const attn_tensor* handle) const {
  if (!handle) throw InvalidArgument("a tensor is missing");
  if (handle->epoch != epoch_)
    throw Failure("a tensor of an earlier call was used; handles live for one call");
  return const_cast<Tensor*>(tail(handle));
}

Tensor* Context::plain(Tensor* t) {
  if (!t->storage->rows || shapes_only_) return t;
  Tensor* copy = dense(t->view);
  widen(t->view, compact_rows(t), static_cast<float*>(copy->view.data));
  return copy;
}

Tensor* Context::external(const attn_view& v, bool wants_grad) {
  const bool floating = dtype_is_floating(static_cast<attn_dtype>(v.dtype));
  const int32_t dtype = floating ? dtype_ : v.dtype;
  attn_view dense = v;
  dense.dtype = dtype;
  set_dense_strides(dense);
  const bool copy = dtype != v.dtype || !sdk::is_dense(v);
  Storage* s = new_storage(size_of(v), dtype, copy);
  if (!copy && !shapes_only_) s->data = v.data;
  s->wants_grad = wants_grad && floating && recording_;
  Tensor* t = new_tensor(s, dense, 0);
  if (copy && !shapes_only_) copy_strided(v, t->view);
  return t;
}

Tensor* Context::keep_mask(const attn_view& v) {
  attn_view dense = v;
  dense.dtype = ATTN_BOOL;
  set_dense_strides(dense);
  Tensor* t = new_tensor(new_storage(size_of(v), ATTN_BOOL, true), dense, 0);
  if (shapes_only_ || size_of(v) == 0) return t;
  const int64_t n = v.rank ? v.shape[v.rank - 1] : 1, step = v.rank ? v.stride[v.rank - 1] : 1;
  auto* out = static_cast<uint8_t*>(t->view.data);
  parallel_.loop(size_of(v) / n, std::max<int64_t>(1, kMaskGrain / n),
                 [&](int64_t begin, int64_t end, int) {
                   ops::for_rows(v, begin, end, [&](int64_t r, int64_t first) {
                     sdk::read_mask(v, first, step, n, out + r * n);
                     return true;
                   });
                 });
  return t;
}

Tensor* Context::weight(Weight& w, bool wants_grad) {
  attn_view v{};
  v.dtype = w.value.dtype();
  v.rank = w.shape.rank();
  for (size_t i = 0; i < w.shape.size(); ++i) v.shape[i] = w.shape[i];
  set_dense_strides(v);
  // Statistics may be committed by another call meanwhile: this call works on a copy.
  const bool snapshot = (w.flags & ATTN_WEIGHT_STATISTIC) != 0;
  Storage* s = new_storage(w.value.size(), v.dtype, snapshot);
  if (snapshot && !shapes_only_) std::memcpy(s->data, w.value.raw(), w.value.bytes());
  if (!snapshot) {
    s->data = shapes_only_ ? nullptr : w.value.raw();
    s->weight = &w;
    s->wants_grad = wants_grad && recording_ && (w.flags & ATTN_WEIGHT_TRAINABLE);
  }
  return new_tensor(s, v, 0);
}

Tensor* Context::view(Tensor* t, int32_t rank, const int64_t* shape, const int64_t* stride,
                      int64_t offset) {
  if (rank < 0 || rank > ATTN_MAX_RANK)
    throw InvalidArgument("view: rank " + std::to_string(rank) + " must be between 0 and 8");
  attn_view v{};
  v.rank = rank;
  int64_t last = 0;
  bool empty = false;
  for (int i = 0; i < rank; ++i) empty = empty || shape[i] == 0;
  for (int i = 0; i < rank; ++i) {
    v.shape[i] = shape[i];
    v.stride[i] = stride[i];
    if (shape[i] < 0 || stride[i] < 0)
      throw InvalidArgument("view: extents and strides must not be negative");
    int64_t step = 0;
    if (shape[i] > 0 && (__builtin_mul_overflow(shape[i] - 1, stride[i], &step) ||
                         __builtin_add_overflow(last, step, &last)))
      throw InvalidArgument("view: extents and strides are too large");
    if (recording_ && t->storage->wants_grad && !empty && shape[i] > 1 && stride[i] == 0)
      throw InvalidArgument("view: an element may not repeat while gradients are recorded");
  }
  if (empty) last = -1;
  // offset counts from t, whose own lies inside its storage.
  const int64_t room = t->storage->elements - t->offset;
  if (offset < 0 || (!empty && (offset > room || last >= room - offset)))
    throw InvalidArgument("view: shape " + shape_text(v) + " at offset " + std::to_string(offset) +
                          " does not lie inside a tensor of shape " + shape_text(t->view));
  return new_tensor(t->storage, v, empty ? 0 : t->offset + offset);
}

Tensor* Context::constant(int32_t dtype, int32_t rank, const int64_t* shape, const void* dense) {
  if (!dtype_is_known(dtype)) throw InvalidArgument("constant: unknown element kind");
  attn_view v{};
  v.dtype = dtype;
  v.rank = Shape(shape, static_cast<size_t>(rank)).rank();
  for (int i = 0; i < rank; ++i) v.shape[i] = shape[i];
  const int64_t n = Shape(shape, static_cast<size_t>(rank)).elements();
  set_dense_strides(v);
  Storage* s = new_storage(n, dtype, true);
  if (s->data)
    std::memcpy(s->data, dense,
                static_cast<size_t>(n) * dtype_size(static_cast<attn_dtype>(dtype)));
  return new_tensor(s, v, 0);
}

attn_view Context::read(Tensor* t) {
  attn_view v = plain(t)->view;
  if (!shapes_only_) return v;
  set_dense_strides(v);
  const size_t bytes =
      static_cast<size_t>(size_of(v)) * dtype_size(static_cast<attn_dtype>(t->storage->dtype));
  v.data = data_.allocate(bytes);
  std::memset(v.data, 0, bytes);
  return v;
}

Tensor* Context::append(uint32_t index, Tensor* x) {
  if (!state_) {
    ++x->refs;
    return x;
  }
  const attn_view all = state_->append(index, plain(x)->view, shapes_only_);
  Storage* s = new_storage(span_of(all), all.dtype, false);
  s->data = all.data;
  if (const CompactRows rows = state_->rows(index); rows.data) s->rows = copy_header(&rows, 1);
  return new_tensor(s, all, 0);
}

Tensor* Context::state_get(uint32_t index) {
  if (!state_) return nullptr;
  for (const Pending& p : values_)
    if (p.index == index) {
      ++p.tensor->refs;
      return p.tensor;
    }
  const attn_view v = state_->value(index);
  return v.data ? external(v, false) : nullptr;
}

void Context::state_set(uint32_t index, Tensor* x) {
  if (!state_) return;
  state_->check_value(index, x->view);
  x = plain(x);
  ++x->refs;
  for (Pending& p : values_)
    if (p.index == index) {
      p.tensor = x;
      return;
    }
  values_.push_back({index, x});
}

void Context::advance(int64_t positions) {
  if (state_) state_->advance(positions);
}

void Context::assign(uint32_t index, Tensor* x) {
  if (communicator_)
    throw InvalidArgument("assign: a call that several ranks share updates no statistics");
  if (index >= n_weights_) throw InvalidArgument("assign: no such weight");
  const attn_view& w = weights_[index]->view;
  bool same = w.rank == x->view.rank;
  for (int i = 0; same && i < w.rank; ++i) same = w.shape[i] == x->view.shape[i];
  if (!same)
    throw InvalidArgument("assign: shape " + shape_text(x->view) + " does not replace " +
                          shape_text(w));
  x = plain(x);
  ++x->refs;
  weights_[index] = x;
  for (Pending& p : statistics_)
    if (p.index == index) {
      p.tensor = x;
      return;
    }
  statistics_.push_back({index, x});
}

void Context::add_loss(const char* name, Tensor* x) {
  if (communicator_) throw InvalidArgument("loss: a call that several ranks share adds no losses");
  if (size_of(x->view) != 1)
    throw InvalidArgument("loss: a single number is expected, got shape " + shape_text(x->view));
  x = plain(x);
  ++x->refs;
  LossEntry entry{};
  std::strncpy(entry.name, name ? name : "", sizeof entry.name - 1);
  entry.tensor = x;
  losses_.push_back(entry);
}

void Context::label(const char* text) { std::strncpy(label_, text ? text : "", sizeof label_ - 1); }

void Context::observe(const char* name, const attn_view& values) {
  if (!name) throw InvalidArgument("observe: the name is missing");
  if (!observer) return;
  const bool own =
      operators_ == 0;  // in a type's forward; inside an operator run() has set the label
  if (own) observations.set_label(label_);
  const size_t mark = scratch_.mark();
  observations.take_from_plugin(name, values, parallel_);
  scratch_.rewind(mark);
  if (own) label_[0] = '\0';
}

std::vector<Loss> Context::losses() const {
  std::vector<Loss> out;
  for (const LossEntry& l : losses_) {
    const void* p = l.tensor->view.data;
    if (!p) continue;
    out.push_back({l.name, l.tensor->view.dtype == ATTN_F64 ? *static_cast<const double*>(p)
                                                            : *static_cast<const float*>(p)});
  }
  return out;
}

}  // namespace attn::engine
