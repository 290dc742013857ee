// SPDX-License-Identifier: Apache-2.0
#include "core/engine/observe.hpp"

#include <algorithm>
#include <cstring>
#include <mutex>

#include "core/error/error.hpp"
#include "core/ops/observe_weights.hpp"
#include "core/tensor/strided.hpp"

namespace attn::engine {

namespace {

constexpr std::string_view kOfWeights[] = {"row_max",   "lse",      "entropy",     "column_mass",
                                           "distances", "top_keys", "top_weights", "map"};

template <class T>
void observe(Observer& observer, const attn_view& w, Parallel& parallel) {
  const int64_t b = w.shape[0], h = w.shape[1], q = w.shape[2], k = w.shape[3];
  const ops::ObservedWeights<T> observed(observer, parallel, b, h, q, k, false, false);
  if (!observed.any()) return;
  attn_view d = w;
  if (w.stride[3] != 1 && k > 1) {
    d.data = parallel.scratch_array<T>(static_cast<size_t>(size_of(w)) + 1);
    set_dense_strides(d);
    copy_strided(w, d);
  }
  const kernels::Scores4<const T> weights{static_cast<const T*>(d.data), d.stride[0], d.stride[1],
                                          d.stride[2], 1};
  kernels::observe_weights(b, h, q, k, weights, observed.to, parallel);
  observed.give();
}

}  // namespace

void Observations::begin() {
  offered_.clear();
  taken_.clear();
  label_.clear();
  keys_.reset();
}

bool Observations::led_by_batch() const {
  return std::all_of(names_.begin(), names_.end(), [](const std::string& name) {
    return std::find(std::begin(kOfWeights), std::end(kOfWeights), name) != std::end(kOfWeights);
  });
}

const std::string* Observations::missing() const {
  for (const std::string& name : names_)
    if (!optional && name != "all" &&
        std::find(offered_.begin(), offered_.end(), name) == offered_.end())
      return &name;
  return nullptr;
}

void Observations::ask_as(const Observations& whole) {
  names_ = whole.names_;
  top = whole.top;
  part = whole.part;
}

void Observations::take_slice(const Observations& slice, int64_t first, int64_t rows,
                              int64_t batch) {
  const std::lock_guard lock(slices_);
  const bool begins = offered_.empty();
  if (begins) offered_ = slice.offered_;
  for (size_t i = 0; i < slice.taken_.size(); ++i) {
    const Observed& from = slice.taken_[i];
    Shape shape = from.value.shape();
    const bool led = !shape.empty() && shape[0] % rows == 0;
    if (led) shape[0] = shape[0] / rows * batch;
    if (begins && led)
      taken_.push_back({from.label, from.name, Array::uninitialized(from.value.dtype(), shape)});
    if (!led || i >= taken_.size() || taken_[i].value.shape() != shape)
      throw Failure("observe: '" + from.name + "' of " + std::to_string(rows) + " of " +
                    std::to_string(batch) + " rows has shape " + from.value.shape().to_string() +
                    ", which does not begin with these rows: the type claims batch_independent, "
                    "but is not. Ask for 'all', which takes the batch whole");
    const size_t row = taken_[i].value.bytes() / static_cast<size_t>(batch);
    std::memcpy(static_cast<char*>(taken_[i].value.raw()) + row * static_cast<size_t>(first),
                from.value.raw(), row * static_cast<size_t>(rows));
  }
}

bool Observations::wants(std::string_view name) {
  if (std::find(offered_.begin(), offered_.end(), name) == offered_.end())
    offered_.emplace_back(name);
  const auto named = [&](std::string_view text) {
    return std::find(names_.begin(), names_.end(), text) != names_.end();
  };
  return named(name) || (name != "map" && named("all"));
}

void Observations::take(std::string_view name, const attn_view& values) {
  Array copy = Array::uninitialized(static_cast<attn_dtype>(values.dtype),
                                    Shape(values.shape, static_cast<size_t>(values.rank)));
  attn_view to = values;
  set_dense_strides(to);
  to.data = copy.raw();
  copy_strided(values, to);
  taken_.push_back({label_, std::string(name), std::move(copy)});
}

void Observations::take_keys(const attn_view& values, Parallel& parallel) {
  if (keys_ == nullptr) {
    keys_ = observed_keys(*this, values);
    keys_label_ = label_;
  } else {
    keys_->add(values, parallel);
  }
  if (!keys_->complete()) return;
  label_ = keys_label_;
  keys_->give();
  keys_.reset();
}

void Observations::take_from_plugin(std::string_view name, const attn_view& values,
                                    Parallel& parallel) {
  if (name == "map_keys") return take_keys(values, parallel);
  if (name != "map") {
    if (wants(name)) take(name, values);
    return;
  }
  if (values.rank != 4)
    throw InvalidArgument("observe: 'map' has shape " + shape_text(values) +
                          "; expected weights (batch, heads, queries, keys)");
  if (values.dtype == ATTN_F64) return observe<double>(*this, values, parallel);
  if (values.dtype == ATTN_F32) return observe<float>(*this, values, parallel);
  throw InvalidArgument("observe: 'map' must be float32 or float64");
}

}  // namespace attn::engine
