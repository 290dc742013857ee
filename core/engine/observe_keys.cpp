// SPDX-License-Identifier: Apache-2.0
#include "core/engine/observe_keys.hpp"

#include <cmath>
#include <utility>
#include <vector>

#include "core/error/error.hpp"
#include "core/kernels/reference/attention_observe.hpp"
#include "core/ops/observe_weights.hpp"
#include "core/tensor/array.hpp"
#include "core/tensor/strided.hpp"

namespace attn::engine {

namespace {

// Memory that lasts from one operator to the next.
class Memory final : public Parallel {
 public:
  [[nodiscard]] int concurrency() const noexcept override { return 1; }
  void run(int64_t n, int64_t, Body body, void* user) override { body(user, 0, n, 0); }
  [[nodiscard]] void* scratch(size_t bytes) override {
    blocks_.push_back(Array::uninitialized(ATTN_U8, Shape{static_cast<int64_t>(bytes)}));
    return blocks_.back().raw();
  }

 private:
  std::vector<Array> blocks_;
};

template <class T>
class Keys final : public ObservedKeys {
 public:
  Keys(Observer& observer, const attn_view& whole)
      : b_(whole.shape[0]),
        h_(whole.shape[1]),
        q_(whole.shape[2]),
        k_(whole.shape[3]),
        places_(std::max<int64_t>(q_ + k_ - 1, 0)),
        told_(observer, memory_, b_, h_, q_, k_, false, false) {
    const kernels::AttentionObserved<T>& to = told_.to;
    const auto sums = [](bool wanted, int64_t n) {
      return std::vector<double>(wanted ? static_cast<size_t>(n) : 0);
    };
    entropy_ = sums(to.entropy != nullptr, b_ * h_ * q_);
    columns_ = sums(to.column_mass != nullptr, b_ * h_ * k_);
    distances_ = sums(to.distances != nullptr, b_ * h_ * places_);
    if (to.top_keys != nullptr) {
      std::fill_n(to.top_weights, b_ * h_ * q_ * to.top, T(0));
      std::fill_n(to.top_keys, b_ * h_ * q_ * to.top, int64_t{-1});
    }
  }

  void add(const attn_view& some, Parallel& parallel) override {
    const int64_t n = some.rank == 4 ? some.shape[3] : -1;
    if (n < 0 || some.dtype != kDtype || some.shape[0] != b_ || some.shape[1] != h_ ||
        some.shape[2] != q_ || n > k_ - first_)
      throw InvalidArgument("observe: 'map_keys' has shape " + shape_text(some) +
                            "; expected weights (" + std::to_string(b_) + ", " +
                            std::to_string(h_) + ", " + std::to_string(q_) + ", at most " +
                            std::to_string(k_ - first_) + " more keys) of the kind of the first");
    attn_view d = some;
    if (some.stride[3] != 1 && n > 1) {
      d.data = parallel.scratch_array<T>(static_cast<size_t>(size_of(some)) + 1);
      set_dense_strides(d);
      copy_strided(some, d);
    }
    if (told_.any())
      parallel.loop(b_ * h_, 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t unit = begin; unit < end; ++unit) add_head(unit, d, n);
      });
    first_ += n;
  }
  [[nodiscard]] bool complete() const override { return first_ == k_; }
  void give() override {
    const auto write = [](const std::vector<double>& from, T* to) {
      for (size_t i = 0; i < from.size(); ++i) to[i] = static_cast<T>(from[i]);
    };
    write(entropy_, told_.to.entropy);
    write(columns_, told_.to.column_mass);
    write(distances_, told_.to.distances);
    told_.give();
  }

 private:
  static constexpr int32_t kDtype = sizeof(T) == sizeof(float) ? ATTN_F32 : ATTN_F64;

  void add_head(int64_t unit, const attn_view& some, int64_t n) {
    kernels::AttentionObserved<T> to = told_.to;
    to.entropy = nullptr;  // here in double, as parts of a row are many
    const int64_t b = unit / h_, h = unit % h_;
    double* column = columns_.empty() ? nullptr : columns_.data() + unit * k_;
    for (int64_t i = 0; i < q_; ++i) {
      const T* w = static_cast<const T*>(some.data) + b * some.stride[0] + h * some.stride[1] +
                   i * some.stride[2];
      double* distance =
          distances_.empty() ? nullptr : distances_.data() + unit * places_ + q_ - 1 - i;
      kernels::reference::observe_row(to, {h_, q_}, {b, h, i}, {first_, first_ + n}, w - first_,
                                      column, distance);
      double sum = 0;
      for (int64_t j = 0; j < n && !entropy_.empty(); ++j) {
        const auto x = static_cast<double>(w[j]);
        if (x != 0) sum -= x * std::log(x);
      }
      if (!entropy_.empty()) entropy_[static_cast<size_t>(unit * q_ + i)] += sum;
    }
  }

  const int64_t b_, h_, q_, k_, places_;
  int64_t first_ = 0;  // keys so far
  Memory memory_;
  ops::ObservedWeights<T> told_;
  std::vector<double> entropy_, columns_, distances_;
};

}  // namespace

std::unique_ptr<ObservedKeys> observed_keys(Observer& observer, const attn_view& whole) {
  if (whole.rank != 4)
    throw InvalidArgument("observe: 'map_keys' begins with shape " + shape_text(whole) +
                          "; expected that of all weights (batch, heads, queries, keys)");
  if (whole.dtype == ATTN_F64) return std::make_unique<Keys<double>>(observer, whole);
  if (whole.dtype == ATTN_F32) return std::make_unique<Keys<float>>(observer, whole);
  throw InvalidArgument("observe: 'map_keys' must be float32 or float64");
}

}  // namespace attn::engine
