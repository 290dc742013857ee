// SPDX-License-Identifier: Apache-2.0
//
// Tensors inside forward(): counted handles of memory that the host owns, valid for one call.
//
// Shapes are read without a call. Views (slice, permute, reshape, heads) share memory and gradient
// and cost about 30 ns; they copy only where no strides can express the result. A handle kept from
// an earlier call is refused at its next use. [call-thread]
#pragma once

#include <attn/sdk/abi.h>
#include <attn/sdk/error.hpp>
#include <attn/sdk/operator.hpp>

#include <array>
#include <initializer_list>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace attn::sdk {

inline std::string shape_text(std::span<const int64_t> shape) {
  std::string s;
  for (const int64_t n : shape) s += (s.empty() ? "" : ", ") + std::to_string(n);
  return "(" + s + ")";
}

// Data of one plugin alone, also where it is built without -fvisibility=hidden: otherwise all plugins of a process would
// share it.
#define ATTN_HIDDEN __attribute__((visibility("hidden")))

namespace detail {

// The operators that this library calls, gathered before main() without touching the host.
ATTN_HIDDEN inline std::vector<const attn_op_use*>& used_operators() {
  static std::vector<const attn_op_use*> list;
  return list;
}

// One operator that is really called: Tag has name, version, min_attrs and min_in.
template <class Tag>
struct ATTN_HIDDEN Use {
  static inline const attn_op_ref* slot = nullptr;
  static inline const attn_op_use use{sizeof(attn_op_use), Tag::version, Tag::min_attrs,
                                      Tag::min_in,         Tag::name,    &slot};
  static inline const bool listed = (used_operators().push_back(&use), true);
};

}  // namespace detail

class Tensor {
 public:
  Tensor() = default;
  // Takes over one reference.
  Tensor(attn_tensor* t, const attn_engine* engine, attn_ctx* ctx)
      : t_(t), engine_(engine), ctx_(ctx), epoch_(t ? t->epoch : 0) {}
  // Counts one more reference of a handle that another holds.
  static Tensor share(attn_tensor* t, const attn_engine* engine, attn_ctx* ctx) {
    if (t) ++t->refs;
    return {t, engine, ctx};
  }
  Tensor(const Tensor& o) : t_(o.t_), engine_(o.engine_), ctx_(o.ctx_), epoch_(o.epoch_) {
    if (t_) ++t_->refs;
  }
  Tensor(Tensor&& o) noexcept
      : t_(std::exchange(o.t_, nullptr)), engine_(o.engine_), ctx_(o.ctx_), epoch_(o.epoch_) {}
  Tensor& operator=(Tensor o) noexcept {
    std::swap(t_, o.t_);
    std::swap(engine_, o.engine_);
    std::swap(ctx_, o.ctx_);
    std::swap(epoch_, o.epoch_);
    return *this;
  }
  ~Tensor() {
    if (t_ && t_->epoch == epoch_ && --t_->refs == 0) engine_->release(ctx_, t_);
  }

  // False: absent.
  explicit operator bool() const { return t_ != nullptr; }

  [[nodiscard]] int rank() const { return t_ ? t_->view.rank : 0; }
  // Extent of an axis; negative axes count from the end.
  [[nodiscard]] int64_t dim(int axis) const {
    return t_->view.shape[axis < 0 ? axis + rank() : axis];
  }
  [[nodiscard]] std::span<const int64_t> shape() const {
    return {t_->view.shape, static_cast<size_t>(t_->view.rank)};
  }
  [[nodiscard]] int32_t dtype() const { return t_->view.dtype; }
  [[nodiscard]] bool is_floating() const {
    return dtype() == ATTN_F32 || dtype() == ATTN_F64 || dtype() == ATTN_F16 ||
           dtype() == ATTN_BF16;
  }
  [[nodiscard]] int64_t size() const { return size_of(t_->view); }
  [[nodiscard]] std::string shape_text() const { return sdk::shape_text(t_->view); }

  // The handle, for calls into the host; throws when it belongs to an earlier call.
  [[nodiscard]] attn_tensor* handle() const {
    if (t_ && t_->epoch != epoch_)
      throw Error(ATTN_INTERNAL, "a tensor of an earlier call was used; handles live for one call");
    return t_;
  }
  [[nodiscard]] const attn_engine* engine() const { return engine_; }
  [[nodiscard]] attn_ctx* context() const { return ctx_; }
  attn_tensor* detach() { return std::exchange(t_, nullptr); }

  // The contents; zeros in a shape-only run.
  [[nodiscard]] attn_view read() const {
    attn_error e;
    attn_view v;
    check(engine_->read(ctx_, handle(), &v, &e), e);
    return v;
  }

  // ---- views ------------------------------------------------------------------------------------
  [[nodiscard]] Tensor view(std::span<const int64_t> shape, std::span<const int64_t> stride,
                            int64_t offset = 0) const {
    attn_error e;
    attn_tensor* out = nullptr;
    check(engine_->view(ctx_, handle(), static_cast<int32_t>(shape.size()), shape.data(),
                        stride.data(), offset, &out, &e),
          e);
    return {out, engine_, ctx_};
  }
  // Elements begin..end-1 of an axis.
  [[nodiscard]] Tensor slice(int axis, int64_t begin, int64_t end) const {
    if (axis < 0) axis += rank();
    attn_view v = t_->view;
    if (axis < 0 || axis >= v.rank || begin < 0 || end < begin || end > v.shape[axis])
      fail("slice {}..{} of axis {} does not lie in shape {}", begin, end, axis, this->shape());
    v.shape[axis] = end - begin;
    return view({v.shape, static_cast<size_t>(v.rank)}, {v.stride, static_cast<size_t>(v.rank)},
                end > begin ? begin * v.stride[axis] : 0);
  }
  // Axis i of the result is axis order[i] of this.
  [[nodiscard]] Tensor permute(std::initializer_list<int> order) const {
    std::array<int64_t, ATTN_MAX_RANK> shape{}, stride{};
    size_t n = 0;
    for (const int axis : order) {
      if (axis < 0 || axis >= rank()) fail("permute: no axis {} in shape {}", axis, this->shape());
      shape[n] = t_->view.shape[axis];
      stride[n++] = t_->view.stride[axis];
    }
    if (n != static_cast<size_t>(rank())) fail("permute: shape {} has another rank", this->shape());
    return view({shape.data(), n}, {stride.data(), n});
  }
  // The same elements in row-major order in another shape; one extent may be -1. Copies where it
  // must.
  [[nodiscard]] Tensor reshape(std::span<const int64_t> shape) const;
  [[nodiscard]] Tensor reshape(std::initializer_list<int64_t> shape) const {
    return reshape(std::span<const int64_t>(shape.begin(), shape.size()));
  }
  // A row-major copy.
  [[nodiscard]] Tensor copy() const;

 private:
  attn_tensor* t_ = nullptr;
  const attn_engine* engine_ = nullptr;
  attn_ctx* ctx_ = nullptr;
  uint32_t epoch_ = 0;
};

namespace detail {

// Of an operator, as the host takes them.
inline constexpr size_t kMostInputs = 24, kMostAttributes = 32;

// Runs the operator of Tag on at most kMostInputs inputs. `from` is any tensor of the call. Bit i of wanted:
// output i is computed.
template <class Tag, size_t Outputs>
std::array<Tensor, Outputs> run(const Tensor& from, std::span<const attn_value> attrs,
                                std::span<const Tensor* const> inputs, uint32_t wanted = ~0u) {
  (void)Use<Tag>::listed;
  std::array<attn_tensor*, kMostInputs> in;
  for (size_t i = 0; i < inputs.size(); ++i) in[i] = inputs[i] ? inputs[i]->handle() : nullptr;
  std::array<attn_tensor*, Outputs> out{};
  for (size_t i = 0; i < Outputs; ++i)
    out[i] = (wanted >> i & 1u) ? reinterpret_cast<attn_tensor*>(&out) : nullptr;
  attn_error e;
  check(from.engine()->run(from.context(), Use<Tag>::slot, attrs.data(),
                           static_cast<uint32_t>(attrs.size()), in.data(),
                           static_cast<uint32_t>(inputs.size()), out.data(),
                           static_cast<uint32_t>(Outputs), &e),
        e);
  std::array<Tensor, Outputs> result;
  for (size_t i = 0; i < Outputs; ++i) result[i] = Tensor(out[i], from.engine(), from.context());
  return result;
}

struct CopyTag {
  static constexpr const char* name = "copy";
  static constexpr uint32_t version = 1, min_attrs = 0, min_in = 1;
};

// Strides of `to` over the memory of `v`, or false where only a copy will do.
inline bool reshape_strides(const attn_view& v, std::span<const int64_t> to, int64_t* stride) {
  // Group axes of both shapes that hold the same number of elements; inside a group the old axes
  // must be laid out as one.
  int from = 0;
  size_t next = 0;
  while (next < to.size() || from < v.rank) {
    const size_t first_to = next;
    const int first_from = from;
    int64_t count_to = next < to.size() ? to[next++] : 1;
    int64_t count_from = from < v.rank ? v.shape[from++] : 1;
    while (count_to != count_from) {
      if (count_to < count_from)
        count_to *= next < to.size() ? to[next++] : 1;
      else
        count_from *= from < v.rank ? v.shape[from++] : 1;
    }
    int64_t step = 1;
    int64_t run = 0;  // stride that the next slower old axis must have; 0: none seen yet
    for (int i = from - 1; i >= first_from; --i) {
      if (v.shape[i] == 1) continue;
      if (run == 0)
        step = v.stride[i];
      else if (v.stride[i] != run)
        return false;
      run = v.stride[i] * v.shape[i];
    }
    for (size_t i = next; i-- > first_to;) {
      stride[i] = step;
      step *= to[i];
    }
  }
  return true;
}

}  // namespace detail

inline Tensor Tensor::copy() const {
  return std::move(detail::run<detail::CopyTag, 1>(*this, {}, std::array{this})[0]);
}

inline Tensor Tensor::reshape(std::span<const int64_t> shape) const {
  std::array<int64_t, ATTN_MAX_RANK> to{}, stride{};
  if (shape.size() > ATTN_MAX_RANK) fail("reshape: more than {} axes", ATTN_MAX_RANK);
  int64_t known = 1;
  int open = -1;
  for (size_t i = 0; i < shape.size(); ++i) {
    to[i] = shape[i];
    if (shape[i] == -1 && open < 0)
      open = static_cast<int>(i);
    else
      known *= shape[i];
  }
  if (open >= 0) to[static_cast<size_t>(open)] = known > 0 ? size() / known : 0;
  int64_t total = 1;
  for (size_t i = 0; i < shape.size(); ++i) total *= to[i];
  if (total != size() || known < 0)
    fail("shape {} cannot become {}", this->shape(), sdk::shape_text(shape));
  const std::span<const int64_t> target(to.data(), shape.size());
  if (total == 0) {
    for (size_t i = 0; i < shape.size(); ++i) stride[i] = 0;
    return view(target, {stride.data(), shape.size()});
  }
  if (detail::reshape_strides(t_->view, target, stride.data()))
    return view(target, {stride.data(), shape.size()});
  return copy().reshape(target);
}

// (batch, seq, parts * heads * d) -> (batch, heads, seq, d): part `part` of a fused projection, a
// view.
inline Tensor split_heads(const Tensor& x, int64_t heads, int part = 0, int parts = 1) {
  if (x.rank() != 3 || heads <= 0 || x.dim(2) % (heads * parts) != 0)
    fail("split_heads: shape {} does not hold {} parts of {} heads", x.shape(), parts, heads);
  const attn_view& v = x.handle()->view;
  const int64_t d = v.shape[2] / (heads * parts);
  const std::array<int64_t, 4> shape{v.shape[0], heads, v.shape[1], d};
  const std::array<int64_t, 4> stride{v.stride[0], d * v.stride[2], v.stride[1], v.stride[2]};
  return x.view(shape, stride, part * heads * d * v.stride[2]);
}
// (batch, heads, seq, d) -> (batch, seq, heads * d): a view of what attention() gives.
inline Tensor merge_heads(const Tensor& x) {
  if (x.rank() != 4) fail("merge_heads: shape {} is not (batch, heads, seq, d)", x.shape());
  return x.permute({0, 2, 1, 3}).reshape({x.dim(0), x.dim(2), x.dim(1) * x.dim(3)});
}

}  // namespace attn::sdk
