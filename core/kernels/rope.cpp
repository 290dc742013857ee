// SPDX-License-Identifier: Apache-2.0
#include "core/kernels/rope.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <deque>
#include <memory>
#include <vector>

#include "core/threads/fork.hpp"

namespace attn::kernels {
namespace {

template <class T>
struct Kept {
  std::vector<T> cos, sin;
  RopeTable<T> table;
};

// All tables of one (theta, r); only the newest is handed out, older ones may still be in use.
template <class T>
struct Family {
  double theta;
  int64_t r;
  std::atomic<const RopeTable<T>*> newest{nullptr};
  std::deque<Kept<T>> kept{};
  Family* next = nullptr;
};

template <class T>
struct Registry {
  threads::Mutex mutex;
  std::deque<Family<T>> families;
  std::atomic<Family<T>*> first{nullptr};
};

template <class T>
Registry<T>& registry() {
  // Never destroyed: a thread that outlives main() may still hold a table.
  static auto* r = new Registry<T>;
  return *r;
}

template <class T>
Family<T>* find(Family<T>* f, double theta, int64_t r) {
  while (f && (f->theta != theta || f->r != r)) f = f->next;
  return f;
}

template <class T>
const RopeTable<T>* grow(double theta, int64_t r, int64_t positions) {
  Registry<T>& all = registry<T>();
  const std::lock_guard lock(all.mutex);
  Family<T>* f = find(all.first.load(), theta, r);
  if (!f) {
    f = &all.families.emplace_back();
    f->theta = theta, f->r = r;
    f->next = all.first.load();
    all.first.store(f, std::memory_order_release);
  }
  const RopeTable<T>* now = f->newest.load();
  if (now && now->positions >= positions) return now;
  int64_t n = std::max<int64_t>(positions, 64);
  if (now) n = std::max(n, 2 * now->positions);
  n = std::min({n, kMostPositions, kMostRopeEntries / r});
  Kept<T>& k = f->kept.emplace_back();
  k.cos.resize(static_cast<size_t>(n * (r / 2)));
  k.sin.resize(static_cast<size_t>(n * (r / 2)));
  rope_angles<T>(theta, r, 0, n, k.cos.data(), k.sin.data());
  k.table = {n, k.cos.data(), k.sin.data()};
  f->newest.store(&k.table, std::memory_order_release);
  return &k.table;
}

}  // namespace

template <class T>
const RopeTable<T>* rope_table(double theta, int64_t r, int64_t positions) {
  if (positions > kMostPositions || positions > kMostRopeEntries / r) return nullptr;
  const Family<T>* f = find(registry<T>().first.load(std::memory_order_acquire), theta, r);
  const RopeTable<T>* t = f ? f->newest.load(std::memory_order_acquire) : nullptr;
  return t && t->positions >= positions ? t : grow<T>(theta, r, positions);
}

template <class T>
void rope_angles(double theta, int64_t r, int64_t first, int64_t n, T* cos, T* sin) {
  for (int64_t i = 0; i < r / 2; ++i) {
    const double omega = std::pow(theta, -2 * static_cast<double>(i) / static_cast<double>(r));
    for (int64_t m = 0; m < n; ++m) {
      const double angle = static_cast<double>(first + m) * omega;
      cos[m * (r / 2) + i] = static_cast<T>(std::cos(angle));
      sin[m * (r / 2) + i] = static_cast<T>(std::sin(angle));
    }
  }
}

template const RopeTable<float>* rope_table(double, int64_t, int64_t);
template const RopeTable<double>* rope_table(double, int64_t, int64_t);
template void rope_angles(double, int64_t, int64_t, int64_t, float*, float*);
template void rope_angles(double, int64_t, int64_t, int64_t, double*, double*);

}  // namespace attn::kernels
