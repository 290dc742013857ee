// SPDX-License-Identifier: Apache-2.0
//
// Keys and values in fewer bits give what the float32 numbers that they stand for give.
#include <catch2/catch.hpp>

#include <cmath>
#include <random>
#include <vector>

#include "core/cpu/testing_levels.hpp"
#include "core/kernels/attention.hpp"
#include "core/tensor/compact_rows.hpp"
#include "core/tensor/strided.hpp"
#include "core/threads/pool.hpp"

using namespace attn;
using kernels::AttentionArgs;

namespace {

std::vector<float> random_floats(int64_t n, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(n));
  for (float& v : x) v = normal(engine);
  return x;
}

// (batch, heads, room, dim) in fewer bits, and the numbers that they stand for.
struct History {
  History(StorageKind kind, int64_t heads, int64_t room, int64_t dim, std::vector<float> x)
      : bytes(x.size() * 2), scales(x.size() / static_cast<size_t>(dim)), numbers(x.size()) {
    rows = {kind, bytes.data(), kind == StorageKind::int8 ? scales.data() : nullptr, dim};
    attn_view v{};
    v.rank = 2, v.dtype = ATTN_F32, v.data = x.data();
    v.shape[0] = static_cast<int64_t>(scales.size()), v.shape[1] = dim;
    set_dense_strides(v);
    REQUIRE(narrow(v, v, rows));
    widen(v, rows, numbers.data());
    view = {nullptr, heads * room * dim, room * dim, dim};
  }
  std::vector<char> bytes;
  std::vector<float> scales, numbers;
  CompactRows rows{};
  kernels::View4<const float> view{};
};

struct Case {
  StorageKind kind = StorageKind::int8;
  int64_t heads = 4, kv_heads = 2, queries = 1, keys = 700, head_dim = 64, value_dim = 64;
  bool causal = true, masked = false, spoilt = false;
  float softcap = 0;
};

std::vector<float> run(const Case& t, bool compact, Parallel& parallel) {
  const int64_t batch = 2, room = t.keys + 3;
  std::vector<float> values = random_floats(batch * t.kv_heads * room * t.value_dim, 3);
  if (t.spoilt && t.kind != StorageKind::int8)
    values[static_cast<size_t>(5 * t.value_dim)] = std::nanf("");
  const History k(t.kind, t.kv_heads, room, t.head_dim,
                  random_floats(batch * t.kv_heads * room * t.head_dim, 2)),
      v(t.kind, t.kv_heads, room, t.value_dim, values);
  const auto q = random_floats(batch * t.heads * t.queries * t.head_dim, 1);
  std::vector<uint8_t> mask(static_cast<size_t>(batch * t.keys), 1);
  for (size_t i = 0; i < mask.size(); ++i) mask[i] = i % 7 != 5;
  std::vector<float> o(static_cast<size_t>(batch * t.heads * t.queries * t.value_dim), 9.0f);
  AttentionArgs<float> a;
  a.batch = batch, a.heads = t.heads, a.kv_heads = t.kv_heads, a.queries = t.queries;
  a.keys = t.keys, a.head_dim = t.head_dim, a.value_dim = t.value_dim;
  a.q = {q.data(), t.heads * t.queries * t.head_dim, t.queries * t.head_dim, t.head_dim};
  a.k = k.view, a.v = v.view;
  if (compact) {
    a.k_rows = k.rows, a.v_rows = v.rows;
  } else {
    a.k.data = k.numbers.data(), a.v.data = v.numbers.data();
  }
  a.o = {o.data(), t.heads * t.queries * t.value_dim, t.queries * t.value_dim, t.value_dim};
  a.scale = 1 / std::sqrt(static_cast<float>(t.head_dim));
  if (t.causal) a.right = 0, a.offset = t.keys - t.queries;
  if (t.masked) a.mask = {mask.data(), t.keys, 0, 0, 1};
  a.softcap = t.softcap;
  kernels::attention(a, parallel);
  return o;
}

void check(const Case& t, Parallel& parallel) {
  const auto found = run(t, true, parallel), expected = run(t, false, parallel);
  INFO(cpu::name(cpu::level()) << ' ' << storage_name(t.kind) << " heads " << t.heads << '/'
                               << t.kv_heads << " queries " << t.queries << " keys " << t.keys
                               << " size " << t.head_dim << '/' << t.value_dim);
  for (size_t i = 0; i < found.size(); ++i) REQUIRE(std::abs(found[i] - expected[i]) < 2e-5f);
}

// f(kind) at every level with kernels; the scalar level gets float32 from the operator.
template <class F>
void for_each_kind(F&& f) {
  cpu::at_each_level([&] {
    if (cpu::level() == cpu::Level::reference) return;
    for (const StorageKind kind : {StorageKind::bfloat16, StorageKind::float16, StorageKind::int8})
      f(kind);
  });
}

}  // namespace

TEST_CASE("attention, compact: few rows and many, heads of every size") {
  threads::PoolParallel parallel;
  for_each_kind([&](StorageKind kind) {
    for (const int64_t heads : {2, 4, 6, 8, 10, 14})
      for (const int64_t queries : {1, 2, 9})
        check({.kind = kind, .heads = heads, .queries = queries, .keys = 300}, parallel);
    for (const int64_t size : {1, 5, 16, 20, 72, 128})
      for (const int64_t keys : {1, 7, 256, 1000})
        check({.kind = kind, .keys = keys, .head_dim = size, .value_dim = size + size % 2},
              parallel);
    parallel.release();
  });
}

TEST_CASE("attention, compact: masks, soft cap, values that are no numbers behind a mask") {
  threads::PoolParallel parallel;
  for_each_kind([&](StorageKind kind) {
    check({.kind = kind, .masked = true}, parallel);
    check({.kind = kind, .causal = false, .softcap = 2}, parallel);
    check({.kind = kind, .masked = true, .spoilt = true}, parallel);
    check({.kind = kind, .queries = 30, .masked = true, .spoilt = true}, parallel);
    parallel.release();
  });
}

TEST_CASE("attention, compact: the same bits on any number of threads") {
  for_each_kind([&](StorageKind kind) {
    for (const int64_t queries : {1, 20}) {
      std::vector<float> first;
      for (const int n_threads : {1, 2, 3}) {
        threads::ThreadPool pool(n_threads);
        threads::PoolParallel parallel(pool);
        const auto o = run({.kind = kind, .queries = queries, .keys = 2000}, true, parallel);
        if (first.empty()) first = o;
        REQUIRE(o == first);
      }
    }
  });
}
