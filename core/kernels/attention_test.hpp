// SPDX-License-Identifier: Apache-2.0
//
// For attention_test.cpp and attention_backward_test.cpp: one attention problem with random operands in float and in
// double, every option switchable, with room between rows that must stay untouched.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "core/cpu/testing_levels.hpp"
#include "core/kernels/attention.hpp"
#include "core/threads/pool.hpp"

namespace attn::kernels::test {

enum class Mask { none, key, query, head, some_rows };  // some_rows: those keep nothing
enum class Bias {
  none,
  full,
  shared,
  key,
  infinite,
  head
};  // infinite: some -inf, some rows all -inf

struct Problem {
  int64_t batch = 1, heads = 1, kv_heads = 1, queries = 1, keys = 1, head_dim = 8, value_dim = 8;
  Probability kind = Probability::softmax;
  bool causal = false;
  int64_t offset = 0, window = 0, block = 0, left = -1, right = -1;
  Mask mask = Mask::none;
  Bias bias = Bias::none;
  bool lengths = false, zero = false, map = false, dmap = false;
  double dropout = 0, amplitude = 1, softcap = 0;
  bool zero_by_bias = false, sinks = false, offsets = false, lse = false;
  MapStage stage = MapStage::weights;

  [[nodiscard]] std::string text() const {
    std::ostringstream s;
    s << "level " << cpu::name(cpu::level()) << " B" << batch << " H" << heads << " G" << kv_heads
      << " Q" << queries << " K" << keys << " D" << head_dim << " Dv" << value_dim << " kind "
      << static_cast<int>(kind) << " causal " << causal << " offset " << offset << " window "
      << window << " block " << block << " mask " << static_cast<int>(mask) << " bias "
      << static_cast<int>(bias) << " lengths " << lengths << " zero " << zero << zero_by_bias
      << " map " << map << " dropout " << dropout << " left " << left << " right " << right
      << " softcap " << softcap << " sinks " << sinks << " offsets " << offsets << " lse " << lse
      << " stage " << static_cast<int>(stage);
    return s.str();
  }
};

template <class T>
struct Data {
  std::vector<T> q, k, v, o, bias, map, saved, dout, dmap, dq, dk, dv, dbias, sinks, lse, dlse,
      dsinks;
  std::vector<uint8_t> mask;
  std::vector<int64_t> lengths, offsets;
  T dslope = T(0.25);
  AttentionArgs<T> a;
  AttentionGrads<T> g;
};

inline constexpr int64_t kRoom = 3;  // unused elements behind each row

template <class T>
View4<T> rows_of(T* data, int64_t heads, int64_t rows, int64_t depth) {
  // (batch, row, head, depth): heads side by side, as projections leave them
  return {data, rows * heads * (depth + kRoom), depth + kRoom, heads * (depth + kRoom)};
}

template <class T>
Data<T> make(const Problem& p) {
  std::mt19937 engine(7);
  const auto random = [&](int64_t n, double amplitude) {
    std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
    std::vector<T> x(static_cast<size_t>(std::max<int64_t>(n, 1)));
    for (T& e : x) e = static_cast<T>(static_cast<float>(uniform(engine) * amplitude));
    return x;
  };
  Data<T> d;
  const int64_t B = p.batch, H = p.heads, G = p.kv_heads, Q = p.queries, K = p.keys;
  const int64_t D = p.head_dim + kRoom, V = p.value_dim + kRoom;
  d.q = random(B * H * Q * D, p.amplitude), d.k = random(B * G * K * D, p.amplitude);
  d.v = random(B * G * K * V, 1), d.o = random(B * H * Q * V, 1), d.dout = random(B * H * Q * V, 1);
  d.dq = random(B * H * Q * D, 1), d.dk = random(B * G * K * D, 1), d.dv = random(B * G * K * V, 1);
  AttentionArgs<T>& a = d.a;
  a.batch = B, a.heads = H, a.kv_heads = G, a.queries = Q, a.keys = K;
  a.head_dim = p.head_dim, a.value_dim = p.value_dim;
  a.q = rows_of<const T>(d.q.data(), H, Q, p.head_dim),
  a.k = rows_of<const T>(d.k.data(), G, K, p.head_dim);
  a.v = rows_of<const T>(d.v.data(), G, K, p.value_dim),
  a.o = rows_of<T>(d.o.data(), H, Q, p.value_dim);
  a.scale = static_cast<T>(static_cast<float>(1 / std::sqrt(static_cast<double>(p.head_dim))));
  a.left = p.window > 0 ? p.window - 1 : p.left;
  a.right = p.causal ? 0 : p.window > 0 ? p.window - 1 : p.right;
  a.offset = p.offset, a.block = p.block;
  a.fully_masked = p.zero_by_bias ? FullyMaskedRows::zero_by_bias
                   : p.zero       ? FullyMaskedRows::zero
                                  : FullyMaskedRows::unmask;
  a.softcap = static_cast<T>(p.softcap);
  a.map_stage = p.stage;
  a.dropout = p.dropout, a.seed = 99, a.stream = 3;
  // Numbers that float has, so that double gets the same.
  const auto rounded = [](double x) { return static_cast<double>(static_cast<float>(x)); };
  const double coefficients[5] = {-0.25, 1.25, -1.5, 0.25, 0.75};
  a.probability = ProbabilityArgs<T>({.kind = p.kind,
                                      .slope = 7.5,
                                      .epsilon = rounded(default_epsilon(p.kind)),
                                      .min_temp = rounded(0.1),
                                      .entropy_threshold = 0.25,
                                      .coefficients = coefficients});
  if (p.mask != Mask::none) {
    const int64_t mh = p.mask == Mask::head ? H : 1, mq = p.mask == Mask::key ? 1 : Q;
    d.mask.resize(static_cast<size_t>(std::max<int64_t>(B * mh * mq * K, 1)));
    for (uint8_t& m : d.mask) m = engine() % 4 != 0;
    for (int64_t r = 0; r < B * mh * mq; ++r) {
      const auto row = d.mask.begin() + r * K;
      if (r % 3 == 1) std::fill(row, row + K / 2, uint8_t{0});            // a gap in front
      if (r % 3 == 2) std::fill(row + (K + 1) / 2, row + K, uint8_t{0});  // and behind
      if (p.mask == Mask::some_rows && r % 2 == 0) std::fill(row, row + K, uint8_t{0});
    }
    a.mask = {d.mask.data(), mh * mq * K, mh > 1 ? mq * K : 0, mq > 1 ? K : 0, 1};
  }
  if (p.lengths) {
    for (int64_t b = 0; b < B; ++b) d.lengths.push_back(b % 3 == 2 ? 0 : K - (b + 1) * K / 4);
    a.lengths = d.lengths.data();
  }
  if (p.bias != Bias::none) {
    const int64_t bb = p.bias == Bias::shared || p.bias == Bias::head ? 1 : B;
    const int64_t bh = p.bias == Bias::key || p.bias == Bias::infinite ? 1 : H;
    const int64_t bq = p.bias == Bias::key || p.bias == Bias::head ? 1 : Q;
    d.bias = random(bb * bh * bq * K, 2);
    if (p.bias == Bias::infinite) {
      for (T& x : d.bias) x = engine() % 3 == 0 ? -std::numeric_limits<T>::infinity() : x;
      for (int64_t r = 0; r < bb * bh * bq; r += 3) {
        std::fill(d.bias.begin() + r * K, d.bias.begin() + (r + 1) * K,
                  -std::numeric_limits<T>::infinity());
      }
    }
    a.bias = {d.bias.data(), bb > 1 ? bh * bq * K : 0, bh > 1 ? bq * K : 0, bq > 1 ? K : 0, 1};
    d.dbias = random(bb * bh * bq * K, 1);
    d.g.dbias = {d.dbias.data(), a.bias.b, a.bias.h, a.bias.q, 1};
  }
  for (int64_t b = 0; b < B && p.offsets; ++b) d.offsets.push_back(b * 5 - 4);
  if (p.offsets) a.offsets = d.offsets.data();
  if (p.sinks) {
    d.sinks = random(H, 2), d.dsinks = random(H, 1);
    if (H > 2) d.sinks[1] = -std::numeric_limits<T>::infinity();
    a.sinks = d.sinks.data(), d.g.dsinks = d.dsinks.data();
  }
  if (p.lse) {
    d.lse = random(B * H * Q, 1), d.dlse = random(B * H * Q, 1);
    a.lse = {d.lse.data(), H * Q, Q, 1, 0}, d.g.dlse = {d.dlse.data(), H * Q, Q, 1, 0};
  }
  if (p.map) {
    d.map = random(B * H * Q * K, 1);
    a.map = {d.map.data(), H * Q * K, Q * K, K, 1};
  }
  d.saved.assign(static_cast<size_t>(B * H * Q * saved_per_row(p.kind)) + 1, T(-7));
  a.saved = d.saved.data();
  d.g.dout = rows_of<const T>(d.dout.data(), H, Q, p.value_dim);
  d.g.dq = rows_of<T>(d.dq.data(), H, Q, p.head_dim),
  d.g.dk = rows_of<T>(d.dk.data(), G, K, p.head_dim);
  d.g.dv = rows_of<T>(d.dv.data(), G, K, p.value_dim);
  if (p.kind == Probability::threshmax) d.g.dslope = &d.dslope;
  if (p.dmap) {
    d.dmap = random(B * H * Q * K, 1);
    d.g.dmap = {d.dmap.data(), H * Q * K, Q * K, K, 1};
  }
  return d;
}

inline double worst_difference(const std::vector<float>& x, const std::vector<double>& y) {
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    if (static_cast<double>(x[i]) == y[i]) continue;  // -infinity too
    const double difference = std::abs(static_cast<double>(x[i]) - y[i]);
    if (!(difference <= worst)) worst = difference;  // NaN too
  }
  return worst;
}

using cpu::at_each_level;

// One thread, scratch that ends where no memory is and is full of NaN: writing or reading past its end, and using what
// was never written, show at once.
class GuardedParallel final : public Parallel {
 public:
  GuardedParallel() = default;
  GuardedParallel(const GuardedParallel&) = delete;
  GuardedParallel& operator=(const GuardedParallel&) = delete;
  ~GuardedParallel() override {
    for (const Block& b : blocks_) munmap(b.data, b.size);
  }
  [[nodiscard]] int concurrency() const noexcept override { return 1; }
  void run(int64_t n, int64_t, Body body, void* user) override {
    if (n > 0) body(user, 0, n, 0);
  }
  [[nodiscard]] void* scratch(size_t bytes) override {
    const size_t need = (bytes + 63) / 64 * 64, size = (need + 4095) / 4096 * 4096 + 4096;
    void* p = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    blocks_.push_back({p, size});
    std::memset(p, 0xFF, size);
    mprotect(static_cast<char*>(p) + size - 4096, 4096, PROT_NONE);
    return static_cast<char*>(p) + size - 4096 - need;
  }

 private:
  struct Block {
    void* data;
    size_t size;
  };
  std::vector<Block> blocks_{};
};

// Shapes that meet every tail and every path; each is combined with every option set.
inline std::vector<Problem> shapes() {
  const auto shape = [](int64_t b, int64_t h, int64_t g, int64_t q, int64_t k, int64_t d,
                        int64_t v) {
    Problem p;
    p.batch = b, p.heads = h, p.kv_heads = g, p.queries = q, p.keys = k, p.head_dim = d,
    p.value_dim = v;
    return p;
  };
  return {shape(1, 1, 1, 1, 1, 8, 8),      shape(2, 2, 2, 49, 49, 32, 32),
          shape(3, 4, 2, 7, 19, 5, 9),     shape(1, 2, 1, 65, 300, 16, 24),
          shape(2, 6, 2, 1, 70, 64, 64),   shape(3, 2, 2, 33, 31, 72, 17),
          shape(1, 1, 1, 200, 130, 40, 1), shape(2, 4, 2, 17, 40, 16, 8)};
}

inline std::vector<Problem> options() {
  std::vector<Problem> all(1);
  const auto add = [&](auto&& change) {
    Problem p;
    change(p);
    all.push_back(p);
  };
  add([](Problem& p) { p.causal = true; });
  add([](Problem& p) { p.causal = true, p.offset = 11, p.window = 5; });
  add([](Problem& p) { p.offset = -3, p.window = 4, p.zero = true; });
  add([](Problem& p) { p.block = 7, p.offset = 2; });
  add([](Problem& p) { p.causal = true, p.offset = -4, p.mask = Mask::some_rows; });
  add([](Problem& p) { p.mask = Mask::key; });
  add([](Problem& p) { p.mask = Mask::query, p.bias = Bias::full; });
  add([](Problem& p) { p.mask = Mask::head, p.lengths = true; });
  add([](Problem& p) { p.mask = Mask::some_rows; });
  add([](Problem& p) { p.mask = Mask::some_rows, p.zero = true, p.map = true; });
  add([](Problem& p) { p.lengths = true; });
  add([](Problem& p) { p.lengths = true, p.zero = true, p.causal = true; });
  add([](Problem& p) { p.bias = Bias::shared; });
  add([](Problem& p) { p.bias = Bias::key, p.causal = true; });
  add([](Problem& p) { p.bias = Bias::infinite; });
  add([](Problem& p) { p.bias = Bias::head, p.dropout = 0.2; });
  add([](Problem& p) { p.map = true, p.dropout = 0.3; });
  add([](Problem& p) { p.dropout = 1.0; });
  add([](Problem& p) { p.amplitude = 6; });
  add([](Problem& p) { p.left = 5, p.right = 2; });
  add([](Problem& p) { p.left = 3, p.offset = 9, p.bias = Bias::full, p.lse = true; });
  add([](Problem& p) { p.right = 4, p.offsets = true, p.mask = Mask::query, p.softcap = 0.75; });
  add([](Problem& p) { p.causal = true, p.offsets = true, p.sinks = true, p.zero = true; });
  add([](Problem& p) { p.softcap = 0.5, p.bias = Bias::shared, p.amplitude = 3; });
  add([](Problem& p) { p.softcap = 2, p.map = true, p.stage = MapStage::capped, p.sinks = true; });
  add([](Problem& p) { p.map = true, p.stage = MapStage::raw, p.causal = true, p.offset = 3; });
  add([](Problem& p) {
    p.map = true, p.stage = MapStage::biased, p.softcap = 1.5, p.left = 40, p.offset = 2;
    p.mask = Mask::some_rows, p.bias = Bias::infinite, p.zero_by_bias = true;
  });
  add([](Problem& p) { p.sinks = true; });
  add([](Problem& p) { p.sinks = true, p.lse = true, p.map = true, p.mask = Mask::some_rows; });
  add([](Problem& p) {
    p.sinks = true, p.lse = true, p.mask = Mask::head, p.bias = Bias::infinite;
    p.zero_by_bias = true, p.dropout = 0.2, p.softcap = 3;
  });
  add([](Problem& p) { p.lse = true, p.lengths = true, p.zero = true, p.bias = Bias::key; });
  if (!attn::test::sanitized_for_threads) return all;
  // Ten minutes there; a third has each thing that threads add up or write side by side: biases, maps, sinks.
  std::vector<Problem> some;
  for (size_t i = 0; i < all.size(); i += 3) some.push_back(all[i]);
  return some;
}

inline Problem combine(Problem shape, const Problem& option, Probability kind) {
  const Problem s = shape;
  shape = option;
  shape.batch = s.batch, shape.heads = s.heads, shape.kv_heads = s.kv_heads;
  shape.queries = s.queries, shape.keys = s.keys;
  shape.head_dim = s.head_dim, shape.value_dim = s.value_dim;
  shape.kind = kind;
  if (kind != Probability::softmax) shape.sinks = shape.lse = false;
  return shape;
}

}  // namespace attn::kernels::test
