// SPDX-License-Identifier: Apache-2.0
#include "core/kernels/rotary.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <deque>
#include <memory>
#include <numbers>
#include <vector>

#include "core/threads/fork.hpp"

namespace attn::kernels {
namespace {

template <class T>
struct Kept {
  std::vector<T> cos, sin;
  RotaryTable<T> table;
};

// A rule that owns its lists.
struct OwnRule {
  RopeRule rule;
  std::vector<double> divisors;
  std::vector<int64_t> sections;

  explicit OwnRule(const RopeRule& from)
      : rule(from),
        divisors(from.divisors.begin(), from.divisors.end()),
        sections(from.sections.begin(), from.sections.end()) {
    rule.divisors = divisors;
    rule.sections = sections;
  }
};

// All tables of one rule; only the newest is handed out, older ones may still be in use.
template <class T>
struct Family {
  explicit Family(const RopeRule& from) : own(from) {}
  OwnRule own;
  std::atomic<const RotaryTable<T>*> newest{nullptr};
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

bool same(const RopeRule& a, const RopeRule& b) {
  return a.theta == b.theta && a.r == b.r && a.scaling == b.scaling && a.factor == b.factor &&
         a.original == b.original && a.attention == b.attention && a.fast == b.fast &&
         a.slow == b.slow && a.truncate == b.truncate && a.arrangement == b.arrangement &&
         std::ranges::equal(a.divisors, b.divisors) && std::ranges::equal(a.sections, b.sections);
}

template <class T>
Family<T>* find(Family<T>* f, const RopeRule& rule) {
  while (f && !same(f->own.rule, rule)) f = f->next;
  return f;
}

template <class T>
const RotaryTable<T>* grow(const RopeRule& rule, int64_t positions) {
  Registry<T>& all = registry<T>();
  const std::lock_guard lock(all.mutex);
  Family<T>* f = find(all.first.load(), rule);
  if (!f) {
    f = &all.families.emplace_back(rule);
    f->next = all.first.load();
    all.first.store(f, std::memory_order_release);
  }
  const RotaryTable<T>* now = f->newest.load();
  if (now && now->positions >= positions) return now;
  int64_t n = std::max<int64_t>(positions, 64);
  if (now) n = std::max(n, 2 * now->positions);
  n = std::min({n, kMostRotaryPositions, kMostRotaryEntries / rule.r});
  const int64_t half = rule.r / 2;
  std::vector<double> omega(static_cast<size_t>(half));
  rope_frequencies(rule, omega.data());
  Kept<T>& k = f->kept.emplace_back();
  k.cos.resize(static_cast<size_t>(n * half));
  k.sin.resize(static_cast<size_t>(n * half));
  for (int64_t m = 0; m < n; ++m)
    rotary_angles<T>(rule, omega.data(), m, k.cos.data() + m * half, k.sin.data() + m * half);
  k.table = {n, k.cos.data(), k.sin.data()};
  f->newest.store(&k.table, std::memory_order_release);
  return &k.table;
}

// YaRN (Peng et al. 2023, arXiv 2309.00071): how much of a frequency is divided, by the pair that turns `fast` times over
// the original length, and the one that turns `slow` times.
double yarn_ramp(const RopeRule& rule, int64_t pair, int64_t r) {
  const auto pair_of_turns = [&](double turns) {
    return static_cast<double>(r) * std::log(rule.original / (turns * 2 * std::numbers::pi)) /
           (2 * std::log(rule.theta));
  };
  double low = pair_of_turns(rule.fast), high = pair_of_turns(rule.slow);
  if (rule.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(r - 1));
  if (low == high) high += 0.001;
  return std::clamp((static_cast<double>(pair) - low) / (high - low), 0.0, 1.0);
}

// Llama 3: frequencies of more than `fast` turns over the original length stay, those of fewer than `slow` are divided.
double llama3_share(const RopeRule& rule, double omega) {
  const double turns = rule.original * omega / (2 * std::numbers::pi);
  return std::clamp((turns - rule.slow) / (rule.fast - rule.slow), 0.0, 1.0);
}

}  // namespace

int64_t RopeRule::axis_of(int64_t pair) const {
  if (sections.empty()) return 0;
  if (arrangement == RopeSections::interleaved) {
    // Pairs go round the axes; those beyond the section of an axis go back to the first one.
    const int64_t axis = pair % axes();
    return pair / axes() < sections[static_cast<size_t>(axis)] ? axis : 0;
  }
  int64_t axis = 0;
  for (; axis + 1 < axes() && pair >= sections[static_cast<size_t>(axis)]; ++axis)
    pair -= sections[static_cast<size_t>(axis)];
  return axis;
}

RopeRule RopeRule::of_call(int64_t positions) const {
  RopeRule rule = *this;
  const auto n = static_cast<double>(positions);
  if (scaling == RopeScaling::dynamic) {
    const auto size = static_cast<double>(r);
    if (n > original)
      rule.theta *= std::pow(factor * n / original - (factor - 1), size / (size - 2));
    rule.scaling = RopeScaling::none;
  } else if (scaling == RopeScaling::longrope) {
    if (n > original) rule.divisors = long_divisors;
    rule.long_divisors = {};
  }
  return rule;
}

void rope_frequencies(const RopeRule& rule, double* omega) {
  const bool each_axis = rule.arrangement == RopeSections::axial && !rule.sections.empty();
  for (int64_t i = 0; i < rule.r / 2; ++i) {
    int64_t pair = i, r = rule.r;
    if (each_axis) {
      const int64_t axis = rule.axis_of(i);
      for (int64_t a = 0; a < axis; ++a) pair -= rule.sections[static_cast<size_t>(a)];
      r = 2 * rule.sections[static_cast<size_t>(axis)];
    }
    double w = std::pow(rule.theta, -2 * static_cast<double>(pair) / static_cast<double>(r));
    switch (rule.scaling) {
      case RopeScaling::none:
      case RopeScaling::dynamic:
        break;
      case RopeScaling::linear:
        w /= rule.factor;
        break;
      case RopeScaling::yarn: {
        const double ramp = yarn_ramp(rule, pair, r);
        w = w * (1 - ramp) + w / rule.factor * ramp;
        break;
      }
      case RopeScaling::longrope:
        w /= rule.divisors[static_cast<size_t>(i)];
        break;
      case RopeScaling::llama3: {
        const double share = llama3_share(rule, w);
        w = w * share + w / rule.factor * (1 - share);
        break;
      }
    }
    omega[i] = w;
  }
}

template <class T>
const RotaryTable<T>* rotary_table(const RopeRule& rule, int64_t positions) {
  if (positions > kMostRotaryPositions || positions > kMostRotaryEntries / rule.r) return nullptr;
  const Family<T>* f = find(registry<T>().first.load(std::memory_order_acquire), rule);
  const RotaryTable<T>* t = f ? f->newest.load(std::memory_order_acquire) : nullptr;
  return t && t->positions >= positions ? t : grow<T>(rule, positions);
}

template <class T>
void rotary_angles(const RopeRule& rule, const double* omega, int64_t position, T* cos, T* sin) {
  for (int64_t i = 0; i < rule.r / 2; ++i) {
    const double angle = static_cast<double>(position) * omega[i];
    cos[i] = static_cast<T>(std::cos(angle) * rule.attention);
    sin[i] = static_cast<T>(std::sin(angle) * rule.attention);
  }
}

template const RotaryTable<float>* rotary_table(const RopeRule&, int64_t);
template const RotaryTable<double>* rotary_table(const RopeRule&, int64_t);
template void rotary_angles(const RopeRule&, const double*, int64_t, float*, float*);
template void rotary_angles(const RopeRule&, const double*, int64_t, double*, double*);

}  // namespace attn::kernels
